import numpy as np
import pytest

from services.motion_dit.controls import POSE_LIMITS_DEG
from shared.motion import EXP, PYR, SLIDER_INDEX, neutral_row, sliders_from_exp
from shared.timeline import FPS
from training.head_motion import STD_DEG, TAUS_S, Motion, add_head_and_eyes, ar2, brow_raise, nods


def _motion(seed: int = 0, n_frames: int = 4000) -> Motion:
    rng = np.random.default_rng(1)
    loudness = np.clip(0.7 + 0.3 * np.sin(np.arange(n_frames) / 3) + 0.1 * rng.normal(size=n_frames), 0, 1)
    return add_head_and_eyes(
        np.zeros((n_frames, 14), np.float32), loudness.astype(np.float32), np.random.default_rng(seed)
    )


@pytest.mark.parametrize("taus", TAUS_S)
def test_the_process_has_unit_variance_and_its_poles(taus: tuple[float, float]) -> None:
    x = ar2(200_000, taus, np.random.default_rng(0))
    assert x.std() == pytest.approx(1.0, abs=0.05)
    a, b = (np.exp(-1 / (FPS * tau)) for tau in taus)
    one = np.corrcoef(x[1:], x[:-1])[0, 1]
    assert one == pytest.approx((a + b) / (1 + a * b), abs=0.005)


def test_pose_has_the_size_of_calm_speech() -> None:
    pose = np.concatenate([_motion(seed).rows[:, PYR] for seed in range(4)])
    limits = np.asarray(POSE_LIMITS_DEG)
    seen = (limits * np.tanh(pose / limits)).std(axis=0)
    assert (seen > 0.6 * np.array(STD_DEG)).all()
    assert (seen < 1.3 * np.array(STD_DEG)).all()


def test_a_video_starts_from_the_portrait() -> None:
    row = _motion().rows[0]
    assert np.allclose(row, neutral_row(), atol=2e-3)


def test_eyes_follow_the_event_tracks() -> None:
    motion = _motion()
    lids = sliders_from_exp(motion.rows[:, EXP])[:, SLIDER_INDEX["blink_left"]]
    assert np.corrcoef(lids, motion.tracks[:, 0])[0, 1] > 0.97
    assert lids[motion.tracks[:, 0] > 0.9].min() > 0.75


def test_nods_follow_energy_peaks() -> None:
    loudness = np.full(1000, 0.4, np.float32)
    loudness[50::50] = 1.0
    pitch = nods(loudness, np.random.default_rng(0))
    assert pitch.max() > 1.0
    assert not nods(np.zeros(200, np.float32), np.random.default_rng(0)).any()


def test_steps_are_small_and_finite() -> None:
    motion = _motion()
    assert np.isfinite(motion.rows).all()
    assert np.abs(np.diff(motion.rows[:, PYR], axis=0)).max() * FPS < 60


def test_heads_differ_and_repeat() -> None:
    assert np.array_equal(_motion(1).rows, _motion(1).rows)
    assert not np.allclose(_motion(1).rows[:, PYR], _motion(2).rows[:, PYR])


def test_brows_mark_what_stands_out_and_rest_in_steady_or_absent_speech() -> None:
    steady = np.full(250, 0.7, np.float32)
    stressed = steady.copy()
    stressed[150:160] = 1.0
    silent = np.zeros(250, np.float32)
    lift = brow_raise(stressed)
    assert lift[150:170].max() > 0.08
    assert lift[100:148].max() < 0.03
    assert lift[190:].max() < 0.03
    assert brow_raise(steady)[50:].max() < 0.03
    assert not brow_raise(silent).any()
    assert brow_raise(np.ones(250, np.float32)).max() <= 0.5
