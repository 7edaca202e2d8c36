"""Blinks on eye aspect ratios with noise, squints and closed eyes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluate.blinks import find_blinks

N = 1500
BLINK = np.array([0.7, 0.25, 0.2, 0.45, 0.8])


def eyes(at: list[int], open_level: float = 0.3, depth: float = 1.0, noise: float = 0.01) -> NDArray[np.float64]:
    """(N, 2) ratios of a minute with blinks that begin at some frames."""
    rng = np.random.default_rng(4)
    level = np.ones(N)
    for begin in at:
        level[begin : begin + 5] = 1 - depth * (1 - BLINK)
    return open_level * level[:, None] + rng.normal(0, noise, (N, 2))


@pytest.mark.parametrize("open_level", [0.2, 0.3, 0.45])
def test_every_blink_is_found_whoever_it_is(open_level: float) -> None:
    at = list(range(50, N - 50, 100))
    found = find_blinks(eyes(at, open_level))
    assert [round((frame - begin - 2) / 3) for frame, begin in zip(found.frames, at, strict=True)] == [0] * len(at)
    assert 0.08 <= np.median(found.lengths_s) <= 0.2


def test_noise_does_not_blink() -> None:
    assert len(find_blinks(eyes([], noise=0.02)).frames) == 0


def test_slow_squinting_is_no_blink_and_hides_none() -> None:
    squint = 1 - 0.35 * (0.5 + 0.5 * np.sin(2 * np.pi * np.arange(N) / 500))[:, None]
    assert len(find_blinks(eyes([], noise=0.005) * squint).frames) == 0
    assert len(find_blinks(eyes([200, 600, 1000]) * squint).frames) == 3


def test_closed_eyes_are_not_counted_as_a_blink() -> None:
    ratios = eyes([100, 1200])
    ratios[500:520] *= 0.2
    found = find_blinks(ratios)
    assert len(found.frames) == 2
    assert found.closed_share == pytest.approx(20 / N)


def test_two_blinks_in_a_row_are_two_and_a_flutter_is_one() -> None:
    assert len(find_blinks(eyes([100, 115])).frames) == 2
    fluttering = eyes([100])
    fluttering[100:106] = 0.3 * np.array([0.2, 0.2, 0.8, 0.2, 0.2, 0.2])[:, None]
    assert len(find_blinks(fluttering).frames) == 1


def test_frames_without_a_face_do_not_blink() -> None:
    ratios = eyes([100, 400])
    ratios[90:110] = np.nan
    assert len(find_blinks(ratios).frames) == 1
    assert len(find_blinks(np.full((50, 2), np.nan)).frames) == 0
