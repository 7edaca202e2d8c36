# ruff: noqa: RUF001  phones are written in IPA letters
"""Phones with times -> viseme segments and frame classes.

Two inventories: the 22 visemes that motion targets are made of (``ipa_visemes.json``), and the 16 classes that the
audio encoder learns; ``CLASS_OF_VISEME`` is the one table between them. Labels are not shifted in time here, except
that a closure which the engine hides in the neighbouring silence is given back to its phone.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("SIL", "PP", "FF", "TH", "DD", "KK", "CH", "SS", "RR", "AA", "EE", "II", "OO", "UU", "AX", "HH")
OPENNESS = (0.03, 0.0, 0.12, 0.25, 0.28, 0.38, 0.30, 0.20, 0.32, 1.0, 0.72, 0.42, 0.75, 0.35, 0.5, 0.45)
CLASS_OF_VISEME = {
    "sil": "SIL", "PP": "PP", "FF": "FF", "TH": "TH", "DD": "DD", "nn": "DD", "LL": "DD", "kk": "KK", "CH": "CH",
    "SS": "SS", "RR": "RR", "HH": "HH", "WW": "UU", "aa": "AA", "ae": "AA", "ax": "AX", "E": "EE", "ih": "II",
    "iy": "II", "oh": "OO", "ou": "UU", "yy": "UU",
}  # fmt: skip

DIPHTHONG_SPLIT = 0.58
LIP_ANTICIPATION_S = 0.055
MIN_PAUSE_LEFT_S = 0.02

_VOWELS = set("aɑɐæɒʌeɛəɘɜɞɤɪiɨoɔøœɵuʊʉɯyʏɚɝᵻᵊ")
_LIP_CLASSES = ("PP", "FF")


@dataclass(frozen=True)
class Phone:
    """A phone as an engine timed it; an empty name is silence. Seconds from the start of the sound."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """One viseme in time.

    Attributes:
        start_s: start, seconds.
        end_s: end, seconds.
        phone: the engine's name of the phone, empty for silence.
        targets: visemes with weights that sum to 1.
        k: amplitude factor of the targets.
        cls: encoder class, index into CLASSES.
    """

    start_s: float
    end_s: float
    phone: str
    targets: tuple[tuple[str, float], ...]
    k: float
    cls: int


@dataclass(frozen=True)
class _Shape:
    targets: tuple[tuple[str, float], ...]
    k: float

    @property
    def cls(self) -> int:
        """Class of the heaviest viseme; the last of equals, so that a rhotic vowel counts as RR."""
        viseme = max(reversed(self.targets), key=lambda pair: pair[1])[0]
        return CLASSES.index(CLASS_OF_VISEME[viseme])


_SILENCE = _Shape((("sil", 1.0),), 1.0)


def segments_of(phones: Sequence[Phone]) -> list[Segment]:
    """Map contiguous phones to contiguous viseme segments; diphthongs split at 58 %."""
    out: list[Segment] = []
    for phone in phones:
        shapes = shapes_of(phone.name)
        edges = _edges(phone, len(shapes))
        for shape, start_s, end_s in zip(shapes, edges, edges[1:], strict=False):
            if end_s > start_s:
                out.append(Segment(start_s, end_s, phone.name, shape.targets, shape.k, shape.cls))
    return out


def give_lips_their_closure(segments: Sequence[Segment]) -> list[Segment]:
    """Before PP and FF after a pause, move 55 ms of the pause into the closure: lips close before they are heard."""
    out = list(segments)
    for i in range(1, len(out)):
        pause, lips = out[i - 1], out[i]
        if CLASSES[lips.cls] not in _LIP_CLASSES or CLASSES[pause.cls] != "SIL":
            continue
        moved_s = min(LIP_ANTICIPATION_S, pause.end_s - pause.start_s - MIN_PAUSE_LEFT_S)
        if moved_s > 0:
            out[i - 1] = replace(pause, end_s=pause.end_s - moved_s)
            out[i] = replace(lips, start_s=lips.start_s - moved_s)
    return out


def frame_classes(segments: Sequence[Segment], centres_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Class at each time: (N,) int64, index into CLASSES; times outside are SIL."""
    starts = np.array([s.start_s for s in segments])
    classes = np.array([s.cls for s in segments])
    index = np.searchsorted(starts, centres_s, side="right") - 1
    inside = (index >= 0) & (centres_s < segments[-1].end_s)
    result: NDArray[np.int64] = np.where(inside, classes[np.clip(index, 0, None)], 0)
    return result


@cache
def shapes_of(name: str) -> tuple[_Shape, ...]:
    """Viseme shapes of one IPA phone name, in order; modifiers are ignored, silence for an empty name.

    Unknown vowels become ``ax``, unknown consonants ``DD``.
    """
    table, longest = _ipa_table()
    text = unicodedata.normalize("NFD", name)
    shapes: list[_Shape] = []
    at = 0
    while at < len(text):
        for size in range(min(longest, len(text) - at), 0, -1):
            if (entry := table.get(text[at : at + size])) is not None:
                shapes.extend(entry)
                at += size
                break
        else:
            shapes.extend(_unknown(text[at]))
            at += 1
    return tuple(shapes) or (_SILENCE,)


def _unknown(char: str) -> Iterable[_Shape]:
    if not char.isalpha() or unicodedata.category(char) in ("Lm", "Mn"):
        return ()
    return (_Shape((("ax" if char in _VOWELS else "DD", 1.0),), 1.0),)


def _edges(phone: Phone, n_shapes: int) -> list[float]:
    if n_shapes == 2:
        cut_s = phone.start_s + DIPHTHONG_SPLIT * (phone.end_s - phone.start_s)
        return [phone.start_s, cut_s, phone.end_s]
    return [float(t) for t in np.linspace(phone.start_s, phone.end_s, n_shapes + 1)]


@cache
def _ipa_table() -> tuple[dict[str, tuple[_Shape, ...]], int]:
    path = Path(__file__).parent / "data" / "ipa_visemes.json"
    entries = json.loads(path.read_text(encoding="utf-8"))["map"]
    table = {unicodedata.normalize("NFD", name): _shapes_of_entry(entry) for name, entry in entries.items()}
    return table, max(map(len, table))


def _shapes_of_entry(entry: dict[str, object]) -> tuple[_Shape, ...]:
    match entry:
        case {"v": str(viseme), "k": float(k)}:
            return (_Shape(((viseme, 1.0),), k),)
        case {"v": str(viseme)}:
            return (_Shape(((viseme, 1.0),), 1.0),)
        case {"mix": list(pairs)}:
            return (_Shape(tuple((str(v), float(w)) for v, w in pairs), 1.0),)
        case {"seq": list(pairs)}:
            return tuple(_Shape(((str(v), 1.0),), float(k)) for v, k in pairs)
    raise ValueError(f"unknown entry in ipa_visemes.json: {entry}")
