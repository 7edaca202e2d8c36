"""The shipped encoder and its heads, on sound that anyone can make: what is shipped hears the difference."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.audio_encoder.checkpoint import EMBEDDED_CONFIG, EMBEDDED_WEIGHTS
from services.audio_encoder.loudness import REFERENCE_RMS
from shared.media.audio import decode_speech
from training.background import hum, knocks, modulated_noise, music
from training.crops import speech_gain
from training.encoder_heads import EncoderWithHeads, load_with_heads
from training.encoder_scores import silent_share
from training.labels import CLASSES

SPEECH = Path(__file__).parents[1] / "data" / "speech.flac"
N = 5 * 16_000
Sound = Callable[[int, np.random.Generator], NDArray[np.float32]]


@pytest.fixture(scope="module")
def model() -> EncoderWithHeads:
    return load_with_heads()


def test_the_shipped_files_belong_together() -> None:
    named = json.loads(EMBEDDED_CONFIG.read_text(encoding="utf-8"))["sha256"]
    assert hashlib.sha256(EMBEDDED_WEIGHTS.read_bytes()).hexdigest() == named


@pytest.mark.parametrize("sound", [music, modulated_noise, hum, knocks])
def test_sound_without_speech_is_silence_however_loud(model: EncoderWithHeads, sound: Sound) -> None:
    for level in (0.03, 0.15):
        wave = sound(N, np.random.default_rng(5)) * np.float32(level)
        assert silent_share(model, wave) > 0.97


def test_a_person_who_speaks_is_heard(model: EncoderWithHeads) -> None:
    pcm = decode_speech(SPEECH, 30.0)
    wave = pcm.astype(np.float32) * np.float32(speech_gain(pcm) / 32768.0)
    with torch.inference_mode():
        logits, openness = model(torch.from_numpy(wave)[None])
    blocks = wave[200 : 200 + logits.shape[1] * 320].reshape(-1, 320)
    loud = np.sqrt(np.mean(np.square(blocks), axis=1)) > 0.2 * REFERENCE_RMS
    called = logits[0].argmax(-1).numpy()
    assert np.mean(called[loud] == CLASSES.index("SIL")) < 0.1
    assert len(np.unique(called)) >= 12
    assert float(openness[0][torch.from_numpy(loud)].std()) > 0.1


def test_nothing_at_all_is_silence(model: EncoderWithHeads) -> None:
    assert silent_share(model, np.zeros(N, np.float32)) == 1.0
    assert torch.isfinite(model(torch.zeros(1, N))[1]).all()
