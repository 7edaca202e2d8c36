"""Ditto's motion network (LMDM): predicts the clean motion of a clip from noisy motion, conditions and the step.

Ditto, arXiv:2411.19509; the decoder is that of EDGE (arXiv:2211.10658). Key names, order and arithmetic are those of
the published PyTorch weights. What does not depend on the diffusion step is a value of its own, `Condition`, so that a
sampler computes it once per clip. Knows nothing of guidance, noise or time stepping.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.motion_dit.ditto.layers import EncoderLayer, FilmDecoder, FilmDecoderLayer, Rotary, StepEmbedding

N_STEP_TOKENS = 2


@dataclass(frozen=True)
class LmdmConfig:
    """Sizes of the network; the defaults are the published ones.

    Attributes:
        motion_size: numbers per frame: scale - 1; 66 logits each of pitch, yaw, roll; translation 3; expression 63.
        condition_size: numbers per frame: HuBERT-large 1024; emotion 8; eyes open 2; eyeballs 6; source key points 63.
        frames: of a clip, at 25 fps.
        hidden: width of a token.
        feed_forward: width inside the feed-forward layers.
        layers: of the decoder.
        encoder_layers: of the condition encoder.
        heads: of every attention.
    """

    motion_size: int = 265
    condition_size: int = 1103
    frames: int = 80
    hidden: int = 512
    feed_forward: int = 1024
    layers: int = 8
    encoder_layers: int = 2
    heads: int = 8


@dataclass(frozen=True)
class Condition:
    """What conditions a clip and does not depend on the diffusion step.

    Attributes:
        tokens: (B, frames, hidden) encoded conditions, one per frame.
        summary: (B, hidden) of the clip as a whole.
    """

    tokens: Tensor
    summary: Tensor

    def and_also(self, other: "Condition") -> "Condition":
        """Both in one batch, the other one last."""
        return Condition(torch.cat([self.tokens, other.tokens]), torch.cat([self.summary, other.summary]))


class Lmdm(nn.Module):
    """The network; attribute names are the keys of the published checkpoint."""

    def __init__(self, config: LmdmConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        sizes = (hidden, config.feed_forward, config.heads)
        rotary = Rotary(hidden)
        self.null_cond_embed = nn.Parameter(torch.zeros(1, config.frames, hidden))
        self.null_cond_hidden = nn.Parameter(torch.zeros(1, hidden))
        self.rotary = rotary  # one module under many keys, as in the checkpoint
        self.time_mlp = nn.Sequential(StepEmbedding(hidden), nn.Linear(hidden, 4 * hidden), nn.Mish())
        self.to_time_cond = nn.Sequential(nn.Linear(4 * hidden, hidden))
        self.to_time_tokens = nn.Sequential(nn.Linear(4 * hidden, N_STEP_TOKENS * hidden))
        self.norm_cond = nn.LayerNorm(hidden)
        self.input_projection = nn.Linear(2 * config.motion_size, hidden)
        self.cond_encoder = nn.Sequential(*(EncoderLayer(*sizes, rotary) for _ in range(config.encoder_layers)))
        self.cond_projection = nn.Linear(config.condition_size, hidden)
        self.non_attn_cond_projection = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.seqTransDecoder = FilmDecoder([FilmDecoderLayer(*sizes, rotary) for _ in range(config.layers)])
        self.final_layer = nn.Linear(hidden, config.motion_size)

    def encode(self, cond: Tensor) -> Condition:
        """Conditions per frame (B, frames, condition_size), already at 25 fps, to what the decoder attends to."""
        tokens = self.cond_encoder(self.cond_projection(cond))  # (B, N, H)
        return Condition(tokens, self.non_attn_cond_projection(tokens.mean(dim=1)))

    def no_condition(self, batch: int) -> Condition:
        """The learnt stand-in for "nothing is known": it replaces every condition, not only the sound."""
        return Condition(self.null_cond_embed.expand(batch, -1, -1), self.null_cond_hidden.expand(batch, -1))

    def forward(self, x: Tensor, cond_frame: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the clean motion x_0.

        Args:
            x: (B, frames, motion_size) motion with the noise of step t.
            cond_frame: (B, motion_size) clean motion of the frame before the clip; told to every frame.
            t: (B,) int64 diffusion step, 0 (little noise) .. 999.
            condition: of the same clips.

        Returns:
            (B, frames, motion_size).
        """
        anchored = torch.cat([x, cond_frame[:, None].expand_as(x)], dim=-1)  # (B, N, 2 D)
        step = self.time_mlp(t)  # (B, 4 H)
        step_tokens = self.to_time_tokens(step).unflatten(-1, (N_STEP_TOKENS, -1))  # (B, 2, H)
        memory = self.norm_cond(torch.cat([condition.tokens, step_tokens], dim=1))  # (B, N + 2, H)
        c = self.to_time_cond(step) + condition.summary  # (B, H)
        frames = self.seqTransDecoder(self.input_projection(anchored), memory, self.rotary(memory), c)  # (B, N, H)
        predicted: Tensor = self.final_layer(frames)  # (B, N, D)
        return predicted
