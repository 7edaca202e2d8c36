"""The two linear heads over the audio encoder: 16 classes and openness. Serving needs neither; measures and rules do.

The heads of the shipped encoder are ``data/encoder_heads.safetensors``; the file names the encoder's SHA-256, and heads
of another encoder are refused.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from services.audio_encoder.checkpoint import EMBEDDED_WEIGHTS, load_network
from shared.errors import WeightsMismatch
from training.labels import CLASSES

SHIPPED_HEADS = Path(__file__).parent / "data" / "encoder_heads.safetensors"
HEADS_NAME = "heads.safetensors"
SHA_KEY = "encoder_sha256"


class EncoderWithHeads(nn.Module):
    """The encoder and its heads; the encoder's output has a ``last_hidden_state`` of (B, T, hidden_size)."""

    def __init__(self, encoder: nn.Module, hidden_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classify = nn.Linear(hidden_size, len(CLASSES))
        self.open = nn.Linear(hidden_size, 1)

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> class logits (B, T, 16), openness (B, T)."""
        hidden = self.encoder(wave).last_hidden_state.float()
        return self.classify(hidden), self.open(hidden).squeeze(-1)


def load_with_heads(folder: Path | None = None) -> EncoderWithHeads:
    """The shipped encoder with its heads, or those of an exported folder, in evaluation mode.

    Raises:
        WeightsMismatch: a file is missing or damaged, or the heads belong to another encoder.
    """
    network = load_network(folder)
    weights = EMBEDDED_WEIGHTS if folder is None else folder / "model.safetensors"
    heads = read_heads(SHIPPED_HEADS if folder is None else folder / HEADS_NAME, _sha256(weights))
    model = EncoderWithHeads(network.model, network.hidden_size)
    missing = model.load_state_dict(heads, strict=False)
    if missing.unexpected_keys or any(not key.startswith("encoder.") for key in missing.missing_keys):
        raise WeightsMismatch(f"heads are {sorted(heads)}, expected classify.* and open.*; export the encoder again")
    return model.eval().requires_grad_(False)


def read_heads(path: Path, encoder_sha256: str) -> dict[str, Tensor]:
    """Tensors of a file of heads, float32.

    Raises:
        WeightsMismatch: it cannot be read, or belongs to another encoder than the one with ``encoder_sha256``.
    """
    try:
        with safe_open(path, framework="pt") as file:
            named = (file.metadata() or {}).get(SHA_KEY, "")
            tensors: dict[str, Tensor] = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"cannot read {path}: {error}. train_encoder --export writes it.") from error
    if named != encoder_sha256:
        raise WeightsMismatch(
            f"{path.name} belongs to encoder {named[:12] or 'unknown'}, this one is {encoder_sha256[:12]};"
            " take both from the same export"
        )
    return tensors


def write_heads(model: EncoderWithHeads, encoder_sha256: str, path: Path) -> None:
    """Write the heads as float16, bound to the encoder's file."""
    heads = {key: value for key, value in model.state_dict().items() if not key.startswith("encoder.")}
    state = {key: value.to(torch.float16).contiguous() for key, value in heads.items()}
    save_file(state, path, metadata={SHA_KEY: encoder_sha256})  # one key: several would be written in any order
    path.chmod(0o644)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
