import numpy as np
import pytest
import torch

from services.motion_dit.generator import MotionGenerator
from services.motion_dit.model import DiTConfig, MotionDiT
from shared.motion import EXP, basis

SMALL = DiTConfig(feature_size=9, latent_size=17, hidden=32, layers=2, heads=2)


def make_model(config: DiTConfig = SMALL, seed: int = 0) -> MotionDiT:
    """A network with random weights everywhere, zero-initialised ones included, and a plausible normaliser."""
    torch.manual_seed(seed)
    model = MotionDiT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        decode = np.zeros((config.latent_size, 70), np.float32)
        decode[:14, EXP] = 0.2 * basis()
        decode[14, 67], decode[15, 68], decode[16, 69] = 1.5, 1.5, 1.0
        model.normaliser.mean[63] = 1.0
        model.normaliser.decode_matrix.copy_(torch.from_numpy(decode))
        model.normaliser.encode_matrix.copy_(torch.from_numpy(np.linalg.pinv(decode)))
    return model.eval()


@pytest.fixture
def model() -> MotionDiT:
    return make_model()


@pytest.fixture
def generator() -> MotionGenerator:
    torch.set_num_threads(1)
    return MotionGenerator(make_model())
