import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import InputError
from training.evaluate.correlation import GRID_HZ, best_lag, circular_shift_null, correlations, low_pass, on_grid

DURATION_S = 20.0
Floats = NDArray[np.float64]


def _mouth(seed: int, rate_hz: float = 200.0, duration_s: float = DURATION_S) -> tuple[Floats, Floats]:
    """Times and a smooth random opening, mostly below 4 Hz."""
    times = np.arange(round(duration_s * rate_hz)) / rate_hz
    rng = np.random.default_rng(seed)
    waves = [
        rng.normal() * np.sin(2 * np.pi * f * times + rng.uniform(0, 6.28)) for f in rng.uniform(0.3, 4.0, size=40)
    ]
    return times, np.sum(waves, axis=0)


def _at(times: Floats, seed: int, delay_s: float = 0.0) -> Floats:
    fine, values = _mouth(seed)
    return np.interp(times - delay_s, fine, values)


def test_a_delayed_copy_is_found_at_its_delay() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    commanded = on_grid(times, _at(times, 0), DURATION_S)
    for delay_s in (-0.2, -0.06, 0.0, 0.1, 0.24):
        reference = on_grid(times, _at(times, 0, delay_s), DURATION_S)
        found = best_lag(commanded, reference)
        assert found.lag_s == pytest.approx(delay_s, abs=0.021)
        assert found.r > 0.99
        assert found.r_0 <= found.r


def test_noise_lowers_the_correlation_as_its_power_says() -> None:
    times = np.arange(0, 60.0, 1 / 25)
    signal = np.interp(times, *_mouth(1, duration_s=60.0))
    rng = np.random.default_rng(2)
    smooth = low_pass(rng.normal(size=len(times)), 25)
    noise = smooth * signal.std() / smooth.std()
    found = best_lag(on_grid(times, signal, 60.0), on_grid(times, signal + noise, 60.0))
    assert found.r == pytest.approx(np.sqrt(0.5), abs=0.07)
    assert abs(found.lag_s) <= 0.02


def test_a_lag_beyond_the_range_is_reported_as_lying_at_its_edge() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    commanded = on_grid(times, _at(times, 3), DURATION_S)
    late = on_grid(times, _at(times, 3, 0.30), DURATION_S)
    assert best_lag(commanded, late).is_at_edge
    wide = best_lag(commanded, late, 0.4)
    assert not wide.is_at_edge
    assert wide.lag_s == pytest.approx(0.30, abs=0.021)


@pytest.mark.parametrize("rate_hz", [10.0, 23.976, 25.0, 30.0, 60.0, 240.0])
def test_any_frame_rate_of_the_reference_gives_the_same_answer(rate_hz: float) -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    commanded = on_grid(times, _at(times, 4), DURATION_S)
    other = np.arange(0, DURATION_S, 1 / rate_hz)
    found = best_lag(commanded, on_grid(other, _at(other, 4, 0.08), DURATION_S))
    assert found.r > (0.9 if rate_hz < 20 else 0.99)
    assert found.lag_s == pytest.approx(0.08, abs=0.021)


def test_times_may_be_irregular_and_values_missing() -> None:
    rng = np.random.default_rng(5)
    times = np.sort(rng.uniform(0, DURATION_S, size=600))
    values = _at(times, 6, 0.04)
    values[100:220] = np.nan  # four seconds without a face
    values[rng.integers(600, size=40)] = np.nan
    reference = on_grid(times, values, DURATION_S)
    steady = np.arange(0, DURATION_S, 1 / 25)
    found = best_lag(on_grid(steady, _at(steady, 6), DURATION_S), reference)
    assert found.r > 0.97
    assert found.lag_s == pytest.approx(0.04, abs=0.021)
    gap = slice(round((times[110]) * GRID_HZ), round(times[210] * GRID_HZ))
    assert not reference.is_valid[gap].any()


def test_a_face_that_goes_away_is_not_compared() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    values = _at(times, 7)
    gone = values.copy()
    gone[250:] = np.nan
    reference = on_grid(times, gone, DURATION_S)
    assert reference.is_valid[: 9 * GRID_HZ].all()
    assert not reference.is_valid[11 * GRID_HZ :].any()
    spoilt = values.copy()
    spoilt[260:] = 50.0 * np.random.default_rng(0).normal(size=240)
    assert best_lag(on_grid(times, spoilt, DURATION_S), reference).r > 0.98


def test_a_reference_shorter_than_the_clip_is_compared_where_it_is() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    short = times[:150]
    found = best_lag(on_grid(times, _at(times, 8), DURATION_S), on_grid(short, _at(short, 8), DURATION_S))
    assert found.r > 0.98
    assert found.lag_s == 0.0


def test_unrelated_curves_exceed_the_null_about_as_often_as_it_says() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    tracks = [on_grid(times, _at(times, 100 + seed), DURATION_S) for seed in range(40)]
    hits = 0
    for one, other in zip(tracks[::2], tracks[1::2], strict=True):
        hits += best_lag(one, other).r > circular_shift_null(one, other)
    assert hits <= 4  # 1 of 20 is expected; five or more happen once in 400 runs


def test_related_curves_exceed_the_null() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    one = on_grid(times, _at(times, 9), DURATION_S)
    other = on_grid(times, _at(times, 9) + _at(times, 10), DURATION_S)
    assert best_lag(one, other).r > circular_shift_null(one, other)


def test_the_null_has_the_freedom_of_the_lags() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    one, other = (on_grid(times, _at(times, seed), DURATION_S) for seed in (11, 12))
    assert circular_shift_null(one, other, 0.24) > circular_shift_null(one, other, 0.0) + 0.02


def test_more_than_six_hertz_is_gone_and_less_is_kept_without_delay() -> None:
    times = np.arange(0, 8, 1 / 50)
    slow, fast = np.sin(2 * np.pi * 2 * times), np.sin(2 * np.pi * 11 * times)
    left = low_pass(slow + fast, 50.0)[50:-50]
    assert np.abs(left - slow[50:-50]).max() < 0.05
    at_cutoff = low_pass(np.sin(2 * np.pi * 6 * times), 50.0)[50:-50]
    assert at_cutoff.std() * np.sqrt(2) == pytest.approx(0.5, abs=0.03)


def test_curves_that_do_not_move_or_share_no_time_are_refused() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    moving = on_grid(times, _at(times, 13), DURATION_S)
    with pytest.raises(InputError, match="constant"):
        best_lag(moving, on_grid(times, np.ones(len(times)), DURATION_S))
    with pytest.raises(InputError, match="two seconds"):
        best_lag(moving, on_grid(times[:40], _at(times[:40], 13), DURATION_S))
    with pytest.raises(InputError, match="usable values"):
        on_grid(times, np.full(len(times), np.nan), DURATION_S)
    with pytest.raises(InputError, match="go back"):
        on_grid(times[::-1], _at(times, 13), DURATION_S)


def test_every_lag_has_its_correlation() -> None:
    times = np.arange(0, DURATION_S, 1 / 25)
    track = on_grid(times, _at(times, 14), DURATION_S)
    curve = correlations(track, track, 0.24)
    assert len(curve) == 25
    assert curve[12] == pytest.approx(1.0)
    assert np.argmax(curve) == 12
