"""The Gaussian weights have the very bits that the reference outputs were made with."""

import json

import numpy as np
import pytest

from tests.parity.ditto import NETWORK
from tests.parity.fill import MANIFEST
from tests.parity.goldens import read
from tests.parity.normal_fill import differing, normal_weight, normal_weights


def test_every_tensor_of_ditto_has_the_stored_bits() -> None:
    stored = json.loads(str(read(MANIFEST.parent / "ditto_lmdm_goldens_seed0.npz")["meta"]))["weights_crc"]
    weights = normal_weights(NETWORK, {key: tuple(shape) for key, (shape, _) in stored.items()}, 0)
    assert len(weights) == 238
    assert differing(weights, stored) == []


@pytest.mark.parametrize(
    ("key", "shape", "mean", "deviation"),
    [
        ("layer.weight", (400, 25), 0.0, 0.2),
        ("layer.self_attn.in_proj_bias", (9000,), 0.0, 0.02),
        ("layer.norm1.weight", (9000,), 1.0, 0.02),
        ("null_cond_embed", (1, 9000), 0.0, 1.0),
    ],
)
def test_spread_follows_the_kind_of_tensor(key: str, shape: tuple[int, ...], mean: float, deviation: float) -> None:
    drawn = normal_weight("net", key, shape, 5)
    assert drawn.dtype == np.float32
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.05 * deviation)
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.05)


def test_network_key_and_seed_all_change_the_numbers() -> None:
    first = normal_weight("net", "a.bias", (4,), 0)
    for other in (("other", "a.bias", 0), ("net", "b.bias", 0), ("net", "a.bias", 1)):
        assert (normal_weight(other[0], other[1], (4,), other[2]) != first).all()


def test_another_shape_value_or_key_is_named() -> None:
    weights = normal_weights("net", {"a": (2,), "b": (2,), "c": (2,)}, 0)
    stored: dict[str, list[object]] = {"a": [[2], 1], "b": [[1, 2], 2], "d": [[2], 3]}
    assert differing(weights, stored) == ["a", "b", "c", "d"]
