"""What a portrait yields once for the weight-free warp, and its bytes.

An `Appearance` holds only what cannot be derived: everything else (fields, masks, teeth, eye tables) is a deterministic
function of it and is built where it is needed. Knows nothing of how it is made or drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.renderer.detect import N_LANDMARKS, PERSON_PX
from services.renderer.stored_array import stored_array
from shared.codec import pack, unpack
from shared.errors import BadMessage, VersionMismatch
from shared.protocol import Output

VERSION = 1
CROP_PX = 512


@dataclass(frozen=True)
class Appearance:
    """A prepared portrait.

    Attributes:
        texture: (512, 512, 3) uint8 RGB, the upright crop around the face.
        crop: (2, 3) float64 affine, pixels of the photo -> pixels of the crop.
        landmarks: (478, 3) float32 in crop pixels: x right, y down, z away from the camera.
        person: (128, 128) uint8, 255 where a person is.
        photo: (h, w, 3) uint8 RGB that frames are pasted back into, or None for square output.
        warnings: what the user should know, in words.
    """

    texture: NDArray[np.uint8]
    crop: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    person: NDArray[np.uint8]
    photo: NDArray[np.uint8] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def output(self) -> Output:
        """Which kind of frames this appearance is drawn as."""
        return "square" if self.photo is None else "full"

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of a drawn frame: (h, w, 3)."""
        drawn = self.texture if self.photo is None else self.photo
        return drawn.shape[0], drawn.shape[1], 3

    def to_bytes(self) -> bytes:
        """Encode for another process."""
        return pack(
            {
                "v": VERSION,
                "texture": self.texture,
                "crop": self.crop,
                "landmarks": self.landmarks,
                "person": self.person,
                "photo": self.photo,
                "warnings": list(self.warnings),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Appearance":
        """Decode what `to_bytes` made; arrays are read-only views into ``data``.

        Raises:
            BadMessage: not an appearance.
            VersionMismatch: made by another version.
            ShapeError: an array of the wrong shape or dtype.
        """
        fields = unpack(data)
        if not isinstance(fields, dict) or "v" not in fields:
            raise BadMessage(f"{len(data)} bytes that are not an appearance")
        if fields["v"] != VERSION:
            raise VersionMismatch(
                f"appearance of version {fields['v']}; expected {VERSION}. Prepare the portrait again."
            )
        missing = {"texture", "crop", "landmarks", "person", "photo", "warnings"} - fields.keys()
        if missing:
            raise BadMessage(f"appearance without {sorted(missing)}")
        photo = fields["photo"]
        return cls(
            texture=stored_array(fields["texture"], (CROP_PX, CROP_PX, 3), np.uint8),
            crop=stored_array(fields["crop"], (2, 3), np.float64),
            landmarks=stored_array(fields["landmarks"], (N_LANDMARKS, 3), np.float32),
            person=stored_array(fields["person"], (PERSON_PX, PERSON_PX), np.uint8),
            photo=None if photo is None else stored_array(photo, (-1, -1, 3), np.uint8),
            warnings=tuple(str(text) for text in fields["warnings"]),
        )
