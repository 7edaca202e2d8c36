# ruff: noqa: RUF001  phones are written in IPA letters
"""flite and festival: the natural-sounding voices, with phone times, through their command lines."""

import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from shared.errors import ConfigurationError
from shared.timeline import SAMPLE_RATE
from training.espeak import Speech
from training.labels import Phone

IPA_OF_CMU = {
    "aa": "ɑː", "ae": "æ", "ah": "ʌ", "ao": "ɔː", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b", "ch": "tʃ",
    "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l̩", "em": "m", "en": "n̩", "er": "ɝ", "ey": "eɪ", "f": "f",
    "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "ix": "ɪ", "iy": "iː", "jh": "dʒ", "k": "k", "l": "l", "m": "m",
    "n": "n", "ng": "ŋ", "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t",
    "th": "θ", "uh": "ʊ", "uw": "uː", "ux": "uː", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
    "pau": "", "h#": "", "brth": "", "ssil": "", "sil": "", "#": "",
}  # fmt: skip

_TIMEOUT_S = 120


def flite(text: str, voice: str, stretch: float, shift: float) -> Speech:
    """Say one sentence with flite.

    Args:
        text: one sentence.
        voice: rms, slt, awb, kal or kal16.
        stretch: durations are multiplied by this.
        shift: f0 is multiplied by this.

    Raises:
        ConfigurationError: flite is missing, fails, or names an unknown phone.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}",
                   "--setf", f"f0_shift={shift:.3f}", "-psdur", "-t", text, "-o", str(path)]  # fmt: skip
        printed = _run(command).split()
        ends = [pair.rsplit(":", 1) for pair in printed]
        return Speech(read_wave(path), timed_phones([(name, float(end)) for name, end in ends]))


def festival(texts: Sequence[str], voice: str) -> list[Speech]:
    """Say sentences with one festival process; ``voice`` is kal_diphone, ked_diphone or cmu_us_slt_arctic_hts.

    Raises:
        ConfigurationError: festival is missing, fails, or names an unknown phone.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"(voice_{voice})"]
        for i, text in enumerate(texts):
            clean = text.replace("\\", " ").replace('"', " ")
            lines.append(f'(set! u (utt.synth (Utterance Text "{clean}")))')
            lines.append(f'(utt.save.segs u "{folder}/{i}.seg") (utt.save.wave u "{folder}/{i}.wav" "riff")')
        script = Path(folder) / "say.scm"
        script.write_text("\n".join(lines), encoding="utf-8")
        _run(["festival", "-b", str(script)])
        out: list[Speech] = []
        for i in range(len(texts)):
            body = (Path(folder) / f"{i}.seg").read_text(encoding="utf-8").split("#\n", 1)[1]
            rows = [line.split() for line in body.splitlines() if line.strip()]
            phones = timed_phones([(row[2], float(row[0])) for row in rows])
            out.append(Speech(read_wave(Path(folder) / f"{i}.wav"), phones))
        return out


def timed_phones(ends: Sequence[tuple[str, float]]) -> list[Phone]:
    """(CMU name, end in seconds) in order -> contiguous phones with IPA names."""
    out: list[Phone] = []
    start_s = 0.0
    for name, end_s in ends:
        if name not in IPA_OF_CMU:
            raise ConfigurationError(f"unknown phone {name!r}; add it to IPA_OF_CMU")
        if end_s > start_s:
            out.append(Phone(IPA_OF_CMU[name], start_s, end_s))
            start_s = end_s
    return out


def read_wave(path: Path) -> NDArray[np.float32]:
    """A mono 16-bit wave file as (N,) float32 at 16 kHz."""
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768.0
    if rate_hz == SAMPLE_RATE:
        return pcm
    divisor = int(np.gcd(rate_hz, SAMPLE_RATE))
    return np.asarray(resample_poly(pcm, SAMPLE_RATE // divisor, rate_hz // divisor), np.float32)


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{command[0]} is missing; install the package {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(f"{command[0]} failed: {error.stderr[-300:]}") from error
    return done.stdout
