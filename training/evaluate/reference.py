"""What the lips of a clip really did: aperture over time from a video, or from an .npz that somebody measured.

An .npz holds ``t`` (N,) in seconds and ``aperture`` (N,), in any unit since only its correlation is used; NaN where no
face was seen. Times need not be regular. Of a video every frame counts at its time stamp.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import UnsupportedMedia
from training.landmarks import lip_aperture, read_frames, track


@dataclass(frozen=True)
class Aperture:
    """Lip aperture at time stamps: both (N,); NaN where there is no face."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]


def read_reference(path: Path) -> Aperture:
    """Read the aperture of a reference.

    Raises:
        UnsupportedMedia: the file is missing, is neither, or holds no lips.
    """
    if not path.is_file():
        raise UnsupportedMedia(f"reference {path} is not there; expected a video or an .npz with t and aperture.")
    aperture = _read_npz(path) if path.suffix == ".npz" else _read_video(path)
    n_seen = int(np.isfinite(aperture.values).sum())
    if n_seen < 2:
        raise UnsupportedMedia(
            f"reference {path} shows lips in {n_seen} of {len(aperture.values)} frames; expected a face that speaks. "
            "Crop the video so that the face is at least a fifth of its height."
        )
    return aperture


def _read_npz(path: Path) -> Aperture:
    try:
        with np.load(path, allow_pickle=False) as file:
            times, values = (np.asarray(file[name], np.float64) for name in ("t", "aperture"))
    except (OSError, ValueError, KeyError) as error:
        raise UnsupportedMedia(
            f"reference {path} cannot be read ({error}); expected an .npz with arrays t (seconds) and aperture."
        ) from error
    if times.ndim != 1 or times.shape != values.shape or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise UnsupportedMedia(
            f"reference {path} has t of shape {times.shape} and aperture of shape {values.shape}; expected two equal "
            "(N,), t finite and ascending, in seconds."
        )
    return Aperture(times, values)


def _read_video(path: Path) -> Aperture:
    times: list[float] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for frame in read_frames(path):
            times.append(frame.time_s)
            yield frame.image

    values = lip_aperture(track(images()))
    return Aperture(np.array(times), np.asarray(values, np.float64))
