"""Log-mel features in the place of wav2vec2's convolutions, and the frame geometry of either.

The stock seven-layer convolution stack is most of the cost of a small wav2vec2. ``LogMel`` has the same interface
(samples in, (B, C, T) out, 320 samples per step), so that the transformer behind it stays the stock class; the
configuration's ``conv_kernel`` and ``conv_stride`` describe it, which keeps the library's length bookkeeping right.
Knows nothing of windows or weights.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.timeline import SAMPLE_RATE

FFT_SAMPLES = 400
HOP_SAMPLES = 160
LOG_FLOOR = 1e-4
LOG_SCALE = 0.3


class LogMel(nn.Module):
    """Samples -> log-mel energies -> one strided convolution: 50 features per second.

    Args:
        n_mels: mel bands from 0 Hz to 8 kHz.
        width: channels of the convolution.
    """

    def __init__(self, n_mels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("hann", torch.hann_window(FFT_SAMPLES), persistent=False)
        self.register_buffer("mel", torch.from_numpy(mel_filters(n_mels)), persistent=False)
        self.conv = nn.Conv1d(n_mels, width, kernel_size=3, stride=2)
        self.hann: Tensor
        self.mel: Tensor

    def forward(self, input_values: Tensor) -> Tensor:
        """(B, N) float32 samples at about RMS 0.1 -> (B, width, (N - 720) // 320 + 1)."""
        return nn.functional.gelu(self.conv(self.energies(input_values)))

    def energies(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, n_mels, (N - 400) // 160 + 1): scaled log power per mel band."""
        with torch.autocast(wave.device.type, enabled=False):  # log energies need float32 whatever the caller's mode
            pieces = wave.unfold(-1, FFT_SAMPLES, HOP_SAMPLES) * self.hann  # (B, M, 400)
            spectrum = torch.view_as_real(torch.fft.rfft(pieces))  # (B, M, 201, 2)
            bands = spectrum.square().sum(-1) @ self.mel  # (B, M, n_mels)
            return (bands + LOG_FLOOR).log().mul(LOG_SCALE).transpose(1, 2)  # (B, n_mels, M)


def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Triangular filters on the HTK mel scale, each with unit peak: (201, n_mels) float32."""
    top_mel = 2595.0 * np.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
    edges_hz = 700.0 * (10.0 ** (np.linspace(0.0, top_mel, n_mels + 2) / 2595.0) - 1.0)
    bins_hz = np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE / FFT_SAMPLES
    low, mid, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rise = (bins_hz[:, None] - low) / np.maximum(mid - low, SAMPLE_RATE / FFT_SAMPLES)
    fall = (high - bins_hz[:, None]) / np.maximum(high - mid, SAMPLE_RATE / FFT_SAMPLES)
    return np.asarray(np.clip(np.minimum(rise, fall), 0.0, 1.0), np.float32)


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one feature sees: 400 for stock wav2vec2, 720 for ``LogMel``."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def feature_stride(strides: Sequence[int]) -> int:
    """Samples between features: 320 for both."""
    return int(np.prod(strides))
