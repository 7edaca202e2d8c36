"""JoyVASA's motion network under the official key names: noisy motion and projected sound -> clean motion.

A transformer decoder over P past and N new frames (arXiv:2411.09209; the design is DiffPoseTalk's, arXiv:2310.00434):
post-norm, exact GELU, eight layers of eight heads whatever a checkpoint's arguments say. Deviations in form, not in
result: the alignment mask lets frame i hear sound i only, so cross-attention is out(v(sound)), computed once per
window; its query and key weights are loaded and never used. Knows nothing of sampling, files or statistics.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from services.motion_dit.joyvasa.schedule import DiffusionSchedule

N_LAYERS = 8
N_HEADS = 8
MLP_RATIO = 4
MAX_FRAMES = 600
STEP_ROWS = 501  # of the step table; independent of how many steps are used
ENCODER_SIZE = 768  # of base HuBERT and wav2vec2


class Positions(StrEnum):
    """How the position table is used.

    ``INDEX``: every frame gets row P + N, a constant: the code before 2025-12-09, with which the published checkpoints
    were trained. ``SLICE``: frame i gets row i, the code since.
    """

    INDEX = "index"
    SLICE = "slice"


@dataclass(frozen=True)
class JoyVasaConfig:
    """Sizes of one checkpoint.

    Attributes:
        motion_size: columns of motion: 70, or 73 with three unused ones.
        context: past frames P.
        window: new frames N.
        feature_size: width of the network.
        n_steps: diffusion steps T.
        positions: see `Positions`.
        encoder_size: width of the audio encoder.
    """

    motion_size: int = 70
    context: int = 25
    window: int = 100
    feature_size: int = 256
    n_steps: int = 50
    positions: Positions = Positions.INDEX
    encoder_size: int = ENCODER_SIZE

    @property
    def length(self) -> int:
        """Frames in the network: context and new."""
        return self.context + self.window


class JoyVasaNetwork(nn.Module):
    """Everything in a checkpoint but its audio encoder.

    Args:
        config: sizes.
    """

    def __init__(self, config: JoyVasaConfig) -> None:
        super().__init__()
        self.config = config
        self.start_audio_feat = nn.Parameter(torch.zeros(1, config.context, config.feature_size))
        self.start_motion_feat = nn.Parameter(torch.zeros(1, config.context, config.motion_size))
        self.null_audio_feat = nn.Parameter(torch.zeros(1, 1, config.feature_size))
        self.audio_feature_map = nn.Linear(config.encoder_size, config.feature_size)
        self.denoising_net = DenoisingNetwork(config)
        self.diffusion_sched = DiffusionSchedule(config.n_steps)


class DenoisingNetwork(nn.Module):
    """Predict clean motion x_0 from noisy motion x_t."""

    alignment_mask: Tensor

    def __init__(self, config: JoyVasaConfig) -> None:
        super().__init__()
        width = config.feature_size
        self.positions = config.positions
        self.register_buffer("alignment_mask", ~torch.eye(config.length, dtype=torch.bool))
        self.TE = SinusoidalTable(STEP_ROWS, width)
        self.diff_step_map = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.PE = SinusoidalTable(MAX_FRAMES, width)
        self.feature_proj = nn.Linear(config.motion_size, width)
        self.transformer = Decoder(width)
        self.motion_dec = nn.Sequential(
            nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, config.motion_size)
        )

    def hear(self, sound: Tensor) -> Tensor:
        """What each layer adds for the sound: (B, P + N, F) to (8, B, P + N, F); does not depend on the step."""
        return torch.stack([layer.hear(sound) for layer in self.transformer])

    def forward(self, motion: Tensor, heard: Tensor, step: Tensor) -> Tensor:
        """Predict x_0 of all frames, the past ones again.

        Args:
            motion: (B, P + N, D), past motion and x_t.
            heard: (8, B, P + N, F) from `hear`.
            step: (B,) int64, diffusion step t, 1..T.

        Returns:
            (B, P + N, D).
        """
        x = self.feature_proj(motion)  # (B, P + N, F)
        x = x + self._places(x.shape[1]) + self.diff_step_map(self.TE.pe[0, step])[:, None]
        for layer, sound in zip(self.transformer, heard, strict=True):
            x = layer(x, sound)  # (B, P + N, F)
        predicted: Tensor = self.motion_dec(x)  # (B, P + N, D)
        return predicted

    def _places(self, length: int) -> Tensor:
        table = self.PE.pe
        return table[:, :length] if self.positions is Positions.SLICE else table[:, length : length + 1]


class Decoder(nn.Module):
    """The layers, under the key that the official module gives them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DecoderLayer(width) for _ in range(N_LAYERS)])

    def __iter__(self) -> Iterator["DecoderLayer"]:
        """Iterate over the layers, first to last."""
        return (layer for layer in self.layers if isinstance(layer, DecoderLayer))


class DecoderLayer(nn.Module):
    """Self-attention, sound, feed-forward; the norm comes after each sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.self_attn = Attention(width)
        self.multihead_attn = Attention(width)
        self.linear1 = nn.Linear(width, MLP_RATIO * width)
        self.linear2 = nn.Linear(MLP_RATIO * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def hear(self, sound: Tensor) -> Tensor:
        """What this layer adds for the sound: (B, L, F) to (B, L, F)."""
        return self.multihead_attn.of_one_key(sound)

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """Map (B, L, F) with what this layer heard (B, L, F) to (B, L, F)."""
        x = self.norm1(x + self.self_attn(x))
        x = self.norm2(x + sound)
        out: Tensor = self.norm3(x + self.linear2(F.gelu(self.linear1(x))))
        return out


class Attention(nn.Module):
    """Multi-head attention with PyTorch's key names: queries, keys and values stacked in one matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Every frame looks at every frame: (B, L, F) to (B, L, F)."""
        n_batch, length, width = x.shape
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, L, 3 F)
        q, k, v = projected.view(n_batch, length, 3, N_HEADS, -1).permute(2, 0, 3, 1, 4)  # (B, h, L, F / h) each
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, h, L, F / h)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n_batch, length, width))
        return out

    def of_one_key(self, memory: Tensor) -> Tensor:
        """Attention of each frame to exactly one key, whose weight is 1 whatever the query: (B, L, F) to (B, L, F)."""
        width = memory.shape[-1]
        out: Tensor = self.out_proj(F.linear(memory, self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :]))
        return out


class SinusoidalTable(nn.Module):
    """Rows of sines (even columns) and cosines (odd) of arXiv:1706.03762, section 3.5, as a stored buffer."""

    pe: Tensor

    def __init__(self, n_rows: int, width: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        angles = torch.arange(n_rows)[:, None] * rates  # (rows, F / 2)
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(1, n_rows, width))
