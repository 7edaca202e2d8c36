"""What commanded lips do on the phones of speech whose labels are known: closures, open vowels, pauses.

A phone owns the frames that are shown during any part of it; frame i is shown from i / 25 s on for 40 ms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.timeline import FPS
from training.corpus import Utterance
from training.labels import Segment

FloatArray = NDArray[np.float32]
Bools = NDArray[np.bool_]

OPEN_VOWELS = ("aa", "ae", "E", "oh")  # AA AE EH OH
FULL_AMPLITUDE = 0.9
WIDE_ENOUGH = 0.15
FAR_S = 0.2
LIPS_MAY_REST = ("PP", "FF", "sil")


@dataclass(frozen=True)
class Labelled:
    """One generated video against its labels: commanded openings (N,) of the motion and of its rule-made target."""

    utterance: Utterance
    opening: FloatArray
    target: FloatArray


def lip_figures(clips: Sequence[Labelled]) -> dict[str, float]:
    """Closures, open vowels, silence and agreement with the target, over all clips; shares and mouth widths."""
    pairs = (("", [clip.opening for clip in clips]), ("target_", [clip.target for clip in clips]))
    figures: dict[str, float] = {}
    said = np.concatenate([is_speech(clip.utterance, len(clip.opening)) for clip in clips])
    for prefix, openings in pairs:
        lowest = _over(clips, openings, is_bilabial, np.min)
        peaks = _over(clips, openings, is_open_vowel, np.max)
        middles = _over(clips, openings, is_open_vowel, _middle)
        every = np.concatenate(openings)
        figures |= {
            f"{prefix}bilabials_at_0": _share(lowest <= 0.0),
            f"{prefix}open_vowels_wide": _share(peaks >= WIDE_ENOUGH),
            f"{prefix}open_vowels_wide_middle": _share(middles >= WIDE_ENOUGH),
            f"{prefix}closed_elsewhere": _share(every[_masks(clips, far_from_rest)] <= 0.0),
            f"{prefix}closed_in_silence": _share(every[_masks(clips, far_from_speech)] <= 0.02),
            f"{prefix}speech_p50": float(np.quantile(every[said], 0.5)),
            f"{prefix}speech_p95": float(np.quantile(every[said], 0.95)),
        }
    found, wanted = (np.concatenate(openings) for _, openings in pairs)
    moves = found.std() > 0 and wanted.std() > 0
    figures["target_correlation"] = float(np.corrcoef(found, wanted)[0, 1]) if moves else float("nan")
    figures["n_bilabials"] = float(len(_over(clips, pairs[0][1], is_bilabial, np.min)))
    figures["n_open_vowels"] = float(len(_over(clips, pairs[0][1], is_open_vowel, np.max)))
    return figures


def is_bilabial(segment: Segment) -> bool:
    """p, b, m at full amplitude."""
    return segment.targets[0][0] == "PP" and segment.k >= FULL_AMPLITUDE


def is_open_vowel(segment: Segment) -> bool:
    """AA, AE, EH or OH at full amplitude; of diphthongs the part that is one."""
    name, weight = max(segment.targets, key=lambda pair: pair[1])
    return name in OPEN_VOWELS and weight > 0.5 and segment.k >= FULL_AMPLITUDE


def is_speech(utterance: Utterance, n_frames: int) -> Bools:
    """(N,) frames whose middle lies in a phone."""
    return ~_inside(utterance, n_frames, ("sil",), 0.0) & (_middles(n_frames) < utterance.segments[-1].end_s)


def far_from_speech(utterance: Utterance, n_frames: int) -> Bools:
    """(N,) frames 200 ms or more away from every phone."""
    names = {name for segment in utterance.segments for name, _ in segment.targets} - {"sil"}
    return ~_inside(utterance, n_frames, tuple(names), FAR_S)


def far_from_rest(utterance: Utterance, n_frames: int) -> Bools:
    """(N,) frames 200 ms or more away from every p, b, m, f, v and pause, where closed lips are wrong."""
    return ~_inside(utterance, n_frames, LIPS_MAY_REST, FAR_S)


def _inside(utterance: Utterance, n_frames: int, names: Sequence[str], margin_s: float) -> Bools:
    times = _middles(n_frames)
    out = np.zeros(n_frames, bool)
    for segment in utterance.segments:
        if segment.targets[0][0] in names:
            out |= (times >= segment.start_s - margin_s) & (times < segment.end_s + margin_s)
    return out


def _over(
    clips: Sequence[Labelled],
    openings: Sequence[FloatArray],
    wanted: Callable[[Segment], bool],
    reduce: Callable[[FloatArray], np.floating[Any]],
) -> FloatArray:
    """One value for every segment of a kind: its frames, reduced."""
    values = []
    for clip, opening in zip(clips, openings, strict=True):
        for segment in clip.utterance.segments:
            frames = opening[int(segment.start_s * FPS) : max(1, int(np.ceil(segment.end_s * FPS)))]
            if wanted(segment) and len(frames):
                values.append(float(reduce(frames)))
    return np.array(values, np.float32)


def _masks(clips: Sequence[Labelled], of: Callable[[Utterance, int], Bools]) -> Bools:
    return np.concatenate([of(clip.utterance, len(clip.opening)) for clip in clips])


def _middle(frames: FloatArray) -> np.floating[Any]:
    return np.float32(frames[len(frames) // 2])


def _middles(n_frames: int) -> NDArray[np.float64]:
    return (np.arange(n_frames) + 0.5) / FPS


def _share(hits: Bools) -> float:
    return float(hits.mean()) if hits.size else float("nan")
