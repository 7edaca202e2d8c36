import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import InputError, UnsupportedMedia
from shared.motion import EXP, lip_opening
from training.evaluate.__main__ import BAD_INPUT, main
from training.evaluate.lips import compare, envelope, read_clip
from training.evaluate.reference import Aperture, read_reference
from training.evaluate.served import load_system, motion_of_speech

SECONDS = 12.0
RATE = 16_000
SPEECH = Path(__file__).parents[2] / "data" / "speech.flac"


def _opening(seed: int = 0) -> NDArray[np.float32]:
    """A commanded opening of syllables: (N,) at 25 fps."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round(SECONDS * 25))
    at = 5
    while at < len(out) - 10:
        n = int(rng.integers(3, 9))
        out[at : at + n] = np.maximum(out[at : at + n], rng.uniform(0.1, 0.5) * np.hanning(n + 2)[1:-1])
        at += int(rng.integers(5, 14))
    return out.astype(np.float32)


def _sound(loudness: NDArray[np.float32], seed: int = 1) -> NDArray[np.int16]:
    """Noise whose level follows a curve at 25 fps."""
    level = np.repeat(loudness, 640)
    noise = np.random.default_rng(seed).normal(size=len(level))
    return np.asarray(np.clip(8000 * level * noise, -32000, 32000), np.int16)


def _reference(opening: NDArray[np.float32], delay_s: float, noise: float, fps: float = 29.97) -> Aperture:
    times = np.arange(0, SECONDS, 1 / fps)
    values = np.interp(times - delay_s, np.arange(len(opening)) / 25, opening)
    return Aperture(times, 0.05 + 0.2 * values + noise * np.random.default_rng(2).normal(size=len(times)))


def test_a_noisy_delayed_copy_of_the_command_passes_at_its_delay() -> None:
    opening = _opening()
    sync = compare(opening, _sound(_opening(7)), _reference(opening, 0.12, 0.005))
    assert sync.motion.r > 0.95
    assert sync.motion.lag_s == pytest.approx(0.12, abs=0.021)
    assert sync.motion.r_0 < sync.motion.r - 0.2
    assert sync.null < sync.motion.r
    assert sync.passes


def test_lips_that_follow_the_loudness_only_do_not_beat_the_envelope() -> None:
    loud = _opening(3)
    sync = compare(loud, _sound(loud), _reference(loud, 0.0, 0.005))
    assert sync.envelope.r > 0.9
    assert not sync.passes


def test_lips_of_another_clip_do_not_pass() -> None:
    sync = compare(_opening(4), _sound(_opening(5)), _reference(_opening(6), 0.0, 0.005))
    assert sync.motion.r < sync.null + 0.1
    assert not sync.passes


def test_the_envelope_is_where_the_sound_is() -> None:
    pcm = np.zeros(4 * RATE, np.int16)
    pcm[2 * RATE : 3 * RATE] = 8000
    track = envelope(pcm)
    assert track.values[125] == pytest.approx(8000 / 32768, rel=0.02)
    assert track.values[[60, 185]] == pytest.approx([0, 0], abs=0.01)


def test_no_face_at_times_is_no_problem_and_no_face_at_all_is_refused(tmp_path: Path) -> None:
    opening = _opening()
    whole = _reference(opening, 0.0, 0.002)
    holes = whole.values.copy()
    holes[60:120] = np.nan
    sync = compare(opening, _sound(_opening(7)), Aperture(whole.times_s, holes))
    assert sync.valid_s == pytest.approx(SECONDS - 60 / 29.97, abs=0.2)
    assert sync.motion.r > 0.95
    np.savez(tmp_path / "none.npz", t=whole.times_s, aperture=np.full(len(whole.times_s), np.nan))
    with pytest.raises(UnsupportedMedia, match="in 0 of"):
        read_reference(tmp_path / "none.npz")


def test_less_than_two_seconds_in_common_are_refused() -> None:
    opening = _opening()
    with pytest.raises(InputError, match="two seconds"):
        compare(opening[:30], _sound(opening[:30]), _reference(opening, 0.0, 0.0))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"t": np.arange(5.0)}, "aperture"),
        ({"t": np.arange(5.0), "aperture": np.arange(4.0)}, "shape"),
        ({"t": np.array([0.0, 2.0, 1.0]), "aperture": np.arange(3.0)}, "ascending"),
        ({"t": np.array([0.0, np.nan, 1.0]), "aperture": np.arange(3.0)}, "finite"),
        ({"t": np.array([[0.0, 1.0]]), "aperture": np.array([[0.0, 1.0]])}, "shape"),
        ({"t": np.array(["a", "b"]), "aperture": np.arange(2.0)}, "cannot be read"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, NDArray[np.float64]], reason: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UnsupportedMedia, match=reason):
        read_reference(tmp_path / "a.npz")


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"not a zip")
    with pytest.raises(UnsupportedMedia, match="cannot be read"):
        read_reference(tmp_path / "a.npz")
    for read in (read_reference, read_clip):
        with pytest.raises(UnsupportedMedia, match="not there"):
            read(tmp_path / "missing")


def test_the_command_line_measures_several_clips_and_ends_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opening = lip_opening(motion_of_speech(load_system(), read_clip(SPEECH), seed=3)[:, EXP])
    times = np.arange(len(opening)) / 25
    np.savez(tmp_path / "same.npz", t=times + 0.08, aperture=opening + 1.0)
    np.savez(tmp_path / "other.npz", t=times, aperture=np.resize(_opening(9), len(times)))
    clips = [
        option for name in ("same", "other") for option in (f"--audio={SPEECH}", f"--reference={tmp_path / name}.npz")
    ]
    assert main(["lips", "--seed", "3", *clips]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["measure"] == "lips"
    same, other = result["clips"]
    assert same["r"] > 0.99
    assert same["lag_ms"] == pytest.approx(80, abs=21)
    assert other["r"] < 0.8
    assert result["passes"] is (same["passes"] and other["passes"])


def test_wrong_use_ends_with_status_2_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = ["--audio", str(tmp_path / "a.wav"), "--reference", str(tmp_path / "a.npz")]
    assert main(["lips", *missing]) == BAD_INPUT
    assert "is not there; expected" in capsys.readouterr().err
    assert main(["lips", *missing, "--audio", "b.wav"]) == BAD_INPUT
    assert "2 clips and 1 references" in capsys.readouterr().err
    assert main(["lips", *missing, "--max-lag-ms", "-1"]) == BAD_INPUT
    with pytest.raises(SystemExit) as stop:
        main(["nonsense"])
    assert stop.value.code == BAD_INPUT
