"""What any renderer is: the four stages of a batch of frames, and the life of a portrait.

The worker and the executor know this and no particular renderer. Every stage of a batch only queues work where there is
a device to queue it on; `Renderer.finish` alone waits. Knows nothing of queues, threads or JPEG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelError
from shared.protocol import Output


class Appearance(Protocol):
    """A prepared portrait: only what cannot be derived, so that it can travel as bytes."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, in words."""

    @property
    def output(self) -> Output:
        """Which kind of frames it is drawn as."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of a drawn frame: (h, w, 3)."""

    def to_bytes(self) -> bytes:
        """Encode for another process; `Renderer.load` is the way back."""


class Subject(Protocol):
    """One portrait ready to be drawn: everything that does not change from frame to frame, where it is needed."""

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Shape of a drawn frame: (h, w, 3)."""


AppearanceT = TypeVar("AppearanceT", bound=Appearance)
SubjectT = TypeVar("SubjectT", bound=Subject)


@dataclass(frozen=True)
class FrameBatch(Generic[SubjectT]):
    """Frames to be computed at once; they may belong to several portraits and jobs.

    Attributes:
        subjects: one per frame.
        motion: (N, 70) float32 rows, one per frame.
        references: per frame the (70,) row that shows the portrait itself (absolute motion), or None (relative rows).
    """

    subjects: tuple[SubjectT, ...]
    motion: NDArray[np.float32]
    references: tuple[NDArray[np.float32] | None, ...]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.subjects)


# A frame (h, w, 3) uint8 RGB; or its JPEG, where the device compressed it; or in its place why it cannot be shown.
Drawn = NDArray[np.uint8] | bytes | ModelError


class Renderer(Protocol[AppearanceT, SubjectT]):
    """Portraits to subjects, batches of frames to pixels.

    A batch passes `upload`, `compute`, `download` and `finish` once each, in this order; several batches are under way
    at once. The first three are called by one thread, `finish` by another, in the order of the batches. When one of
    them raises, the batch is lost and what it held (a slot of a ring) has been given back. A renderer observes how long
    its batches spend in the steps ``upload``, ``compute`` and ``copy`` (`shared.metrics.render_step_duration_seconds`).
    """

    @property
    def max_batch_frames(self) -> int:
        """Frames worth computing at once."""

    def warm_up(self) -> None:
        """Run every shape once: kernels are chosen, graphs captured, models loaded.

        Raises:
            WeightsMismatch: the weights cannot be used.
        """

    def prepare(self, portrait: NDArray[np.uint8], output: Output) -> AppearanceT:
        """Make everything a portrait yields once.

        Args:
            portrait: (H, W, 3) uint8 RGB, upright.
            output: "square" for the crop, "full" for frames pasted back into the photo.

        Raises:
            NoFaceFound: there is no face in it.
        """

    def load(self, data: bytes) -> AppearanceT:
        """Decode what `Appearance.to_bytes` made.

        Raises:
            ProtocolError: not an appearance of this renderer and version.
        """

    def build(self, appearance: AppearanceT) -> SubjectT:
        """Put a portrait where frames are computed; kept by the worker for as long as it is used."""

    def upload(self, batch: FrameBatch[SubjectT]) -> Any:
        """Turn motion into what the networks take and queue its way to the device.

        Raises:
            ShapeError: motion of another shape or dtype.
            NonFiniteOutput: NaN or infinity in the motion.
        """

    def compute(self, uploaded: Any) -> Any:
        """Queue the computation of what `upload` returned; never waits for the device."""

    def download(self, computed: Any) -> Any:
        """Queue the way back of what `compute` returned; waits only while every host buffer is in use."""

    def finish(self, downloaded: Any) -> Sequence[Drawn]:
        """Wait for what `download` returned: one frame, or its error, per frame of the batch.

        The frames belong to the caller: host buffers have been given back when this returns.
        """
