from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.checkpoint import load_network
from services.audio_encoder.model import load_encoder
from shared.media.audio import measure_level
from shared.timeline import Geometry
from training.corpus import Utterance
from training.features import compute, frame_features, load_windows, plan, save_windows, window_wave
from training.labels import Segment

FloatArray = NDArray[np.float32]
FIELD = 720
GEOMETRY = Geometry()


def _utterance(n_samples: int = 60_000) -> Utterance:
    rng = np.random.default_rng(0)
    pcm = (3000 * rng.normal(size=n_samples)).clip(-32768, 32767).astype(np.int16)
    segments = [Segment(0.0, n_samples / 16_000, "a", (("aa", 1.0),), 1.0, 9)]
    return Utterance("u", "espeak", "v", "train", "", 1, pcm, segments)


def _fake_encode(waves: FloatArray) -> FloatArray:
    n_features = 1 + (waves.shape[1] - FIELD) // 320
    steps = np.arange(n_features) * 320
    return np.stack([waves[:, steps], waves[:, steps + FIELD - 1]], axis=-1)


def test_features_are_those_that_the_service_computes() -> None:
    torch.set_num_threads(1)
    utterance, encoder, network = _utterance(), load_encoder(None), load_network(None)
    gain = measure_level(utterance.pcm).gain
    for first in (0, 65):
        wave = window_wave(utterance.pcm, first, GEOMETRY, encoder.receptive_field)
        with torch.inference_mode():
            hidden = network.model(torch.from_numpy(wave)[None]).last_hidden_state[0].numpy()
        ours = frame_features(hidden, wave, GEOMETRY, encoder.receptive_field)
        served = encoder.encode(wave / np.float32(gain), gain, GEOMETRY)
        assert ours.shape == served.shape == (75, encoder.hidden_size + 1)
        assert np.allclose(ours, served, atol=1e-3)


def test_the_served_plan_covers_every_frame() -> None:
    assert plan(130, 65, 0) == [0, 65]
    assert plan(131, 65, 0) == [0, 65, 130]
    assert plan(3, 65, 0) == [0]
    assert plan(100, 65, 30) == [30, 95]


def test_windows_reach_outside_the_file_as_silence() -> None:
    utterance = _utterance()
    first = window_wave(utterance.pcm, 0, GEOMETRY, FIELD)
    assert len(first) == 95 * 640 + FIELD - 320
    assert not first[: 20 * 640].any()
    assert first[21 * 640 :].any()
    assert not window_wave(utterance.pcm, 200, GEOMETRY, FIELD).any()


def test_changed_sound_stays_silent_outside_the_file() -> None:
    windows = compute([_utterance()], _fake_encode, FIELD, GEOMETRY, np.random.default_rng(1), phase=0)
    assert windows.features.shape == (2, 75, 3)
    assert windows.first_frame.tolist() == [0, 65]
    assert not windows.features[0, :8].any()
    assert not windows.features[1, -30:].any()


def test_windows_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "train-0.npz"
    windows = compute([_utterance()], _fake_encode, FIELD, GEOMETRY, np.random.default_rng(1), phase=1)
    save_windows(windows, path)
    back = load_windows(path)
    assert np.array_equal(back.features, windows.features)
    assert np.array_equal(back.first_frame, windows.first_frame)
