"""What a portrait yields once for the LivePortrait networks, and its bytes.

Only what cannot be derived: source key points, lip offsets and paste-back masks are made again where frames are drawn.
With official sizes ``f_s`` has 2.1 million values: 8.4 MB in Redis per portrait in float32, 4.2 MB where the networks
compute in half precision, for an hour after its last use; the photo of full output adds up to 4.9 MB. Knows nothing of
how it is made or drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.renderer.liveportrait.crop import SOURCE
from services.renderer.liveportrait.keypoints import N_KEYPOINTS
from services.renderer.stored_array import stored_array
from shared.codec import pack, unpack
from shared.errors import BadMessage, VersionMismatch
from shared.protocol import Output

KIND = "liveportrait"
VERSION = 1
FIELDS = ("f_s", "x_c", "R", "delta", "t", "s", "o2c", "lip_ratio", "photo", "warnings")


@dataclass(frozen=True)
class LivePortraitAppearance:
    """A prepared portrait.

    Attributes:
        f_s: (C, D, H, W) float32 or float16 appearance features, officially (32, 16, 64, 64).
        x_c: (21, 3) float32 canonical key points.
        R: (3, 3) float32 head rotation of the photo, for row vectors.
        delta: (21, 3) float32 expression of the photo.
        t: (3,) float32 translation.
        s: (1,) float32 scale.
        o2c: (3, 3) float64, pixels of the photo -> pixels of the crop.
        lip_ratio: opening of the lips over the width of the mouth, official scale.
        photo: (h, w, 3) uint8 RGB that frames are pasted back into, or None for square output.
        warnings: what the user should know, in words.
    """

    f_s: NDArray[np.float32] | NDArray[np.float16]
    x_c: NDArray[np.float32]
    R: NDArray[np.float32]
    delta: NDArray[np.float32]
    t: NDArray[np.float32]
    s: NDArray[np.float32]
    o2c: NDArray[np.float64]
    lip_ratio: float
    photo: NDArray[np.uint8] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def output(self) -> Output:
        """Which kind of frames this appearance is drawn as."""
        return "square" if self.photo is None else "full"

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of a drawn frame: (h, w, 3)."""
        if self.photo is None:
            return SOURCE.side_px, SOURCE.side_px, 3
        return self.photo.shape[0], self.photo.shape[1], 3

    def to_bytes(self) -> bytes:
        """Encode for another process."""
        fields = {name: getattr(self, name) for name in FIELDS}
        return pack({"kind": KIND, "v": VERSION, **fields})

    @classmethod
    def from_bytes(cls, data: bytes) -> "LivePortraitAppearance":
        """Decode what `to_bytes` made; arrays are read-only views into ``data``.

        Raises:
            BadMessage: not an appearance of this renderer.
            VersionMismatch: made by another version.
            ShapeError: an array of the wrong shape or dtype.
        """
        fields = unpack(data)
        if not isinstance(fields, dict) or fields.get("kind") != KIND:
            raise BadMessage(f"{len(data)} bytes that are not an appearance of the {KIND} renderer")
        if fields.get("v") != VERSION:
            raise VersionMismatch(
                f"appearance of version {fields.get('v')}; expected {VERSION}. Prepare the portrait again."
            )
        missing = set(FIELDS) - fields.keys()
        if missing:
            raise BadMessage(f"appearance without {sorted(missing)}")
        photo, lip_ratio = fields["photo"], fields["lip_ratio"]
        if not isinstance(lip_ratio, float) or not isinstance(fields["warnings"], list):
            raise BadMessage(f"appearance with lip_ratio {lip_ratio!r} and warnings {fields['warnings']!r}")
        return cls(
            f_s=stored_array(fields["f_s"], (-1, -1, -1, -1), np.float32, np.float16),
            x_c=stored_array(fields["x_c"], (N_KEYPOINTS, 3), np.float32),
            R=stored_array(fields["R"], (3, 3), np.float32),
            delta=stored_array(fields["delta"], (N_KEYPOINTS, 3), np.float32),
            t=stored_array(fields["t"], (3,), np.float32),
            s=stored_array(fields["s"], (1,), np.float32),
            o2c=stored_array(fields["o2c"], (3, 3), np.float64),
            lip_ratio=lip_ratio,
            photo=None if photo is None else stored_array(photo, (-1, -1, 3), np.uint8),
            warnings=tuple(str(text) for text in fields["warnings"]),
        )
