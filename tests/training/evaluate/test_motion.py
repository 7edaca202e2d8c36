import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.audio_encoder.speech import read_span
from services.motion_dit.interface import Request
from shared.artifacts import open_store
from shared.media.audio import measure_level
from shared.motion import EXP, PYR, neutral_rows
from shared.timeline import encoder_span, frame_count, window_at, window_count
from training.evaluate.__main__ import BAD_INPUT, main
from training.evaluate.motion import curve, first_window, loop, without_lead
from training.evaluate.served import System, load_system, motion_of_speech


@pytest.fixture(scope="module")
def system() -> System:
    return load_system()


def _speech(seconds: float) -> NDArray[np.int16]:
    times = np.arange(round(seconds * 16_000)) / 16_000
    tone = np.sign(np.sin(2 * np.pi * 120 * times)) * np.maximum(0, np.sin(2 * np.pi * 2 * times))
    return np.asarray(900 * tone + 30 * np.random.default_rng(0).normal(size=len(times)), np.int16)


def test_motion_is_what_the_services_make_from_files_and_bytes(system: System, tmp_path: Path) -> None:
    pcm = _speech(3.1)
    store = open_store(str(tmp_path))
    store.write("speech.pcm", pcm.astype("<i2").tobytes())
    gain, n_frames, geometry = measure_level(pcm).gain, frame_count(len(pcm)), system.geometry
    state, rows = b"", []
    for index in range(window_count(n_frames, geometry)):
        window = window_at(index, n_frames, geometry)
        wave = read_span(store, "speech.pcm", *encoder_span(window, geometry, system.encoder.receptive_field))
        request = Request(system.encoder.encode(wave, gain, geometry), system.generator.read_state(state, index), 5)
        made = system.generator.generate([request])[0]
        rows.append(made.rows[: window.n_new])
        state = made.next_state.to_bytes()
    served = motion_of_speech(system, pcm, seed=5)
    assert len(served) == n_frames == 78
    assert np.array_equal(served, np.concatenate(rows))


def test_curves_are_the_columns_they_name() -> None:
    rows = neutral_rows(4)
    rows[:, PYR] = [1, 2, 3]
    assert curve(rows, "exp").shape == (4, EXP.stop)
    assert np.array_equal(curve(rows, "pose")[0], [1, 2, 3])
    assert np.array_equal(curve(rows, "lips"), np.zeros((4, 1)))


def test_a_first_window_that_trembles_is_seen(system: System) -> None:
    rng = np.random.default_rng(0)
    motions = []
    for _ in range(6):
        rows = neutral_rows(3 * system.geometry.hop)
        rows[:, PYR] = rng.normal(size=(len(rows), 3))
        rows[: system.geometry.hop, PYR] *= 3.0
        motions.append(rows)
    pose = first_window(system, motions)["pose"]
    assert pose["ratio"] == pytest.approx(3.0, rel=0.1)
    assert first_window(system, [neutral_rows(20)]) == {}


def test_a_loop_lasts_as_long_as_asked_and_repeats() -> None:
    one, two = np.arange(16_000, dtype=np.int16), np.arange(8_000, dtype=np.int16)
    looped = loop([one, two], 4.0)
    assert len(looped) == 4 * 60 * 16_000
    assert np.array_equal(looped[24_000:48_000], np.concatenate([one, two]))
    assert len(loop([one], 0.5)) == 3 * 60 * 16_000  # a trend needs three minutes


def test_leading_silence_is_cut_to_50_ms() -> None:
    pcm = np.concatenate([np.zeros(10_000, np.int16), _speech(1.0)])
    spoken = without_lead(pcm)
    assert 15_000 < len(spoken) < 18_000
    assert np.abs(spoken[:700]).max() < 200
    assert len(without_lead(np.zeros(100, np.int16))) == 100


def test_wrong_use_ends_with_status_2_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["motion", "--corpus", str(tmp_path)]) == BAD_INPUT
    assert "training.corpus" in capsys.readouterr().err
    assert main(["motion", "--seeds", "1"]) == BAD_INPUT
    assert "expected at least" in capsys.readouterr().err
    assert main(["motion", "--motion", str(tmp_path / "none.safetensors")]) == BAD_INPUT
    assert "none.safetensors" in capsys.readouterr().err


def test_json_has_no_nan() -> None:
    from training.evaluate.__main__ import _finite

    assert json.dumps(_finite({"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": 2}})) == (
        '{"a": null, "b": [1.0, null], "c": {"d": 2}}'
    )
