from dataclasses import replace

import numpy as np

from tests.training.test_dataset import _utterance
from training.scenes import idle_clips, under_speech, with_intros


def test_clips_without_speech_are_silent_or_sound_at_many_levels() -> None:
    clips = idle_clips(12, seed=3)
    levels = [float(np.sqrt(np.mean(np.square(c.pcm.astype(np.float64))))) for c in clips]
    assert min(levels) == 0.0
    assert max(levels) > 300.0
    for clip in clips:
        assert {s.targets for s in clip.segments} == {(("sil", 1.0),)}
        assert abs(clip.segments[-1].end_s - len(clip.pcm) / 16_000) < 1e-6
    assert all(np.array_equal(a.pcm, b.pcm) for a, b in zip(clips[:5], idle_clips(5, seed=3), strict=True))


def test_an_intro_moves_labels_with_the_sound() -> None:
    plain = [replace(_utterance(), id=f"u{i}") for i in range(8)]
    changed = with_intros(plain, 0.5, seed=1)
    moved = [(old, new) for old, new in zip(plain, changed, strict=True) if old is not new]
    assert 0 < len(moved) < len(plain)
    for old, new in moved:
        shift = len(new.pcm) - len(old.pcm)
        assert np.array_equal(new.pcm[shift:], old.pcm)
        assert abs(new.segments[1].start_s - old.segments[0].start_s - shift / 16_000) < 1e-6
    assert [len(u.pcm) for u in with_intros(plain[:3], 0.5, seed=1)] == [len(u.pcm) for u in changed[:3]]


def test_a_background_lies_under_the_speech() -> None:
    pcm = _utterance().pcm
    mixed = under_speech(pcm, np.random.default_rng(0))
    added = mixed.astype(np.float64) - pcm
    ratio_db = 10 * np.log10(np.mean(pcm.astype(np.float64) ** 2) / np.mean(added**2))
    assert mixed.shape == pcm.shape
    assert 4.0 < ratio_db < 27.0
