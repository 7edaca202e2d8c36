from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.audio_encoder.checkpoint import load_network
from services.audio_encoder.loudness import loudness
from services.audio_encoder.model import AudioEncoder
from services.audio_encoder.speech import read_span
from shared.artifacts import open_store
from shared.errors import NonFiniteOutput, ShapeError
from shared.timeline import Geometry, encoder_span, frame_count, window_at, window_count

GEOMETRY = Geometry()
PATH = "jobs/0-A/speech.pcm"


def speech_like(n_samples: int, seed: int = 0) -> NDArray[np.int16]:
    """Noise in bursts with harmonics: loud and silent stretches."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 16_000
    voice = sum(np.sin(2 * np.pi * 120.0 * k * t) / k for k in range(1, 12))
    bursts = np.clip(np.sin(2 * np.pi * 1.7 * t) + 0.2, 0, 1)
    return np.asarray((voice * 2500.0 + rng.standard_normal(n_samples) * 300.0) * bursts).astype(np.int16)


def windows_of(encoder: AudioEncoder, folder: Path, pcm: NDArray[np.int16], n_frames: int) -> list[bytes]:
    store = open_store(str(folder))
    store.write(PATH, pcm.astype("<i2").tobytes())
    out = []
    for index in range(window_count(n_frames, GEOMETRY)):
        span = encoder_span(window_at(index, n_frames, GEOMETRY), GEOMETRY, encoder.receptive_field)
        out.append(encoder.encode(read_span(store, PATH, *span), 1.5, GEOMETRY).tobytes())
    return out


def wave_of(encoder: AudioEncoder, seed: int = 0) -> NDArray[np.float32]:
    return (speech_like(encoder.span_samples(GEOMETRY), seed) / 32768.0).astype(np.float32)


def test_a_window_has_one_row_per_frame(embedded: AudioEncoder) -> None:
    rows = embedded.encode(wave_of(embedded), 1.0, GEOMETRY)
    assert rows.shape == (75, 193)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_looking_ahead_appends_rows_of_the_margin(embedded: AudioEncoder) -> None:
    wave = wave_of(embedded)
    ahead = embedded.encode(wave, 1.0, replace(GEOMETRY, lookahead=4))
    assert ahead.shape == (79, 193)
    np.testing.assert_array_equal(ahead[:75], embedded.encode(wave, 1.0, GEOMETRY))


def test_the_same_window_gives_the_same_bytes(embedded: AudioEncoder) -> None:
    wave = wave_of(embedded)
    assert embedded.encode(wave, 2.0, GEOMETRY).tobytes() == embedded.encode(wave, 2.0, GEOMETRY).tobytes()


def test_the_last_column_is_the_loudness_of_the_frame(embedded: AudioEncoder) -> None:
    wave = wave_of(embedded)
    expected = loudness(wave[200:-200], 1.5)[10:85]
    np.testing.assert_array_equal(embedded.encode(wave, 1.5, GEOMETRY)[:, -1], expected)


def test_gain_and_level_are_the_same_thing(embedded: AudioEncoder) -> None:
    wave = wave_of(embedded)
    half = embedded.encode(wave * np.float32(0.5), 2.0, GEOMETRY)
    np.testing.assert_allclose(half, embedded.encode(wave, 1.0, GEOMETRY), atol=1e-5)


def test_arrival_in_pieces_does_not_change_a_window(embedded: AudioEncoder, tmp_path: Path) -> None:
    pcm = speech_like(5 * 16_000 + 321)
    n_frames = frame_count(len(pcm))
    offline = windows_of(embedded, tmp_path / "whole", pcm, n_frames)
    for n_arrived in (70_000, 76_000):  # window 0 hears 76 - 0.5 kilosamples
        early = windows_of(embedded, tmp_path / str(n_arrived), pcm[:n_arrived], n_frames)
        span = encoder_span(window_at(0, n_frames, GEOMETRY), GEOMETRY, embedded.receptive_field)
        assert (early[0] == offline[0]) == (n_arrived >= span[1])


def test_sound_after_the_span_never_changes_a_window(embedded: AudioEncoder, tmp_path: Path) -> None:
    pcm = speech_like(12 * 16_000)
    n_frames = frame_count(len(pcm))
    later = pcm.copy()
    stop = encoder_span(window_at(1, n_frames, GEOMETRY), GEOMETRY, embedded.receptive_field)[1]
    later[stop:] = speech_like(len(pcm) - stop, seed=9)
    before = windows_of(embedded, tmp_path / "a", pcm, n_frames)
    after = windows_of(embedded, tmp_path / "b", later, n_frames)
    assert before[:2] == after[:2]
    assert before[2] != after[2]


def test_a_batch_of_windows_agrees_with_single_windows(embedded: AudioEncoder) -> None:
    waves = np.stack([wave_of(embedded, seed) for seed in range(3)])
    with torch.inference_mode():
        batch = load_network(None).model(torch.from_numpy(waves)).last_hidden_state.numpy()
    frames = batch.reshape(3, 95, 2, 192).mean(axis=2)[:, 10:85]
    for wave, expected in zip(waves, frames, strict=True):
        # measured 2e-6: other summation order in the matrix products
        np.testing.assert_allclose(embedded.encode(wave, 1.0, GEOMETRY)[:, :192], expected, atol=1e-5)


def test_window_edges_agree_with_the_whole_file(embedded: AudioEncoder) -> None:
    pcm = (speech_like(10 * 16_000) / 32768.0).astype(np.float32)
    with torch.inference_mode():
        output = load_network(None).model(torch.from_numpy(np.pad(pcm, 200))[None])
    whole = output.last_hidden_state[0].numpy().reshape(250, 2, 192).mean(axis=1)
    window = window_at(1, 250, GEOMETRY)
    first, stop = encoder_span(window, GEOMETRY, embedded.receptive_field)
    rows = embedded.encode(pcm[first:stop], 1.0, GEOMETRY)[:, :192]
    reference = whole[window.first_frame - 10 :][:75]
    cosine = (rows * reference).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(reference, axis=1)
    assert np.median(cosine) > 0.95
    assert cosine.min() > 0.6


@pytest.mark.parametrize("n_samples", [0, 61_199, 61_201])
def test_a_wave_of_another_length_is_refused(embedded: AudioEncoder, n_samples: int) -> None:
    with pytest.raises(ShapeError, match="expected \\(61200,\\)"):
        embedded.encode(np.zeros(n_samples, np.float32), 1.0, GEOMETRY)


def test_a_network_that_breaks_is_reported() -> None:
    encoder = AudioEncoder(replace(load_network(None), input_gain=float("nan")))
    with pytest.raises(NonFiniteOutput):
        encoder.encode(wave_of(encoder), 1.0, GEOMETRY)
