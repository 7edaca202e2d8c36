from dataclasses import replace

import numpy as np
import pytest

from training.corpus import Utterance
from training.evaluate.labelled import Labelled, far_from_rest, far_from_speech, is_bilabial, is_speech, lip_figures
from training.labels import CLASSES, Segment


def _said(*phones: tuple[str, float]) -> Labelled:
    """An utterance of visemes with durations; the lips are 0.4 apart on vowels, else closed."""
    segments, opening, at = [], [], 0.0
    for viseme, seconds in phones:
        segments.append(Segment(at, at + seconds, viseme, ((viseme, 1.0),), 1.0, CLASSES.index("SIL")))
        opening += [0.0 if viseme in ("sil", "PP") else 0.4] * round(25 * seconds)
        at += seconds
    pcm = np.zeros(round(at * 16_000), np.int16)
    utterance = Utterance("held-0", "flite", "awb", "held", "a pebble", 0, pcm, segments)
    curve = np.array(opening, np.float32)
    return Labelled(utterance, curve, curve.copy())


CLIP = _said(("sil", 0.8), ("aa", 0.4), ("PP", 0.12), ("E", 0.4), ("PP", 0.12), ("iy", 0.8), ("sil", 0.8))


def test_perfect_lips_score_one() -> None:
    figures = lip_figures([CLIP])
    assert figures["bilabials_at_0"] == 1.0
    assert figures["open_vowels_wide"] == figures["open_vowels_wide_middle"] == 1.0
    assert figures["closed_in_silence"] == 1.0
    assert figures["closed_elsewhere"] == 0.0
    assert figures["target_correlation"] == pytest.approx(1.0)
    assert (figures["n_bilabials"], figures["n_open_vowels"]) == (2, 2)


def test_lips_that_nearly_touch_are_not_closed() -> None:
    spoilt = CLIP.opening.copy()
    spoilt[30:33] = 0.004  # the first p
    figures = lip_figures([replace(CLIP, opening=spoilt)])
    assert figures["bilabials_at_0"] == 0.5
    assert figures["target_bilabials_at_0"] == 1.0


def test_a_closure_may_fall_on_any_frame_of_its_phone_but_on_no_other() -> None:
    early = CLIP.opening.copy()
    early[30:33] = 0.3
    early[32] = 0.0
    assert lip_figures([replace(CLIP, opening=early)])["bilabials_at_0"] == 1.0
    early[32], early[27] = 0.3, 0.0
    assert lip_figures([replace(CLIP, opening=early)])["bilabials_at_0"] == 0.5


def test_vowels_that_hardly_open_are_counted() -> None:
    small = 0.3 * CLIP.opening
    assert lip_figures([replace(CLIP, opening=small)])["open_vowels_wide"] == 0.0
    late = CLIP.opening.copy()
    late[20:28] = 0.1  # opens only at the end of the first vowel
    figures = lip_figures([replace(CLIP, opening=late)])
    assert figures["open_vowels_wide"] == 1.0
    assert figures["open_vowels_wide_middle"] == 0.5


def test_open_lips_in_silence_and_closed_ones_in_vowels_are_seen() -> None:
    spoilt = CLIP.opening.copy()
    spoilt[:10] = 0.05
    spoilt[60] = 0.0  # in the last vowel, far from p and pauses
    figures = lip_figures([replace(CLIP, opening=spoilt)])
    assert figures["closed_in_silence"] < 0.8
    assert figures["closed_elsewhere"] > 0.0


def test_weak_closures_do_not_count() -> None:
    segments = [replace(s, k=0.5) if s.phone == "PP" else s for s in CLIP.utterance.segments]
    assert not any(is_bilabial(segment) for segment in segments)


def test_frames_are_sorted_by_what_is_near() -> None:
    n = len(CLIP.opening)
    assert np.flatnonzero(far_from_speech(CLIP.utterance, n)).tolist() == [*range(15), *range(n - 15, n)]
    assert is_speech(CLIP.utterance, n)[20:66].all()
    assert not is_speech(CLIP.utterance, n)[:20].any()
    assert not far_from_rest(CLIP.utterance, n)[:25].any()
    assert far_from_rest(CLIP.utterance, n)[55]
