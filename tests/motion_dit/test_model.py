from dataclasses import replace

import pytest
import torch

from services.motion_dit.model import Block, Condition, MotionDiT, rotary_table, rotate, time_features
from tests.motion_dit.conftest import SMALL, make_model


def _inputs(n_batch: int = 2, n_frames: int = 75) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return (
        torch.randn(n_batch, n_frames, SMALL.latent_size, generator=rng),
        torch.randn(n_batch, n_frames, SMALL.feature_size, generator=rng),
        torch.randn(n_batch, n_frames, SMALL.event_size, generator=rng),
    )


def _predict(model: MotionDiT) -> torch.Tensor:
    latent, features, events = _inputs()
    out: torch.Tensor = model(latent, torch.tensor([0.0, 0.7]), model.condition(features, events))
    return out


@pytest.mark.parametrize("n_frames", [11, 23, 75])
def test_prediction_has_the_shape_of_its_input_for_any_hop(model: MotionDiT, n_frames: int) -> None:
    latent, features, events = _inputs(3, n_frames)
    condition = model.condition(features, events)
    assert condition.tokens.shape == (3, n_frames, SMALL.hidden)
    assert condition.summary.shape == (3, SMALL.hidden)
    assert model(latent, torch.rand(3), condition).shape == latent.shape


def test_an_untrained_block_is_the_identity() -> None:
    block = MotionDiT(SMALL).blocks[0]
    assert isinstance(block, Block)
    x, c = torch.randn(2, 8, SMALL.hidden), torch.randn(2, SMALL.hidden)
    assert torch.equal(block(x, c, rotary_table(8, SMALL.hidden // SMALL.heads, x)), x)


def test_an_untrained_network_predicts_zero() -> None:
    assert not _predict(MotionDiT(SMALL)).any()


def test_rotary_products_depend_on_distance_only() -> None:
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)
    table = rotary_table(40, 16, q)
    queries = rotate(q.expand(1, 1, 40, 16), table)
    keys = rotate(k.expand(1, 1, 40, 16), table)
    products = (queries @ keys.transpose(-1, -2))[0, 0]
    for distance in (-7, 0, 13):
        diagonal = torch.diagonal(products, distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(products[0, 0], products[0, 13])


def test_rotation_keeps_lengths() -> None:
    x = torch.randn(2, 3, 9, 16)
    torch.testing.assert_close(rotate(x, rotary_table(9, 16, x)).norm(dim=-1), x.norm(dim=-1))


def test_frames_and_time_and_events_matter(model: MotionDiT) -> None:
    latent, features, events = _inputs()
    condition = model.condition(features, events)
    base = model(latent, torch.zeros(2), condition)
    assert not torch.allclose(base, model(latent, torch.full((2,), 0.5), condition))
    shifted = Condition(condition.tokens.roll(1, dims=1), condition.summary)
    assert not torch.allclose(base, model(latent, torch.zeros(2), shifted))
    for changed in (model.condition(features, events + 1), model.condition(-features, events)):
        assert not torch.allclose(base, model(latent, torch.zeros(2), changed))


def test_rows_of_a_batch_do_not_mix(model: MotionDiT) -> None:
    both = _predict(model)
    latent, features, events = (part[1:] for part in _inputs())
    condition = model.condition(features, events)
    torch.testing.assert_close(model(latent, torch.tensor([0.7]), condition), both[1:], atol=1e-5, rtol=1e-5)


def test_time_features_tell_nearby_times_apart() -> None:
    times = torch.linspace(0, 1, 21)
    distances = torch.cdist(time_features(times), time_features(times))
    assert distances[~torch.eye(21, dtype=torch.bool)].min() > 0.5


def test_normaliser_is_exact_both_ways(model: MotionDiT) -> None:
    latent = torch.randn(5, SMALL.latent_size)
    rows = model.normaliser.decode(latent)
    torch.testing.assert_close(model.normaliser.encode(rows), latent, atol=1e-4, rtol=1e-4)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        MotionDiT(replace(SMALL, hidden=30))


def test_gradients_reach_every_weight() -> None:
    model = make_model()
    _predict(model).square().sum().backward()  # type: ignore[no-untyped-call]
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
