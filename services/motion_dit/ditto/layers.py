"""Blocks of Ditto's motion network, named as in its checkpoint.

A transformer decoder whose layers are modulated by the diffusion step, after EDGE (arXiv:2211.10658); FiLM is
arXiv:1709.07871, rotary positions arXiv:2104.09864. Dropout is left out: it does nothing at inference.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROTARY_BASE = 10000.0


class Rotary(nn.Module):
    """Rotates neighbouring pairs of columns (2i, 2i+1) of row n by the angle n * freqs[i].

    Deviation from the paper, as the weights expect: the whole vector is rotated before it is projected and split into
    heads, not each head's queries and keys.
    """

    freqs: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.register_buffer("freqs", rotary_frequencies(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, hidden), row n at position n, to the same shape."""
        positions = torch.arange(x.shape[1], device=x.device, dtype=self.freqs.dtype)
        angles = positions[:, None] * self.freqs  # (N, hidden / 2)
        cos, sin = angles.cos(), angles.sin()
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


class StepEmbedding(nn.Module):
    """Sines, then cosines of the diffusion step at geometric frequencies, 1 to 1/10000 (arXiv:1706.03762)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.n_frequencies = hidden // 2

    def forward(self, t: Tensor) -> Tensor:
        """Map (B,) steps to (B, hidden) float32."""
        ladder = torch.arange(self.n_frequencies, device=t.device, dtype=torch.float32)
        angles = t[:, None] * torch.exp(ladder * (-math.log(ROTARY_BASE) / (self.n_frequencies - 1)))
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Film(nn.Module):
    """Feature-wise affine map, x (1 + scale) + shift, both from a vector per clip."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Mish(), nn.Linear(hidden, 2 * hidden))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map x (B, N, hidden) under c (B, hidden)."""
        scale, shift = self.block(c)[:, None].chunk(2, dim=-1)  # (B, 1, hidden) each
        modulated: Tensor = x * (1.0 + scale) + shift
        return modulated


class Attention(nn.Module):
    """Multi-head attention (arXiv:1706.03762, 3.2.2) with the parameters of `torch.nn.MultiheadAttention`.

    That class projects a transposed view, which is a slow batched product for more than one clip on a CPU.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * hidden, hidden))  # of queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.out_proj = nn.Linear(hidden, hidden)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix v (B, M, hidden) by how well k of the same shape fits q (B, N, hidden): (B, N, hidden)."""
        parts = zip((q, k, v), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        heads_q, heads_k, heads_v = (
            F.linear(x, weight, bias).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for x, weight, bias in parts
        )  # (B, heads, N or M, hidden / heads) each
        mixed = F.scaled_dot_product_attention(heads_q, heads_k, heads_v).transpose(1, 2)
        out: Tensor = self.out_proj(mixed.reshape(q.shape))
        return out


class EncoderLayer(nn.Module):
    """Pre-norm self-attention and feed-forward over the condition; positions in queries and keys only."""

    def __init__(self, hidden: int, feed_forward: int, heads: int, rotary: Rotary) -> None:
        super().__init__()
        self.self_attn = Attention(hidden, heads)
        self.linear1 = nn.Linear(hidden, feed_forward)
        self.linear2 = nn.Linear(feed_forward, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.rotary = rotary

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, hidden) to the same shape."""
        normed = self.norm1(x)
        turned = self.rotary(normed)
        x = x + self.self_attn(turned, turned, normed)
        out: Tensor = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return out


class FilmDecoderLayer(nn.Module):
    """Pre-norm self-attention, attention to the condition, feed-forward; FiLM on what each adds."""

    def __init__(self, hidden: int, feed_forward: int, heads: int, rotary: Rotary) -> None:
        super().__init__()
        self.self_attn = Attention(hidden, heads)
        self.multihead_attn = Attention(hidden, heads)
        self.linear1 = nn.Linear(hidden, feed_forward)
        self.linear2 = nn.Linear(feed_forward, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.norm3 = nn.LayerNorm(hidden)
        self.film1 = Film(hidden)
        self.film2 = Film(hidden)
        self.film3 = Film(hidden)
        self.rotary = rotary

    def forward(self, x: Tensor, memory: Tensor, turned_memory: Tensor, c: Tensor) -> Tensor:
        """One layer.

        Args:
            x: (B, N, hidden) frames.
            memory: (B, M, hidden) condition, step tokens last; the values of the attention.
            turned_memory: the same, rotated; its keys.
            c: (B, hidden) step and mean of the condition.

        Returns:
            (B, N, hidden).
        """
        normed = self.norm1(x)
        turned = self.rotary(normed)
        x = x + self.film1(self.self_attn(turned, turned, normed), c)
        queries = self.rotary(self.norm2(x))
        x = x + self.film2(self.multihead_attn(queries, turned_memory, memory), c)
        out: Tensor = x + self.film3(self.linear2(F.gelu(self.linear1(self.norm3(x)))), c)
        return out


class FilmDecoder(nn.Module):
    """The layers one after the other, all over the same memory."""

    def __init__(self, layers: list[FilmDecoderLayer]) -> None:
        super().__init__()
        self.stack = nn.ModuleList(layers)

    def forward(self, x: Tensor, memory: Tensor, turned_memory: Tensor, c: Tensor) -> Tensor:
        """Arguments and result as those of one layer."""
        for layer in self.stack:
            x = layer(x, memory, turned_memory, c)
        return x


def rotary_frequencies(hidden: int) -> Tensor:
    """Radians per position of each pair of columns, 10000^(-2i / hidden): (hidden / 2,) float32."""
    return 1.0 / ROTARY_BASE ** (torch.arange(0, hidden, 2).float() / hidden)
