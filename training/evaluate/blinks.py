"""Blinks on video: how far the lids drop below what is open for this person at this moment.

Knows only the eye aspect ratio of `training.landmarks.eye_opening`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from shared.timeline import FPS
from training.evaluate.face_motion import stretches

Floats = NDArray[np.floating[Any]]

OPEN_LEVEL_S = 2.0  # the lids' usual place is the median over this long
DEEPEST_QUANTILE = 0.995
SHARE_OF_DEEPEST = 0.5
LEAST_DROP, MOST_DROP = 0.25, 0.5
NOISE_FACTOR, MAD_TO_SIGMA = 4.0, 1.4826
LONGEST_S = 0.6
MERGE_FRAMES = 2


@dataclass(frozen=True)
class Blinks:
    """Blinks of a clip.

    Attributes:
        frames: (M,) frame of each blink in which the lids are lowest.
        lengths_s: (M,) how long each is below the threshold.
        threshold: drop from which lids count as shut, share of the open level.
        closed_share: share of the frames with a face in which the eyes are shut for longer than a blink.
    """

    frames: NDArray[np.int64]
    lengths_s: NDArray[np.float64]
    threshold: float
    closed_share: float


def find_blinks(eyes: Floats) -> Blinks:
    """Find blinks with a threshold of this person's own.

    With e the mean of both eyes and o its running median over two seconds, the lids drop by d = 1 - e / o. They are
    shut where d > max(min(max(q / 2, 0.25), 0.5), 4 sigma), q the 99.5th percentile of d and sigma = 1.4826 MAD(d).
    Runs less than three frames apart are one; runs up to 0.6 s are blinks, longer ones closed eyes.

    Args:
        eyes: (N, 2) eye aspect ratios at 25 fps; NaN where no face was found.
    """
    mean = np.asarray(eyes, np.float64).mean(axis=1)
    found = np.isfinite(mean)
    drop = np.zeros(len(mean))
    kept = mean[found]
    if len(kept):
        usual = median_filter(kept, size=round(OPEN_LEVEL_S * FPS) + 1, mode="nearest")
        drop[found] = 1.0 - kept / np.maximum(usual, 1e-6)
    threshold = _threshold(drop[found])
    runs = _merged(stretches(drop > threshold))
    is_blink = [end - begin <= LONGEST_S * FPS for begin, end in runs]
    blinks = [run for run, short in zip(runs, is_blink, strict=True) if short]
    longer = sum(end - begin for (begin, end), short in zip(runs, is_blink, strict=True) if not short)
    return Blinks(
        frames=np.array([begin + int(np.argmax(drop[begin:end])) for begin, end in blinks], np.int64),
        lengths_s=np.array([(end - begin) / FPS for begin, end in blinks]),
        threshold=threshold,
        closed_share=longer / max(1, len(kept)),
    )


def _threshold(drop: Floats) -> float:
    if not len(drop):
        return MOST_DROP
    deepest = float(np.quantile(drop, DEEPEST_QUANTILE))
    noise = MAD_TO_SIGMA * float(np.median(np.abs(drop - np.median(drop))))
    return max(float(np.clip(SHARE_OF_DEEPEST * deepest, LEAST_DROP, MOST_DROP)), NOISE_FACTOR * noise)


def _merged(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Runs with those less than three frames apart joined."""
    joined: list[tuple[int, int]] = []
    for begin, end in runs:
        if joined and begin - joined[-1][1] <= MERGE_FRAMES:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
