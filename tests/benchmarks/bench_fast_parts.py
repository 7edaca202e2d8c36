"""What does each exact rearrangement of W and G bring on a CPU?

Expected limit: multiplications for convolutions, memory for everything else. Regime: one thread, official sizes,
synthetic weights, processor seconds per frame; the two forms of a part take turns, the median of the turns counts, and
their results are compared. The parts overlap and do not add up.

    python -m tests.benchmarks.bench_fast_parts [--turns 5]
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from services.renderer.liveportrait import dense_motion
from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.config import NetworksConfig
from services.renderer.liveportrait.fast.convolution import Convolution, UpsampledConvolution, wide_convolution
from services.renderer.liveportrait.fast.fold import fold_block
from services.renderer.liveportrait.fast.generator import norms, shared_kernel
from services.renderer.liveportrait.fast.judgement import MaskHead, OcclusionHead
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.quadrupled import PLACES, PlaceConvolution, at
from services.renderer.liveportrait.fast.spade import modulation_kernel, normalised, shortcut_kernel
from services.renderer.liveportrait.fast.sparse_motion import gaussian_volumes, identity_points, sample_translated
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from services.renderer.liveportrait.layers import ConvNorm3d
from services.renderer.liveportrait.spade import IN_EPS, SpectralConv2d
from tests.benchmarks.environment import environment_facts
from tests.benchmarks.liveportrait_cpu import cpu_seconds, frame_inputs
from tests.parity.draw import draw
from tests.parity.networks import synthetic_networks

SIZE = (16, 64, 64)
OPTIONS = FastOptions.for_device(torch.device("cpu"))
DIRECT = replace(OPTIONS, winograd_channels=None)
Row = dict[str, Any]
Part = tuple[str, Callable[[], Tensor], Callable[[], Tensor]]  # name, as the reference does it, rearranged


def main() -> None:
    """Print a table, and all of it as JSON in the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns: int = parser.parse_args().turns
    torch.set_num_threads(1)
    rows = []
    with torch.inference_mode():
        networks = synthetic_networks(0, NetworksConfig())
        for name, before, after in parts(networks):
            rows.append(measured(name, before, after, turns))
            print(
                "{part:58} {before_s:8.3f} {after_s:8.3f}   difference {difference:.1e}".format(**rows[-1]), flush=True
            )
    print(json.dumps({"benchmark": "fast_parts", "turns": turns, "parts": rows, **environment_facts()}))


def measured(name: str, before: Callable[[], Tensor], after: Callable[[], Tensor], turns: int) -> Row:
    """Median seconds of both and the largest difference of their results; the first turn warms up."""
    seconds: list[tuple[float, float]] = []
    difference = 0.0
    for _ in range(turns + 1):
        before_s, expected = cpu_seconds(before)
        after_s, ours = cpu_seconds(after)
        difference = max(difference, float((ours - expected).abs().max()))
        seconds.append((before_s, after_s))
    before_s, after_s = (statistics.median(column) for column in zip(*seconds[1:], strict=True))
    return {"part": name, "before_s": round(before_s, 4), "after_s": round(after_s, 4), "difference": difference}


def parts(networks: Networks) -> Iterator[Part]:
    """Every part, made when it is its turn."""
    yield from sparse_motion_parts(networks)
    yield from head_parts(networks)
    yield from hourglass_parts(networks)
    yield from upsampling_parts(networks)
    yield from norm_parts(networks)
    yield from wide_parts(networks)
    yield from whole_parts(networks)


def random(name: str, *shape: int) -> Tensor:
    """A synthetic tensor, channels last."""
    x = torch.from_numpy(draw(name, shape, 0))
    return x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def sparse_motion_parts(networks: Networks) -> Iterator[Part]:
    """Sampling, heat maps and deformation."""
    inputs = frame_inputs()
    x_s, x_d = inputs.x_s, inputs.x_d
    compressed = random("compressed", 1, 4, *SIZE).contiguous()
    mask = torch.from_numpy(draw("mask", (1, 22, *SIZE), 0)).softmax(1)
    last = mask.flatten(2).transpose(1, 2).contiguous()
    heat = gaussian_volumes(SIZE, x_s)
    grids = dense_motion.sparse_motions(SIZE, x_d, x_s)
    yield (
        "22 grids and grid samples: matrices per axis",
        lambda: dense_motion.sample_all(compressed, dense_motion.sparse_motions(SIZE, x_d, x_s))[:, 1:],
        lambda: sample_translated(compressed, x_s - x_d),
    )
    yield (
        "heat maps: products, source's kept",
        lambda: dense_motion.heat_maps(SIZE, x_d, x_s)[:, 1:, 0],
        lambda: gaussian_volumes(SIZE, x_d) - heat,
    )
    yield (
        "deformation: sum of shifts",
        lambda: torch.einsum("bkdhw,bkdhwc->bdhwc", mask, grids),
        lambda: (identity_points(SIZE, x_d) + last[..., 1:] @ (x_s - x_d)).reshape(1, *SIZE, 3),
    )
    dense = networks.W.dense_motion_network
    yield (
        "compressed volume: once per portrait",
        lambda: F.relu(dense.norm(dense.compress(inputs.f_s))).sum() * 0,
        lambda: torch.zeros(()),
    )


def head_parts(networks: Networks) -> Iterator[Part]:
    """The two 7-tap convolutions."""
    dense = networks.W.dense_motion_network
    prediction = random("prediction", 1, 142, *SIZE) * 0.1
    slices, plain = prediction.transpose(1, 2).flatten(0, 1), prediction.contiguous()
    mask, occlusion = MaskHead(dense.mask, OPTIONS), OcclusionHead(dense.occlusion, SIZE[0], OPTIONS)
    yield (
        "mask: 2-D convolution, shift and add",
        lambda: dense.mask(plain).softmax(1),
        lambda: mask(slices, SIZE[0]).flatten(1, 2).transpose(1, 2).reshape(1, -1, *SIZE),
    )
    yield (
        "occlusion: matrix product, shift and add",
        lambda: dense.occlusion(plain.flatten(1, 2)).sigmoid(),
        lambda: occlusion(slices),
    )


def hourglass_parts(networks: Networks) -> Iterator[Part]:
    """Folded norms, layout, upsampling."""
    hourglass = networks.W.dense_motion_network.hourglass
    last = ConvNorm3d(142, 142)
    last.conv, last.norm = hourglass.decoder.conv, hourglass.decoder.norm
    x = random("x", 1, 142, *SIZE)
    plain = x.contiguous()
    weight, bias = fold_block(last.eval())
    folded = Convolution(weight, bias, OPTIONS)
    yield "last convolution: norm folded", lambda: last(plain), lambda: F.conv3d(plain, weight, bias, padding=1)
    yield "last convolution: channels last", lambda: F.conv3d(plain, weight, bias, padding=1), lambda: folded(x)
    constant, rest = folded(F.pad(x[:, 137:], (0, 0, 0, 0, 0, 0, 137, 0))) - bias[:, None, None, None], x[:, :137]
    shorter, rest = Convolution(weight[:, :137], bias, OPTIONS), rest.contiguous(memory_format=torch.channels_last_3d)
    yield "last convolution: constant partial sum kept", lambda: folded(x), lambda: shorter(rest).add_(constant)
    for i, block in enumerate(hourglass.decoder.up_blocks):
        assert isinstance(block, ConvNorm3d)
        pixels = 2 << i
        small = random(f"small{i}", 1, block.conv.in_channels, 16, pixels, pixels)
        kernel, plain_small = fold_block(block), small.contiguous()
        yield (
            f"decoder {pixels} -> {2 * pixels}: transposed",
            partial(upsampled_3d, plain_small, *kernel),
            partial(
                UpsampledConvolution(*kernel, repeats=2, options=OPTIONS),
                plain_small if pixels**2 <= OPTIONS.plain_map_px else small,
            ),
        )


def upsampled_3d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As the reference does it, without its norm."""
    return F.conv3d(F.interpolate(x, scale_factor=(1, 2, 2)), weight, bias, padding=1)


def upsampling_parts(networks: Networks) -> Iterator[Part]:
    """Hidden maps and modulations of the two larger blocks."""
    seg = random("seg", 1, 256, 64, 64)
    weight, bias = shared_kernel(norms(networks.G.up_0))
    transposed = UpsampledConvolution(weight, bias, repeats=2, options=OPTIONS)
    plain = seg.contiguous()
    yield (
        "hidden maps of up_0: transposed",
        lambda: F.conv2d(F.interpolate(plain, scale_factor=2), weight, bias, padding=1),
        lambda: transposed(seg),
    )
    weight_1, bias_1 = shared_kernel(norms(networks.G.up_1))
    transposed_1 = UpsampledConvolution(weight_1, bias_1, repeats=4, options=OPTIONS)
    yield (
        "hidden maps of up_1: a b c only",
        lambda: F.conv2d(F.interpolate(plain, scale_factor=4), weight_1, bias_1, padding=1)[..., ::4, ::4],
        lambda: transposed_1(seg)[..., ::3, ::3],
    )
    kernel = modulation_kernel(networks.G.up_1.norm_0)
    hidden = transposed_1(seg)[:, :128].contiguous(memory_format=torch.channels_last)
    index = torch.tensor([3 * i + j for i in range(64) for j in (0, 1, 1, 2)])
    full = hidden[:, :, index][:, :, :, index].contiguous()
    by_place = PlaceConvolution(*kernel, OPTIONS)
    yield (
        "gamma and beta of up_1.norm_0: by place",
        lambda: at(F.conv2d(full, *kernel, padding=1), (3, 3), 4),
        lambda: [by_place(F.pad(hidden, (1, 1, 1, 1)), place) for place in PLACES][-1],
    )


def norm_parts(networks: Networks) -> Iterator[Part]:
    """Spectral norms, statistics, merged convolutions of the adaptive norms."""
    spectral = [module for module in networks.G.modules() if isinstance(module, SpectralConv2d)]
    kept = spectral[-1].effective_weight()
    yield "18 spectral norms: divided out", lambda: [m.effective_weight() for m in spectral][-1], lambda: kept
    x = random("x", 1, 512, 64, 64)
    plain = x.contiguous()
    yield "statistics at 64: two means", lambda: F.instance_norm(plain, eps=IN_EPS), lambda: normalised(x)
    yield (
        "statistics of up_0: before upsampling, once of two",
        partial(doubled_twice, plain),
        lambda: F.interpolate(normalised(x), scale_factor=2),
    )
    block = networks.G.middle_blocks()[0]
    seg = random("seg", 1, 256, 64, 64)
    twelve = [norm for b in networks.G.middle_blocks() for norm in (b.norm_0, b.norm_1)]
    one = Convolution(*shared_kernel(twelve), DIRECT)
    yield (
        "12 hidden maps at 64: one convolution, direct",
        lambda: torch.cat([norm.mlp_shared(seg) for norm in twelve], 1),
        lambda: one(seg),
    )
    hidden = random("hidden", 1, 128, 64, 64)
    both = Convolution(*modulation_kernel(block.norm_0), DIRECT)
    yield (
        "gamma and beta at 64: one convolution, direct",
        lambda: torch.cat([block.norm_0.mlp_gamma(hidden) + 1, block.norm_0.mlp_beta(hidden)], 1),
        lambda: both(hidden),
    )
    up = networks.G.up_0
    wide, narrow = modulation_kernel(up.norm_s), shortcut_kernel(up.norm_s, up.conv_s)
    large = random("large", 1, 128, 128, 128)
    wide_both, narrow_both = Convolution(*wide, DIRECT), Convolution(*narrow, DIRECT)
    yield (
        "beta of up_0.norm_s: through conv_s, direct",
        lambda: up.conv_s(wide_both(large)[:, 512:]),
        lambda: narrow_both(large)[:, 512:],
    )


def doubled_twice(x: Tensor) -> Tensor:
    """As the reference does it for norm_0, and again for norm_s."""
    doubled = F.interpolate(x, scale_factor=2)
    F.instance_norm(doubled, eps=IN_EPS)
    return F.instance_norm(doubled, eps=IN_EPS)


def wide_parts(networks: Networks) -> Iterator[Part]:
    """Winograd's algorithm, against the library's on the same layout."""
    middle, up = networks.G.middle_blocks()[0], networks.G.up_0
    kernels = {
        "512 -> 512 at 64 (12 per frame)": (middle.conv_0.effective_weight(), None, 64),
        "128 -> 1024 at 64 (12 per frame)": (*modulation_kernel(middle.norm_0), 64),
        "128 -> 1024 at 128": (*modulation_kernel(up.norm_0), 128),
        "512 -> 256 at 128": (up.conv_0.effective_weight(), None, 128),
    }
    for name, (weight, bias, pixels) in kernels.items():
        x = random(name, 1, weight.shape[1], pixels, pixels)
        direct, winograd = wide_convolution(weight, bias, DIRECT), wide_convolution(weight, bias, OPTIONS)
        yield f"{name}: Winograd", partial(direct, x), partial(winograd, x)


def whole_parts(networks: Networks) -> Iterator[Part]:
    """W and G together."""
    inputs = frame_inputs()
    direct, fast = (FastSynthesis.from_networks(networks.W, networks.G, options) for options in (DIRECT, OPTIONS))
    state = fast.source(inputs.f_s, inputs.x_s)

    def reference() -> Tensor:
        image: Tensor = networks.G(networks.W(inputs.f_s, kp_driving=inputs.x_d, kp_source=inputs.x_s).out)
        return image

    yield "W and G: all but Winograd", reference, lambda: direct(state, inputs.x_d)
    yield "W and G: Winograd added", lambda: direct(state, inputs.x_d), lambda: fast(state, inputs.x_d)


if __name__ == "__main__":
    main()
