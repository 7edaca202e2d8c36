"""Head and expression apart, jitter and joints, on landmarks made by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.evaluate.drawn_landmarks import FACE_PX, landmarks
from training.evaluate.face_motion import jitter, seam, similarity, steps, stretches, take_apart

Floats = NDArray[np.float64]

N = 400


def face(pose: Floats, shift_px: Floats | None = None) -> NDArray[np.float32]:
    """Landmarks of a head that moves, lips and lids still."""
    return landmarks(np.full(N, 0.02), np.full(N, 0.3), pose, shift_px)


def swaying(seed: int = 0) -> Floats:
    """(N, 3) slow turns of a few degrees."""
    times = np.arange(N)[:, None] / 25
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return np.asarray(np.sin(2 * np.pi * times * [0.2, 0.3, 0.4] + phase) * [3.0, 4.0, 2.0])


def test_pose_is_found_again() -> None:
    pose = swaying()
    found = take_apart(face(pose)).pose
    assert np.allclose(found - found.mean(axis=0), pose - pose.mean(axis=0), atol=0.2)


def test_lips_stand_still_while_the_head_turns_and_approaches() -> None:
    points = face(swaying(), shift_px=np.linspace(0, 80, N)[:, None] * [1.0, 0.3])
    points *= np.linspace(1.0, 1.3, N)[:, None, None].astype(np.float32)
    motion = take_apart(points)
    assert steps(motion.lips).max() < 1e-4
    assert steps(motion.head).mean() > 1e-3


def test_similarity_never_mirrors() -> None:
    shape = np.random.default_rng(1).normal(size=(20, 3))
    _, turn, _ = similarity(shape, (shape * [1.0, 1.0, -1.0])[None])
    assert np.linalg.det(turn[0]) == pytest.approx(1.0)


def test_jitter_is_the_power_above_six_hertz() -> None:
    sigma_px = 0.5
    shake = np.random.default_rng(2).normal(0, sigma_px, (N, 2))
    motion = take_apart(face(swaying(), shake))
    expected = 2 * (1000 * sigma_px / FACE_PX) ** 2 * (1 - 6.0 / 12.5)
    assert np.nanmean(jitter(motion.head)) == pytest.approx(expected, rel=0.2)
    assert np.nanmean(jitter(motion.lips)) < 0.01 * expected, "the head's shaking is not the lips'"


def test_slow_motion_is_no_jitter() -> None:
    assert np.nanmean(jitter(take_apart(face(swaying())).head)) < 0.05


def test_jitter_leaves_gaps_out() -> None:
    points = face(swaying())
    points[100:110] = np.nan
    points[120:] = np.nan
    power = jitter(take_apart(points).head)
    assert np.isfinite(power[:100]).all()
    assert np.isnan(power[100:]).all(), "ten frames are too few to tell"


def test_a_jump_at_window_joints_is_seen() -> None:
    rng = np.random.default_rng(3)
    moved = rng.uniform(0.8, 1.2, N - 1)
    joints = np.arange(65, N, 65)
    assert seam(moved, joints, 65).ratio == pytest.approx(1.0, abs=0.15)
    moved[joints - 1] *= 3.0
    found = seam(moved, joints, 65)
    assert found.ratio == pytest.approx(3.0, rel=0.1)
    assert found.ratio > found.chance
    assert found.n_joints == len(joints)
    assert seam(moved, joints + 7, 65).ratio < 1.2, "elsewhere there is none"


def test_joints_without_a_face_do_not_count() -> None:
    moved = np.ones(N - 1)
    moved[60:70] = np.nan
    assert seam(moved, np.arange(65, N, 65), 65).n_joints == len(range(65, N, 65)) - 1


def test_a_clip_of_one_window_has_no_seam() -> None:
    found = seam(np.ones(50), np.arange(65, 51, 65), 65)
    assert np.isnan(found.ratio)
    assert found.n_joints == 0


def test_stretches_are_half_open() -> None:
    assert stretches(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)]
    assert stretches(np.zeros(3, bool)) == []
