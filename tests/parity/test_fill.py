"""The synthetic weights have the very bits that the reference outputs were made with."""

import zlib

import numpy as np
import pytest

from tests.parity.draw import draw, smooth
from tests.parity.fill import NETWORKS, manifest_entries, manifest_shapes, synthetic_state_dict


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [0.00879466, -0.21585739, 1.0190219, -0.26339242]),
        (1, [-0.01689288, -0.9566058, 0.06829686, 0.75777614]),
    ],
)
def test_the_random_source_gives_the_published_numbers(seed: int, expected: list[float]) -> None:
    np.testing.assert_allclose(draw("spade_generator/fc.weight", (4,), seed), expected, rtol=0, atol=6e-8)


def test_smooth_noise_is_coarse_noise_over_blocks_plus_fine_noise() -> None:
    noise = smooth("input/x", (2, 8, 12), 3)
    fine = np.float32(0.3) * draw("input/x/hi", (2, 8, 12), 3)
    blocks = (noise - fine).reshape(2, 2, 4, 3, 4)
    assert np.ptp(blocks, axis=(2, 4)).max() < 1e-6
    assert np.ptp(blocks[:, :, 0, :, 0]) > 1


@pytest.mark.parametrize("network", NETWORKS)
def test_every_tensor_of_seed_0_has_the_official_bits(network: str) -> None:
    state = synthetic_state_dict(network, manifest_shapes(network), 0)
    entries = manifest_entries(network)
    assert [entry["key"] for entry in entries] == list(state)
    wrong = [
        entry["key"]
        for entry, tensor in zip(entries, state.values(), strict=True)
        if f"{zlib.crc32(tensor.numpy().tobytes()):08x}" != entry["fill_crc32_seed0"]
    ]
    wrong = [key for key in wrong if not str(key).endswith(("weight_u", "weight_v"))]  # these depend on the BLAS
    assert not wrong


def test_stored_vectors_of_the_spectral_norm_belong_to_their_weight() -> None:
    shapes = {"conv.weight_orig": (8, 4, 3, 3), "conv.weight_u": (8,), "conv.weight_v": (36,)}
    state = synthetic_state_dict("spade_generator", shapes, 5)
    weight, u, v = (state[key].double().flatten(1) if key.endswith("orig") else state[key].double() for key in shapes)
    assert u.norm().item() == pytest.approx(1, abs=1e-6)
    assert (u @ weight @ v).item() == pytest.approx((weight.T @ u).norm().item(), rel=1e-6)
