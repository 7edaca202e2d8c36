import numpy as np
import pytest
from numpy.typing import NDArray

from shared.motion import SLIDER_INDEX, exp_from_sliders, lip_opening
from shared.timeline import FPS
from training.labels import Segment
from training.motion_targets import influence, lip_sliders

FloatArray = NDArray[np.float32]


def _segments(*parts: tuple[str, float]) -> list[Segment]:
    out, now = [], 0.0
    for viseme, duration in parts:
        out.append(Segment(now, now + duration, viseme, ((viseme, 1.0),), 1.0, 0))
        now += duration
    return out


def _opening(segments: list[Segment], loudness: float = 0.5) -> FloatArray:
    n_frames = round(segments[-1].end_s * FPS)
    return lip_opening(exp_from_sliders(lip_sliders(segments, np.full(n_frames, loudness, np.float32))))


def _frame(time_s: float) -> int:
    return int(time_s * FPS)


@pytest.mark.parametrize("duration", [0.04, 0.06, 0.1, 0.2])
@pytest.mark.parametrize("vowel", ["aa", "iy", "ou"])
@pytest.mark.parametrize("start", [0.5, 0.513, 0.527])
def test_lips_touch_in_every_bilabial(duration: float, vowel: str, start: float) -> None:
    opening = _opening(_segments((vowel, start), ("PP", duration), (vowel, 0.5)))
    begin, end = _frame(start), _frame(start + duration)
    assert opening[begin : end + 1].min() == 0
    assert opening[begin - 6] > 0.05
    assert opening[end + 6] > 0.05


def test_lips_do_not_touch_before_the_closure_is_due() -> None:
    opening = _opening(_segments(("aa", 0.6), ("PP", 0.08), ("aa", 0.4)))
    assert opening[_frame(0.6) - 3] > 0.05


def test_a_long_vowel_stays_open() -> None:
    opening = _opening(_segments(("sil", 0.4), ("aa", 1.0), ("sil", 0.4)))
    inside = opening[_frame(0.45) : _frame(1.25)]
    assert inside.min() > 0.3


def test_lips_are_closed_in_long_pauses_and_at_the_ends() -> None:
    opening = _opening(_segments(("sil", 0.6), ("aa", 0.3), ("sil", 0.6), ("ih", 0.3), ("sil", 0.6)))
    for begin, end in ((0.0, 0.4), (1.15, 1.25), (2.0, 2.4)):
        assert opening[_frame(begin) : _frame(end)].max() == 0


def test_lips_stay_parted_in_a_short_pause_inside_speech() -> None:
    opening = _opening(_segments(("sil", 0.5), ("aa", 0.2), ("sil", 0.1), ("aa", 0.2), ("sil", 0.5)))
    assert opening[_frame(0.75)] > 0.05


def test_lips_lead_the_sound() -> None:
    opening = _opening(_segments(("sil", 0.6), ("aa", 0.3), ("sil", 0.6)))
    assert opening[_frame(0.6)] > 0.03


def test_louder_speech_opens_wider() -> None:
    speech = _segments(("sil", 0.4), ("aa", 0.3), ("sil", 0.4))
    assert _opening(speech, 1.0).max() > 1.3 * _opening(speech, 0.2).max()


def test_very_short_phones_reach_less() -> None:
    slow = _opening(_segments(("SS", 0.3), ("aa", 0.06), ("SS", 0.3)))
    fast = _opening(_segments(("SS", 0.3), ("aa", 0.03), ("SS", 0.3)))
    assert fast.max() < slow.max()


def test_teeth_meet_the_lip_on_f() -> None:
    segments = _segments(("aa", 0.5), ("FF", 0.12), ("aa", 0.5))
    sliders = lip_sliders(segments, np.full(28, 0.5, np.float32))
    middle = _frame(0.55)
    assert sliders[middle, SLIDER_INDEX["jaw_open"]] <= 0.121
    assert sliders[middle, SLIDER_INDEX["upper_lip_raise"]] > 0.4


def test_a_long_closure_relaxes_its_press() -> None:
    segments = _segments(("aa", 0.4), ("PP", 0.8), ("aa", 0.4))
    press = lip_sliders(segments, np.full(40, 0.5, np.float32))[:, SLIDER_INDEX["lip_press"]]
    assert press[_frame(0.46)] > 0.6
    assert press[_frame(1.0)] < 0.25


def test_influence_holds_and_falls_smoothly() -> None:
    times = np.linspace(0, 1, 101)
    g = influence(times, (0.4, 0.6), 0.1, 0.2)
    assert (g[40:61] == 1).all()
    assert g[35] == pytest.approx(0.5)
    assert g[70] == pytest.approx(0.5)
    assert not g[:30].any()
    assert not g[81:].any()


def test_confidence_weakens_a_recognised_phone() -> None:
    segments = _segments(("SS", 0.3), ("aa", 0.1), ("SS", 0.3))
    level = np.full(17, 0.5, np.float32)
    sure = lip_sliders(segments, level, np.ones(3, np.float32))
    unsure = lip_sliders(segments, level, np.array([1, 0.2, 1], np.float32))
    jaw = SLIDER_INDEX["jaw_open"]
    assert unsure[:, jaw].mean() < 0.95 * sure[:, jaw].mean()
