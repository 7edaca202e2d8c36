# ruff: noqa: RUF001  phones are written in IPA letters
"""espeak-ng through ctypes: sound with the exact sample of every phone.

espeak is not re-entrant: one engine per process. Its label quirks are repaired here: a stop's event is at the burst
(the closure, digital silence, sits in the phone before), a vowel's event after a nasal or liquid is about 20 ms late.
"""

import ctypes
import ctypes.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from shared.errors import ConfigurationError
from training.labels import Phone, shapes_of

RATE_HZ = 22_050
_SYNCHRONOUS = 2
_PHONEME_EVENTS_IPA_NO_EXIT = 1 | 2 | 1 << 15
_EVENT_END, _EVENT_PHONEME = 0, 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_UTF8 = 1

_STOPS = frozenset("pbtdkɡgcɟqʈɖ")
_SONORANTS = frozenset("mnŋlɹɾrɲʎɫw")
_CLOSURE_MAX_S = 0.130
_STEP_S = 110 / RATE_HZ
_QUIET, _QUIET_AFTER_VOWEL = 0.012, 0.035  # of the peak; echoing variants ring into the closure
_LATE_VOWEL_S = 0.020


@dataclass(frozen=True)
class Speech:
    """What an engine said: (N,) float32 at 16 kHz, and the phones that cover it without gaps."""

    wave: NDArray[np.float32]
    phones: list[Phone]


@dataclass(frozen=True)
class EspeakVoice:
    """A voice with variant (``en-us+f3``), rate in words per minute, pitch and range 0..100."""

    name: str
    rate_wpm: int
    pitch: int
    pitch_range: int


class _Id(ctypes.Union):
    _fields_: ClassVar = [("number", ctypes.c_int), ("name", ctypes.c_void_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The engine. Only one may exist per process."""

    def __init__(self) -> None:
        self._pcm: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, str]] = []
        self._lib = _load()
        self._callback = _Callback(self._receive)  # kept: the library holds a bare pointer to it
        self._lib.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: EspeakVoice) -> Speech:
        """Say one sentence.

        Raises:
            ConfigurationError: the voice does not exist.
        """
        if self._lib.espeak_SetVoiceByName(voice.name.encode()):
            raise ConfigurationError(f"espeak-ng knows no voice {voice.name!r}; see espeak-ng --voices")
        self._lib.espeak_SetParameter(_PARAMETER_RATE, voice.rate_wpm, 0)
        self._lib.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
        self._lib.espeak_SetParameter(_PARAMETER_RANGE, voice.pitch_range, 0)
        self._pcm, self._events = [], []
        data = text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        self._lib.espeak_Synchronize()
        pcm = np.concatenate(self._pcm) if self._pcm else np.zeros(0, np.int16)
        phones = repair(_phones(self._events, pcm), pcm)
        wave = resample_poly(pcm.astype(np.float32) / 32768.0, 320, 441).astype(np.float32)
        return Speech(wave, phones)

    def _receive(self, wave: Any, n_samples: int, events: Any) -> int:
        if n_samples > 0:
            self._pcm.append(np.ctypeslib.as_array(wave, (n_samples,)).copy())
        at = 0
        while events[at].type != _EVENT_END:
            if events[at].type == _EVENT_PHONEME:
                name = bytes(events[at].id.string).split(b"\0")[0].decode(errors="ignore")
                self._events.append((int(events[at].sample), name))
            at += 1
        return 0


def repair(phones: Sequence[Phone], pcm: NDArray[np.int16]) -> list[Phone]:
    """Give stops their closures, and vowels after sonorants the 20 ms they come late."""
    level = _level(pcm)
    out = list(phones)
    for i in range(1, len(out)):
        before, phone = out[i - 1], out[i]
        moved_s = 0.0
        if phone.name[:1] in _STOPS and before.name:
            moved_s = _quiet_tail_s(level, before, phone.start_s)
        elif before.name[:1] in _SONORANTS and _is_vowel(phone.name):
            moved_s = min(_LATE_VOWEL_S, 0.5 * (before.end_s - before.start_s))
        out[i - 1] = replace(before, end_s=before.end_s - moved_s)
        out[i] = replace(phone, start_s=phone.start_s - moved_s)
    return out


def _quiet_tail_s(level: NDArray[np.float64], before: Phone, burst_s: float) -> float:
    """Seconds of silence right before a burst, at most 130 ms and never a whole phone."""
    end = max(0, round(burst_s / _STEP_S) - 1)  # the last step may hold the start of the burst
    start = max(round(before.start_s / _STEP_S), end - round(_CLOSURE_MAX_S / _STEP_S))
    limit = _QUIET_AFTER_VOWEL if _is_vowel(before.name) else _QUIET
    loud = np.flatnonzero(level[start:end] >= limit)
    first = start + (int(loud[-1]) + 1 if loud.size else 0)
    if first >= end:
        return 0.0
    return min(burst_s - first * _STEP_S, 0.8 * (before.end_s - before.start_s))


def _level(pcm: NDArray[np.int16]) -> NDArray[np.float64]:
    """Peak of every 5 ms, relative to the loudest."""
    step = round(_STEP_S * RATE_HZ)
    n_steps = -(-len(pcm) // step)
    padded = np.pad(np.abs(pcm.astype(np.float64)), (0, n_steps * step - len(pcm)))
    level = padded.reshape(n_steps, step).max(axis=1)
    return np.asarray(level / max(1.0, float(level.max(initial=0.0))))


def _phones(events: Sequence[tuple[int, str]], pcm: NDArray[np.int16]) -> list[Phone]:
    """Events -> contiguous phones over the whole sound; a nameless event's sound belongs to the phone before."""
    level = _level(pcm)
    named = [(at, name) for at, name in events if not name.startswith("(") and at < len(pcm)]
    starts = [(0, "")] if not named or named[0][0] > 0 else []
    marks = [*starts, *named, (len(pcm), "")]
    out: list[Phone] = []
    for (start, name), (end, _) in pairwise(marks):
        start_s, end_s = start / RATE_HZ, end / RATE_HZ
        if end_s <= start_s:
            continue
        if not name and out and out[-1].name:
            start_s = _sound_end_s(level, start_s, end_s)
            out[-1] = replace(out[-1], end_s=start_s)
        if not name and out and not out[-1].name:
            out[-1] = replace(out[-1], end_s=end_s)
        elif end_s > start_s:
            out.append(Phone(name, start_s, end_s))
    return out


def _sound_end_s(level: NDArray[np.float64], start_s: float, end_s: float) -> float:
    """Where the sound that continues into [start, end) falls silent."""
    first, last = round(start_s / _STEP_S), round(end_s / _STEP_S)
    quiet = np.flatnonzero(level[first:last] < _QUIET)
    return min(end_s, start_s + int(quiet[0]) * _STEP_S) if quiet.size else end_s


def _is_vowel(name: str) -> bool:
    return any(shape.cls in (9, 10, 11, 12, 14) for shape in shapes_of(name)[:1]) if name else False


def _load() -> Any:
    path = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise ConfigurationError("libespeak-ng is missing; install the package espeak-ng") from error
    lib.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    if lib.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS_IPA_NO_EXIT) < 0:
        raise ConfigurationError("espeak-ng did not start; is the package espeak-ng-data installed?")
    return lib
