import numpy as np
import pytest
import torch

from services.audio_encoder.frontend import LogMel, feature_stride, mel_filters, receptive_field

STOCK_KERNELS = (10, 3, 3, 3, 3, 2, 2)
STOCK_STRIDES = (5, 2, 2, 2, 2, 2, 2)


def test_receptive_fields_are_derived_from_the_configuration() -> None:
    assert receptive_field((400, 3), (160, 2)) == 720
    assert receptive_field(STOCK_KERNELS, STOCK_STRIDES) == 400
    assert feature_stride((160, 2)) == feature_stride(STOCK_STRIDES) == 320


@pytest.mark.parametrize("n_samples", [720, 1039, 1040, 61_200])
def test_log_mel_gives_as_many_features_as_the_bookkeeping_says(n_samples: int) -> None:
    features = LogMel(n_mels=16, width=8)(torch.zeros(1, n_samples))
    assert features.shape == (1, 8, (n_samples - 720) // 320 + 1)


def test_a_feature_sees_exactly_its_receptive_field() -> None:
    torch.manual_seed(0)
    front_end = LogMel(n_mels=16, width=8).eval()
    wave = torch.randn(1, 720 + 4 * 320) * 0.1
    changed = wave.clone()
    changed[:, 2 * 320 + 720 :] += 0.5
    changed[:, : 2 * 320] += 0.5
    with torch.inference_mode():
        before, after = front_end(wave), front_end(changed)
    assert torch.equal(before[..., 2], after[..., 2])
    assert not torch.equal(before[..., 1], after[..., 1])
    assert not torch.equal(before[..., 3], after[..., 3])


def test_a_tone_lands_in_its_mel_band() -> None:
    t = torch.arange(1600) / 16_000
    energies = LogMel(n_mels=64, width=8).energies(torch.sin(2 * np.pi * 1000.0 * t)[None])
    centres_hz = mel_filters(64).argmax(axis=0) * 40.0
    assert abs(centres_hz[int(energies[0, :, 4].argmax())] - 1000.0) <= 40.0


def test_no_mel_band_is_empty() -> None:
    assert (mel_filters(64).max(axis=0) > 0.1).all()
