import numpy as np
import pytest

from shared.media.audio import Level
from training.video.quality import Facts, Limits, cut, shifted, sound_of, verdict

LIMITS = Limits(clip_s=(1.0, 4.0))
GOOD = Facts(200.0, 0.1, 8.0, 0.001, 0.3, 0.0, 1.5, 0.6, 0.62, 0.1, 0)
LOUD = Level(1.5, is_silent=False, is_clipped=False)


def test_tracks_are_cut_into_equal_clips() -> None:
    good = np.ones(300, bool)
    good[[0, 20, 21]] = False
    clips, lost = cut(good, LIMITS)
    assert clips == [(22, 114), (114, 207), (207, 300)]
    assert lost == 19


def test_a_track_without_good_frames_gives_nothing() -> None:
    assert cut(np.zeros(50, bool), LIMITS) == ([], 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"silent_share": 0.9}, "mostly_silent"),
        ({"clipped_share": 0.02}, "clipped"),
        ({"turn_deg": 45.0}, "head_turns"),
        ({"tremble": 0.05}, "trembles"),
        ({"sync_r": 0.05}, "not_the_voice"),
        ({"lag_frames": -9}, "out_of_sync"),
    ],
)
def test_every_fault_has_its_reason(change: dict[str, float], reason: str | None) -> None:
    facts = Facts(**{**vars(GOOD), **change})
    assert verdict(facts, LOUD, LIMITS) == reason


def test_a_clip_without_sound_is_rejected() -> None:
    assert verdict(GOOD, Level(1.0, is_silent=True, is_clipped=False), LIMITS) == "no_sound"


@pytest.mark.parametrize("lag", [-5, -1, 0, 1, 3])
def test_lips_that_come_late_are_moved_back(lag: int) -> None:
    sound = np.arange(100)
    lips = sound - lag  # frame i shows what was heard at i - lag
    kept_lips, kept_sound = shifted(100, lag)
    expected = 0 if abs(lag) > 1 else lag
    assert set((sound[kept_sound] - lips[kept_lips]).tolist()) == {expected}


def test_frames_beyond_the_sound_are_silent() -> None:
    pcm = np.arange(1, 1501).astype(np.int16)
    out = sound_of(pcm, 1, 3)
    assert (out[:860] == pcm[640:]).all()
    assert not out[860:].any()
    assert (sound_of(pcm, -1, 2)[640:] == pcm[:640]).all()
