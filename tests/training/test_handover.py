import pytest
import torch

from training.handover import ContextNoise, spoil_context

IS_POSE = torch.arange(17) >= 11


@pytest.mark.parametrize("p_noise", [0.0, 1.0])
def test_the_context_is_spoilt_and_the_target_returns(p_noise: float) -> None:
    latent = torch.randn(8, 75, 17)
    past, target = spoil_context(latent, 10, ContextNoise(p_noise), IS_POSE, torch.Generator().manual_seed(0))
    assert past.shape == (8, 10, 17)
    assert torch.equal(target, latent[:, 10:]) == (p_noise == 0)
    assert torch.equal(past, latent[:, :10]) == (p_noise == 0)
    exp = ~IS_POSE
    assert torch.allclose(target[:, 30:, exp], latent[:, 40:, exp], atol=1e-3)
    assert torch.allclose(target[:, -1], latent[:, -1], atol=0.1)


def test_the_target_goes_on_from_a_moved_context() -> None:
    noise = ContextNoise(p_noise=1.0, white=0.0)
    past, target = spoil_context(torch.zeros(16, 75, 17), 10, noise, IS_POSE, torch.Generator().manual_seed(0))
    steps = torch.cat([past[:, -1:], target], dim=1).diff(dim=1)
    assert past.abs().max() > 0.3
    assert steps.abs().max() < 0.5 * past.abs().max()
    assert steps[..., IS_POSE].abs().max() < 0.1 * past.abs().max()
