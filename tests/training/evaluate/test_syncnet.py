"""SyncNet without its weights: names and shapes as published, refusals, and shifts that are known found again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from shared.errors import InputError, WeightsMismatch
from training.evaluate.syncnet import SyncNet, compare, face_stretch, load_syncnet, pictures_on_clock, search
from training.landmarks import TrackedVideo

# Number in its tower and weight of every convolution and matrix, from the published definition; the batch norm of a
# layer has the next number.
PUBLISHED: dict[str, dict[int, tuple[int, ...]]] = {
    "netcnnaud": {
        0: (64, 1, 3, 3),
        4: (192, 64, 3, 3),
        8: (384, 192, 3, 3),
        11: (256, 384, 3, 3),
        14: (256, 256, 3, 3),
        18: (512, 256, 5, 4),
    },
    "netcnnlip": {
        0: (96, 3, 5, 7, 7),
        4: (256, 96, 1, 5, 5),
        8: (256, 256, 1, 3, 3),
        11: (256, 256, 1, 3, 3),
        14: (256, 256, 1, 3, 3),
        18: (512, 256, 1, 6, 6),
    },
    "netfcaud": {0: (512, 512), 3: (1024, 512)},
    "netfclip": {0: (512, 512), 3: (1024, 512)},
}
N_FRAMES = 36


def published_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for tower, layers in PUBLISHED.items():
        for number, weight in layers.items():
            shapes[f"{tower}.{number}.weight"], shapes[f"{tower}.{number}.bias"] = weight, (weight[0],)
            if (tower, number) not in {("netfcaud", 3), ("netfclip", 3)}:
                names = ("weight", "bias", "running_mean", "running_var")
                shapes |= {f"{tower}.{number + 1}.{name}": (weight[0],) for name in names}
    return shapes


@pytest.fixture(scope="module")
def network() -> SyncNet:
    """Random weights, batch norms away from the identity."""
    torch.manual_seed(0)
    built = SyncNet().eval().requires_grad_(requires_grad=False)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return built


def test_names_and_shapes_are_the_published_ones(network: SyncNet) -> None:
    state = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items() if "num_batches" not in key}
    assert state == published_shapes()


def normed(x: Tensor, state: dict[str, Tensor], key: str) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return F.relu(F.batch_norm(x, mean, variance, weight, bias))


def published_lips(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Strides and paddings of the published lip tower, written down a second time."""
    layers: dict[int, dict[str, Any]] = {
        0: {"stride": (1, 2, 2)},
        4: {"stride": (1, 2, 2), "padding": (0, 1, 1)},
        8: {"padding": (0, 1, 1)},
        11: {"padding": (0, 1, 1)},
        14: {"padding": (0, 1, 1)},
        18: {},
    }
    pools = {0: (0, 0, 0), 4: (0, 1, 1), 14: (0, 0, 0)}
    for number, options in layers.items():
        key = f"netcnnlip.{number}"
        x = F.conv3d(x, state[f"{key}.weight"], state[f"{key}.bias"], **options)
        x = normed(x, state, f"netcnnlip.{number + 1}")
        if number in pools:
            x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), pools[number])
    return published_head(x, state, "netfclip")


def published_sound(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """The same for the sound tower; its first pooling is of size 1."""
    pools = {4: (1, 2), 14: (2, 2)}
    for number in PUBLISHED["netcnnaud"]:
        key = f"netcnnaud.{number}"
        x = F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=0 if number == 18 else 1)
        x = normed(x, state, f"netcnnaud.{number + 1}")
        if number in pools:
            x = F.max_pool2d(x, (3, 3), pools[number])
    return published_head(x, state, "netfcaud")


def published_head(x: Tensor, state: dict[str, Tensor], tower: str) -> Tensor:
    x = F.linear(x.flatten(1), state[f"{tower}.0.weight"], state[f"{tower}.0.bias"])
    return F.linear(normed(x, state, f"{tower}.1"), state[f"{tower}.3.weight"], state[f"{tower}.3.bias"])


def test_both_towers_compute_the_published_function(network: SyncNet) -> None:
    state = dict(network.state_dict())
    generator = torch.Generator().manual_seed(1)
    faces = torch.rand(1, 3, 5, 224, 224, generator=generator) * 255
    cepstra = torch.randn(2, 1, 13, 20, generator=generator) * 10
    assert torch.allclose(network.lips(faces), published_lips(faces, state), rtol=1e-4, atol=1e-4)
    assert torch.allclose(network.sound(cepstra), published_sound(cepstra, state), rtol=1e-4, atol=1e-4)
    assert network.lips(faces).shape == (1, 1024)


def test_published_weights_load_without_the_counters_they_lack(network: SyncNet, tmp_path: Path) -> None:
    bare = {key: tensor for key, tensor in network.state_dict().items() if "num_batches" not in key}
    torch.save(bare, tmp_path / "syncnet_v2.model")
    loaded = load_syncnet(tmp_path / "syncnet_v2.model")
    cepstra = torch.ones(1, 1, 13, 20)
    assert torch.equal(loaded.sound(cepstra), network.sound(cepstra))


def test_other_weights_are_refused(network: SyncNet, tmp_path: Path) -> None:
    path = tmp_path / "syncnet_v2.model"
    sound = {key: tensor for key, tensor in network.state_dict().items() if key.startswith("netfcaud")}
    torch.save(sound, path)
    with pytest.raises(WeightsMismatch, match=r"lacks netcnnaud\.0\.bias"):
        load_syncnet(path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsMismatch, match="holds a list"):
        load_syncnet(path)
    with pytest.raises(WeightsMismatch, match="missing or truncated"):
        load_syncnet(tmp_path / "missing.model")


class Harmful:
    """A pickle of this would run code when read without restriction."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"netcnnaud.0.weight": Harmful()}, tmp_path / "bad.model")
    with pytest.raises(WeightsMismatch):
        load_syncnet(tmp_path / "bad.model")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("later", [-6, 0, 4])
def test_a_planted_shift_is_found(later: int) -> None:
    """The sound's embeddings are those of the lips, some frames later."""
    embeddings = torch.randn(150, 32, generator=torch.Generator().manual_seed(2))
    lips, sound = embeddings[20:120], embeddings[20 - later : 120 - later]
    found = search(lips, sound)
    assert found.offset_frames == -later
    assert found.lse_c > 5.0
    share_without_partner = abs(later) / 100
    assert found.lse_d == pytest.approx(share_without_partner * np.sqrt(32), rel=0.3, abs=1e-3)


def test_scores_are_minimum_and_median_minus_minimum() -> None:
    generator = torch.Generator().manual_seed(3)
    lips, sound = torch.randn(60, 8, generator=generator), torch.randn(60, 8, generator=generator)
    found = search(lips, sound)
    means = []
    for shift in range(-15, 16):
        padded = [sound[i + shift] if 0 <= i + shift < 60 else torch.zeros(8) for i in range(60)]
        means.append(float(np.mean([torch.dist(lips[i], padded[i]) for i in range(60)])))
    assert found.lse_d == pytest.approx(min(means), abs=1e-4)
    assert found.lse_c == pytest.approx(float(np.median(means)) - min(means), abs=1e-4)
    assert found.offset_frames == 15 - int(np.argmin(means))


def planted() -> SyncNet:
    """A network that reads the brightness of the middle face and the energy of the sound, both as about -1 .. 1."""
    network = SyncNet().eval().requires_grad_(requires_grad=False)
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            parameter.zero_()
    for tower in (network.netcnnlip, network.netcnnaud):
        convolutions = [layer for layer in tower if isinstance(layer, nn.Conv2d | nn.Conv3d)]
        for layer in convolutions[:-1]:
            layer.weight[(0, 0, *(size // 2 for size in layer.weight.shape[2:]))] = 1.0
        last = convolutions[-1].weight
        last[0, 0, 0] = 1.0 / last[0, 0, 0].numel()  # of the lips all, of the sound the row of the energy
    for head, scale, level in ((network.netfclip, 4 / 255, -2.0), (network.netfcaud, 0.96, -20.0)):
        first, second = (layer for layer in head if isinstance(layer, nn.Linear))
        first.weight[0, 0], second.weight[0, 0], second.bias[0] = 1.0, scale, level
    return network


def talking(later: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.int16]]:
    """Faces that are as bright as the sound is loud, some frames before it."""
    rng = np.random.default_rng(6)
    level = np.convolve(rng.random(N_FRAMES + 42), [0.25, 0.5, 0.25], mode="same")
    shown, heard = level[20 : 20 + N_FRAMES], level[20 - later : 20 - later + N_FRAMES]
    noise = rng.standard_normal(N_FRAMES * 640)
    pcm = np.repeat(300 * np.exp(3 * heard), 640) * noise
    return [np.full((224, 224, 3), round(255 * value), np.uint8) for value in shown], pcm.astype(np.int16)


def test_windows_of_lips_and_sound_lie_on_one_clock() -> None:
    faces, pcm = talking(later=3)
    found = compare(planted(), faces, pcm)
    assert found.offset_frames == -3
    assert found.n_windows == N_FRAMES - 5


def test_too_little_is_refused(network: SyncNet) -> None:
    with pytest.raises(InputError, match="at least one"):
        compare(network, [np.zeros((224, 224, 3), np.uint8)] * 5, np.zeros(5 * 640, np.int16))


def tracked(times_s: NDArray[np.float64], found: NDArray[np.bool_]) -> TrackedVideo:
    landmarks = np.where(found[:, None, None], 1.0, np.nan) * np.ones((len(times_s), 478, 3))
    return TrackedVideo(times_s, landmarks.astype(np.float32), (64, 64))


def test_pictures_of_other_rates_are_taken_as_they_are_shown() -> None:
    video = tracked(np.arange(60) / 30, np.ones(60, bool))
    shown = pictures_on_clock(video)
    assert shown[:6].tolist() == [0, 1, 3, 4, 5, 6]
    assert len(shown) == 50
    same = tracked(np.arange(50) / 25, np.ones(50, bool))
    assert pictures_on_clock(same).tolist() == list(range(50))


def test_the_longest_stretch_with_a_face_counts() -> None:
    found = np.ones(400, bool)
    found[100:130] = False  # too long to bridge
    found[200:220] = False  # bridged
    assert face_stretch(tracked(np.arange(400) / 25, found)) == (130, 400)
    found[130:] = False
    found[90:] = False
    with pytest.raises(InputError, match=r"3\.6 s at most"):
        face_stretch(tracked(np.arange(400) / 25, found))
