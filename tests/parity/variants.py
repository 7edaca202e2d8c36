"""The two variants behind the same three calls: readable reference modules, and what the renderer really runs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.fast.fold import fold_appearance
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from services.renderer.liveportrait.warping import WarpOutput


@dataclass(frozen=True)
class Variant:
    """F, W and G of one variant.

    Attributes:
        appearance: image to volume.
        warp: volume f_s, source points x_s, driving points x_d to everything W yields.
        generate: map to image.
    """

    appearance: Callable[[Tensor], Tensor]
    warp: Callable[[Tensor, Tensor, Tensor], WarpOutput]
    generate: Callable[[Tensor], Tensor]


def reference(networks: Networks) -> Variant:
    """The modules that carry the official key names."""

    def warp(f_s: Tensor, x_s: Tensor, x_d: Tensor) -> WarpOutput:
        output: WarpOutput = networks.W(f_s, kp_driving=x_d, kp_source=x_s)
        return output

    return Variant(networks.F, warp, networks.G)


def optimised(networks: Networks) -> Variant:
    """Folded and rearranged, in float32 on the CPU."""
    synthesis = FastSynthesis.from_networks(networks.W, networks.G, FastOptions.for_device(torch.device("cpu")))

    def warp(f_s: Tensor, x_s: Tensor, x_d: Tensor) -> WarpOutput:
        output: WarpOutput = synthesis.warping(synthesis.source(f_s, x_s), x_d)
        return output

    def generate(feature: Tensor) -> Tensor:
        logits: Tensor = synthesis.generator(feature)
        return logits.sigmoid()

    return Variant(fold_appearance(networks.F), warp, generate)


VARIANTS: dict[str, Callable[[Networks], Variant]] = {"reference": reference, "optimised": optimised}
