import numpy as np

from training.baseline import best_path, best_segments, force_silence
from training.labels import CLASSES


def test_without_a_cost_the_best_path_is_the_best_of_each_step() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 16))
    assert np.array_equal(best_path(scores, 0.0), scores.argmax(axis=1))


def test_with_a_cost_it_is_the_best_of_all_paths() -> None:
    scores = np.random.default_rng(1).normal(size=(6, 3))
    cost = 0.7
    paths = np.stack(np.meshgrid(*[np.arange(3)] * 6, indexing="ij"), -1).reshape(-1, 6)
    totals = [scores[np.arange(6), path].sum() - cost * np.count_nonzero(np.diff(path)) for path in paths]
    assert np.array_equal(best_path(scores, cost), paths[int(np.argmax(totals))])


def test_a_flicker_of_one_step_is_no_segment() -> None:
    posteriors = np.full((20, 16), 0.01, np.float32)
    posteriors[:, 9] = 0.85
    posteriors[10] = 0.03
    posteriors[10, [9, 4]] = 0.25, 0.33
    segments, confidence = best_segments(posteriors)
    assert [s.phone for s in segments] == ["AA"]
    assert segments[0].end_s == 0.4
    assert 0.8 < confidence[0] < 0.85


def test_quiet_sound_is_silence() -> None:
    posteriors = np.full((3, 16), 1 / 16, np.float32)
    forced = force_silence(posteriors, np.array([0.0, 0.5, 1.0], np.float32))
    assert forced[0, CLASSES.index("SIL")] > 0.6
    assert np.allclose(forced[1:], posteriors[1:])
    assert np.allclose(forced.sum(axis=1), 1.0)
