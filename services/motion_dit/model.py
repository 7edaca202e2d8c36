"""The motion DiT: a small transformer that predicts clean motion from noisy motion, sound and events.

Blocks with adaLN-zero after DiT (arXiv:2212.09748), rotary positions (arXiv:2104.09864), x-prediction for a linear
flow path (arXiv:2210.02747; see ``sampler.py``). Deviations from DiT: one token per video frame instead of patches,
sound is added per frame, and the global condition is the mean of the sound instead of a class.

Works in coordinates of `Normaliser`, a linear map that whitens the 70 columns of a row. Knows nothing of seeds,
windows or time stepping.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.motion import EXP, ROW

TIME_FREQUENCIES = 64
NEAR_FRAMES = 16  # new frames this close to the context know their distance


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of the network; stored in the checkpoint.

    Attributes:
        context: clean past frames at the start of a window.
        lookahead: frames at the end of a window whose motion is drawn but not given away.
        feature_size: columns of a sound feature row.
        event_size: columns of an event row (blink, gaze x, gaze y).
        latent_size: coordinates of a normalised row.
        hidden: width of a token; a multiple of 2 * heads.
        layers: blocks.
        heads: attention heads per block.
        mlp_ratio: width of a block's inner layer over ``hidden``.
        sound_kernel: frames seen by each of the two convolutions over the sound; odd.
        pose_noise_s: time constant in seconds of the noise that pose is made from (``sampler.smoothing``); 0 is
            white noise.
    """

    context: int = 10
    lookahead: int = 0
    feature_size: int = 193
    event_size: int = 3
    latent_size: int = 20
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    mlp_ratio: int = 3
    sound_kernel: int = 5
    pose_noise_s: float = 0.6


@dataclass(frozen=True)
class Condition:
    """What does not change while a window is sampled.

    Attributes:
        tokens: (B, N, H) sum of sound, events and place in the window, per frame.
        summary: (B, H) the sound as a whole.
    """

    tokens: Tensor
    summary: Tensor


class Normaliser(nn.Module):
    """Affine map between rows of 70 numbers and whitened coordinates: z = (row - mean) E, row = mean + z D.

    E is the pseudo-inverse of D, so that z -> row -> z is exact, and row -> z -> row is exact for rows in the span of
    the training data. The numbers are data (``training/``), not learnt with the network.
    """

    mean: Tensor
    encode_matrix: Tensor
    decode_matrix: Tensor

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(ROW))
        self.register_buffer("encode_matrix", torch.zeros(ROW, latent_size))
        self.register_buffer("decode_matrix", torch.zeros(latent_size, ROW))

    @property
    def is_pose(self) -> Tensor:
        """Which coordinates hold no expression but pose, translation or scale: (latent_size,) bool."""
        return (self.decode_matrix[:, EXP] == 0).all(dim=1)

    def encode(self, rows: Tensor) -> Tensor:
        """Rows (..., 70) to coordinates (..., latent_size)."""
        return (rows - self.mean) @ self.encode_matrix

    def decode(self, latent: Tensor) -> Tensor:
        """Coordinates (..., latent_size) to rows (..., 70)."""
        return self.mean + latent @ self.decode_matrix


class MotionDiT(nn.Module):
    """Predicts the clean latent motion of a window."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        if config.hidden % (2 * config.heads) or config.sound_kernel % 2 == 0:
            raise ValueError(f"{config}: hidden must be a multiple of 2 * heads and sound_kernel odd")
        self.config = config
        hidden = config.hidden
        self.normaliser = Normaliser(config.latent_size)
        self.sound = SoundProjection(config)
        self.events = nn.Linear(config.event_size, hidden)
        self.place = nn.Embedding(NEAR_FRAMES + 1, hidden)  # 0: context, then distance to it
        self.anchor = nn.Linear(2 * config.latent_size, hidden)
        self.motion = nn.Linear(config.latent_size, hidden)
        self.time = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_modulation = nn.Linear(hidden, 2 * hidden)
        self.final = nn.Linear(hidden, config.latent_size)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.place.weight, std=0.02)
        gates = [module.modulation for module in self.modules() if isinstance(module, Block)]
        for zero in (*gates, self.final_modulation, self.final):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def condition(self, features: Tensor, events: Tensor) -> Condition:
        """Everything about a window that does not depend on its noisy motion; computed once per window.

        Args:
            features: (B, N, D) sound features of context and new frames.
            events: (B, N, 3) event tracks.
        """
        sound = self.sound(features)  # (B, N, H)
        distance = torch.arange(features.shape[1], device=features.device) - self.config.context + 1
        place = self.place(distance.clamp(0, NEAR_FRAMES))  # (N, H)
        tokens = sound + self.events(events) + place  # (B, N, H)
        return Condition(tokens, sound.mean(dim=1))

    def forward(self, latent: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the clean motion.

        Args:
            latent: (B, N, L) normalised motion: clean for the context frames, x_t for the new ones.
            t: (B,) flow time, 0 noise .. 1 motion.
            condition: of the same windows.

        Returns:
            (B, N, L) prediction of the clean motion; rows of the context carry no meaning.
        """
        c = F.silu(self.time(time_features(t)) + condition.summary)  # (B, H)
        x = self.motion(latent) + condition.tokens + self._anchor(latent)  # (B, N, H)
        rotation = rotary_table(latent.shape[1], self.config.hidden // self.config.heads, latent)  # (2, N, d/2)
        for block in self.blocks:
            x = block(x, c, rotation)  # (B, N, H)
        shift, scale = self.final_modulation(c).chunk(2, dim=-1)  # (B, H) each
        x = modulate(x, shift, scale)  # (B, N, H)
        predicted: Tensor = self.final(x)  # (B, N, L)
        return predicted

    def _anchor(self, latent: Tensor) -> Tensor:
        """Where the context ends and how it moves there, told to every frame: (B, 1, H)."""
        last, before = latent[:, self.config.context - 1], latent[:, self.config.context - 2]
        anchor: Tensor = self.anchor(torch.cat([last, last - before], dim=-1))[:, None]
        return anchor


class SoundProjection(nn.Module):
    """Sound features of neighbouring frames to one vector per frame."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        padding = config.sound_kernel // 2
        self.first = nn.Conv1d(config.feature_size, config.hidden, config.sound_kernel, padding=padding)
        self.second = nn.Conv1d(config.hidden, config.hidden, config.sound_kernel, padding=padding)

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, D) features to (B, N, H)."""
        x: Tensor = self.second(F.gelu(self.first(features.transpose(1, 2)))).transpose(1, 2)
        return x


class Block(nn.Module):
    """Attention and MLP, each modulated and gated by the global condition; gates start at zero."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.heads = config.heads
        self.modulation = nn.Linear(hidden, 6 * hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_out = nn.Linear(hidden, hidden)
        self.mlp_in = nn.Linear(hidden, config.mlp_ratio * hidden)
        self.mlp_out = nn.Linear(config.mlp_ratio * hidden, hidden)

    def forward(self, x: Tensor, c: Tensor, rotation: Tensor) -> Tensor:
        """Map (B, N, H) under the condition (B, H) to (B, N, H)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(c).chunk(6, dim=-1)
        x = x + gate_a[:, None] * self._attend(modulate(x, shift_a, scale_a), rotation)
        hidden = F.gelu(self.mlp_in(modulate(x, shift_m, scale_m)), approximate="tanh")
        out: Tensor = x + gate_m[:, None] * self.mlp_out(hidden)
        return out

    def _attend(self, x: Tensor, rotation: Tensor) -> Tensor:
        n_batch, n_frames, hidden = x.shape
        q, k, v = self.qkv(x).view(n_batch, n_frames, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        mixed = F.scaled_dot_product_attention(rotate(q, rotation), rotate(k, rotation), v)  # (B, h, N, d)
        projected: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(n_batch, n_frames, hidden))
        return projected


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then x (1 + scale) + shift; x (B, N, H), shift and scale (B, H)."""
    normed = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return normed * (1.0 + scale[:, None]) + shift[:, None]


def time_features(t: Tensor) -> Tensor:
    """Sines and cosines of flow time (B,) at geometric frequencies, periods 6.3 to 0.006: (B, 128)."""
    exponents = torch.arange(TIME_FREQUENCIES, device=t.device, dtype=t.dtype) / TIME_FREQUENCIES
    angles = t[:, None] * torch.exp(math.log(1000.0) * exponents)
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def rotary_table(n_frames: int, head_size: int, like: Tensor) -> Tensor:
    """Cosines and sines of rotary positions: (2, N, head_size / 2), dtype and device of ``like``."""
    half = head_size // 2
    frequencies = torch.exp(-math.log(1000.0) * torch.arange(half, device=like.device, dtype=torch.float32) / half)
    angles = torch.arange(n_frames, device=like.device, dtype=torch.float32)[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()]).to(like.dtype)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate pairs (i, i + d/2) of (B, h, N, d) by their frame's angles, so that products depend on distance only."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
