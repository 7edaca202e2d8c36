"""What the trainer knows of its data: windows of sound features with their motion, one protocol for every origin.

Synthetic speech (``dataset.py``) and shards of real videos (``video/``) are both sources. The trainer decides the
order; a source gives the windows it is asked for.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.timeline import Geometry

if TYPE_CHECKING:
    from training.dataset import Batch

Split = Literal["train", "held"]


@dataclass(frozen=True)
class EncoderFacts:
    """The audio encoder that made the features.

    Attributes:
        name: "embedded" for the shipped one, else the folder it was read from.
        sha256: of its weights file; features of different encoders do not mix.
        hidden_size: width of its features, loudness not counted.
        receptive_field: samples one feature sees.
    """

    name: str
    sha256: str
    hidden_size: int
    receptive_field: int


@dataclass(frozen=True)
class SourceFacts:
    """Where windows come from and how many there are; written into the run and its model card.

    Attributes:
        kind: rule-made motion for synthetic speech, or motion measured in videos.
        folder: as named on the command line.
        n_clips: utterances or video clips of this split.
        n_windows: windows of this split.
        seconds: length of the clips together.
        geometry: how the windows were cut.
        encoder: what made their features.
    """

    kind: Literal["synthetic", "video"]
    folder: str
    n_clips: int
    n_windows: int
    seconds: float
    geometry: Geometry
    encoder: EncoderFacts

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class WindowSource(Protocol):
    """Windows of one split of one folder."""

    @property
    def facts(self) -> SourceFacts:
        """Origin and counts."""
        ...

    def __len__(self) -> int:
        """Number of windows."""
        ...

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> "Batch":
        """Exactly these windows in this order; all random choices come from ``rng``."""
        ...

    def rows(self) -> NDArray[np.float32]:
        """Motion of the split, or an even sample of it: (N, 70)."""
        ...
