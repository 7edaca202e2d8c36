import numpy as np
import pytest
import torch

from shared.motion import EXP, lip_opening, neutral_rows
from shared.timeline import Geometry
from training.corpus import Utterance
from training.dataset import ContextNoise, MotionWindows, motion_of, spoil_context
from training.features import Windows
from training.labels import Segment

GEOMETRY = Geometry()


def _utterance() -> Utterance:
    pcm = (8000 * np.sin(np.arange(48_000) / 10)).astype(np.int16)
    segments = [
        Segment(0.0, 0.5, "", (("sil", 1.0),), 1.0, 0),
        Segment(0.5, 2.5, "a", (("aa", 1.0),), 1.0, 9),
        Segment(2.5, 3.0, "", (("sil", 1.0),), 1.0, 0),
    ]
    return Utterance("u", "espeak", "v", "train", "", 4, pcm, segments)


def _windows() -> MotionWindows:
    features = np.zeros((3, 75, 5), np.float16)
    features[:, :, 0] = np.arange(3)[:, None]
    source = Windows(features, np.zeros(3, np.int64), np.array([0, 65, 30]))
    return MotionWindows([_utterance()], [source], GEOMETRY, n_heads=2)


def test_window_zero_starts_from_neutral_rows_and_no_events() -> None:
    batch = _windows().collate([(0, 0)], np.array([0]))
    assert batch.rows.shape == (1, 75, 70)
    assert np.array_equal(batch.rows[0, :10].numpy(), neutral_rows(10))
    assert not batch.tracks[0, :10].any()


def test_context_is_the_motion_before_the_window() -> None:
    windows = _windows()
    batch = windows.collate([(0, 1), (0, 2)], np.array([1, 1]))
    motion = windows.motions[0][1]
    assert np.array_equal(batch.rows[0].numpy(), motion.rows[55:130])
    assert np.array_equal(batch.rows[1].numpy(), motion.rows[20:95])
    assert np.array_equal(batch.tracks[1].numpy(), motion.tracks[20:95])
    assert float(batch.features[1, 0, 0]) == 2.0


def test_motion_follows_the_labels_and_ends_in_silence() -> None:
    motion = motion_of(_utterance(), 160, [0])[0]
    opening = lip_opening(motion.rows[:, EXP])
    assert opening[20:55].min() > 0.2
    assert opening[80:].max() == 0


def test_batches_repeat_with_their_seed() -> None:
    windows = _windows()
    one, again = next(windows.batches(6, 3)), next(windows.batches(6, 3))
    assert torch.equal(one.rows, again.rows)
    assert not torch.equal(one.features, next(windows.batches(6, 4)).features)


@pytest.mark.parametrize(("p_noise", "p_drop"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_the_context_is_spoilt_and_the_target_returns(p_noise: float, p_drop: float) -> None:
    latent, neutral = torch.randn(8, 75, 17), torch.full((17,), 9.0)
    noise = ContextNoise(p_noise=p_noise, p_drop=p_drop)
    past, target = spoil_context(latent, 10, noise, neutral, torch.Generator().manual_seed(0))
    assert past.shape == (8, 10, 17)
    assert torch.equal(target, latent[:, 10:]) == (p_noise == 0)
    assert torch.allclose(target[:, 40:], latent[:, 50:], atol=1e-3)
    if p_drop:
        assert (past == 9.0).all()
    else:
        assert torch.equal(past, latent[:, :10]) == (p_noise == 0)


def test_the_target_goes_on_from_a_moved_context() -> None:
    latent = torch.zeros(16, 75, 17)
    noise = ContextNoise(p_noise=1.0, white=0.0, p_drop=0.0)
    past, target = spoil_context(latent, 10, noise, torch.zeros(17), torch.Generator().manual_seed(0))
    steps = torch.cat([past[:, -1:], target], dim=1).diff(dim=1)
    assert past.abs().max() > 0.3
    assert steps.abs().max() < 0.3 * past.abs().max()
