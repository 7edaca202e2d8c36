"""Wav2Vec2, HuBERT or the shipped encoder behind one call: the sound of a window -> one feature row per video frame.

Keeps no state between windows. Knows nothing of jobs, Redis or files; `checkpoint` knows the files.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.checkpoint import Network, load_network
from services.audio_encoder.edges import mirror_ends
from services.audio_encoder.loudness import loudness
from shared.errors import NonFiniteOutput, ShapeError
from shared.timeline import FEATURE_STRIDE_SAMPLES, FEATURES_PER_FRAME, SAMPLES_PER_FRAME, Geometry, exact_div


class AudioEncoder:
    """A loaded encoder.

    Attributes:
        hidden_size: width of the network's output.
        receptive_field: samples one output sees; what `encoder_span` needs.
        feature_size: columns of a row: hidden_size and the loudness.
    """

    def __init__(self, network: Network) -> None:
        self.hidden_size = network.hidden_size
        self.receptive_field = network.receptive_field
        self.feature_size = network.hidden_size + 1
        self._model = network.model
        self._input_gain = network.input_gain
        self._mirrors_ends = network.mirrors_ends

    def span_samples(self, geometry: Geometry) -> int:
        """Samples that `encode` expects: the window, its margins, and half a receptive field more at both ends."""
        return geometry.heard * SAMPLES_PER_FRAME + self.receptive_field - FEATURE_STRIDE_SAMPLES

    def encode(self, wave: NDArray[np.float32], gain: float, geometry: Geometry) -> NDArray[np.float32]:
        """Features of one window; one forward pass, the margins are cut off but for the look-ahead.

        Args:
            wave: (span_samples,) float32, full scale 1, as cut by `shared.timeline.encoder_span`.
            gain: the job's gain; brings the loudest parts of the speech to RMS 0.2.
            geometry: the bundle's geometry.

        Returns:
            (context + hop + lookahead, hidden_size + 1) float32; the last column is the frame's loudness, 0..1.

        Raises:
            ShapeError: the wave is not exactly the window's span.
            NonFiniteOutput: the network produced NaN or infinity.
        """
        n_expected = self.span_samples(geometry)
        if wave.shape != (n_expected,):
            raise ShapeError(f"sound of shape {wave.shape}, expected ({n_expected},); cut it with encoder_span")
        widen = exact_div(self.receptive_field - FEATURE_STRIDE_SAMPLES, 2)
        inner = wave[widen : len(wave) - widen]
        heard = mirror_ends(inner) if self._mirrors_ends else wave
        hidden = self.hidden(heard * np.float32(gain))  # (2 frames, H)
        if not np.isfinite(hidden).all():
            raise NonFiniteOutput("the audio encoder produced NaN or infinity; check the gain and the weights")
        frames = hidden.reshape(-1, FEATURES_PER_FRAME, self.hidden_size).mean(axis=1)
        loud = loudness(inner, gain)
        rows = np.concatenate([frames, loud[:, None]], axis=1, dtype=np.float32)
        return rows[geometry.margin : geometry.margin + geometry.length]

    def hidden(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hidden states of a sound at the job's gain: (samples,) to (2 per frame, hidden_size), both float32."""
        with torch.inference_mode():
            scaled = torch.from_numpy(wave * np.float32(self._input_gain))
            output = self._model(scaled[None]).last_hidden_state
        hidden: NDArray[np.float32] = output[0].numpy()
        return hidden


def load_encoder(folder: Path | None = None) -> AudioEncoder:
    """Load the shipped encoder, or the one in ``folder`` (``config.json`` and ``model.safetensors``).

    Raises:
        WeightsMismatch: the files do not fit.
    """
    return AudioEncoder(load_network(folder))
