"""Which renderer a bundle wants, built with what the settings say about it.

What needs torch is imported where it is chosen: the weight-free renderer runs without.
"""

from pathlib import Path
from typing import Any

from services.renderer.embedded.renderer import EmbeddedRenderer
from services.renderer.interface import Renderer
from services.renderer.settings import Limits, RendererSettings
from shared.bundles import Bundle
from shared.errors import ConfigurationError
from shared.exposition import export_device
from shared.weights import require_bundle

LIVEPORTRAIT = "liveportrait"
CUDA_BATCH_FRAMES = 8
CUDA_MESSAGES = 4  # so that the next slices wait here when a batch ends
CPU_DEADLINE_S = 1800.0  # the large networks take many seconds per frame there


def build_renderer(bundle: Bundle, settings: RendererSettings) -> tuple[Renderer[Any, Any], Limits]:
    """Build the renderer of a bundle, which is not warm yet, and what its handler may use.

    Raises:
        ConfigurationError: no weights, no torch, no such device, or a setting that does not fit.
        WeightsMismatch: the weights cannot be used.
    """
    if bundle.renderer == LIVEPORTRAIT:
        return _liveportrait(settings)
    return EmbeddedRenderer(), _limits(settings, Limits())


def _liveportrait(settings: RendererSettings) -> tuple[Renderer[Any, Any], Limits]:
    try:
        import torch

        from services.renderer.device import choose_device
        from services.renderer.liveportrait.checkpoint import load_networks
        from services.renderer.liveportrait.gpu_jpeg import choose_jpeg
        from services.renderer.liveportrait.renderer import LivePortraitRenderer, RendererOptions
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the liveportrait renderer needs {error.name}, which is not installed. Run "
            "`pip install 'talkinghead[renderer_liveportrait]'`."
        ) from error
    torch.set_num_threads(settings.threads)
    device = choose_device(settings.renderer_device)
    is_fast = device.type == "cuda"
    folder = settings.renderer_weights
    path = Path(folder) if folder else require_bundle(LIVEPORTRAIT, settings.weights_dir)
    options = RendererOptions(
        precision=settings.renderer_precision,
        compile=settings.renderer_compile == "default",
        graphs=settings.renderer_graphs == "on",
        max_batch_frames=settings.renderer_max_batch or (CUDA_BATCH_FRAMES if is_fast else 1),
        jpeg=choose_jpeg(settings.renderer_jpeg, device, settings.jpeg_quality),
    )
    if is_fast:
        torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa under the name of fp32; F and M need all of them
        torch.backends.cuda.matmul.allow_tf32 = False
        export_device(torch.cuda, device.index)
    renderer = LivePortraitRenderer(load_networks(path), device, options)
    return renderer, _limits(settings, Limits(messages=CUDA_MESSAGES) if is_fast else Limits(deadline_s=CPU_DEADLINE_S))


def _limits(settings: RendererSettings, defaults: Limits) -> Limits:
    return Limits(
        messages=settings.renderer_messages or defaults.messages,
        deadline_s=settings.renderer_deadline_s or defaults.deadline_s,
        cached=settings.renderer_cache,
        jpeg_quality=settings.jpeg_quality,
    )
