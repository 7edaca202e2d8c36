"""The tuned table of visemes: slider targets, dominance and timing of 22 mouth shapes (``data/visemes.json``).

Also how a class of the audio encoder (16 of them) is spoken when only the class is known. Data, no rules: those are in
``motion_targets.py``.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.motion import SLIDER_INDEX, SLIDERS

FloatArray = NDArray[np.float32]

CLOSURES = ("PP", "FF")
CLASS_TARGETS: dict[str, tuple[tuple[str, float], ...]] = {
    "SIL": (("sil", 1.0),),
    "PP": (("PP", 1.0),),
    "FF": (("FF", 1.0),),
    "TH": (("TH", 1.0),),
    "DD": (("DD", 0.5), ("nn", 0.3), ("LL", 0.2)),
    "KK": (("kk", 1.0),),
    "CH": (("CH", 1.0),),
    "SS": (("SS", 1.0),),
    "RR": (("RR", 1.0),),
    "AA": (("aa", 0.6), ("ae", 0.4)),
    "EE": (("E", 1.0),),
    "II": (("ih", 0.6), ("iy", 0.4)),
    "OO": (("oh", 1.0),),
    "UU": (("ou", 0.6), ("WW", 0.4)),
    "AX": (("ax", 1.0),),
    "HH": (("HH", 1.0),),
}


@dataclass(frozen=True)
class Viseme:
    """One mouth shape.

    Attributes:
        sliders: (14,) float32 target.
        dominance_jaw: weight of the jaw target against neighbours.
        dominance_lips: the same for all other sliders.
        jaw_s: attack and release of the jaw, seconds.
        lips_s: attack and release of the lips, seconds.
        peak_frac: where in the phone its target is reached.
        peak_offset_s: shift of that moment; negative leads the sound.
    """

    sliders: FloatArray
    dominance_jaw: float
    dominance_lips: float
    jaw_s: tuple[float, float]
    lips_s: tuple[float, float]
    peak_frac: float
    peak_offset_s: float


@cache
def visemes() -> dict[str, Viseme]:
    """All visemes by name."""
    return {name: _viseme(entry) for name, entry in _document()["visemes"].items()}


@cache
def constant_sliders() -> FloatArray:
    """What is added to every frame: (14,) float32."""
    return _sliders(_document()["constant"])


def mixed(targets: tuple[tuple[str, float], ...]) -> Viseme:
    """The weighted mean of some visemes; weights sum to 1."""
    if len(targets) == 1:
        return visemes()[targets[0][0]]
    parts = [(visemes()[name], weight) for name, weight in targets]

    def mean(values: list[float]) -> float:
        return float(sum(w * x for (_, w), x in zip(parts, values, strict=True)))

    return Viseme(
        sliders=np.sum([w * v.sliders for v, w in parts], axis=0, dtype=np.float32),
        dominance_jaw=mean([v.dominance_jaw for v, _ in parts]),
        dominance_lips=mean([v.dominance_lips for v, _ in parts]),
        jaw_s=(mean([v.jaw_s[0] for v, _ in parts]), mean([v.jaw_s[1] for v, _ in parts])),
        lips_s=(mean([v.lips_s[0] for v, _ in parts]), mean([v.lips_s[1] for v, _ in parts])),
        peak_frac=mean([v.peak_frac for v, _ in parts]),
        peak_offset_s=mean([v.peak_offset_s for v, _ in parts]),
    )


def _viseme(entry: dict[str, Any]) -> Viseme:
    return Viseme(
        sliders=_sliders(entry["sliders"]),
        dominance_jaw=entry["dominance"]["jaw"],
        dominance_lips=entry["dominance"]["lips"],
        jaw_s=(entry["jaw_ms"][0] / 1000, entry["jaw_ms"][1] / 1000),
        lips_s=(entry["lips_ms"][0] / 1000, entry["lips_ms"][1] / 1000),
        peak_frac=entry["peak_frac"],
        peak_offset_s=entry["peak_offset_ms"] / 1000,
    )


def _sliders(values: dict[str, float]) -> FloatArray:
    out = np.zeros(len(SLIDERS), np.float32)
    for name, value in values.items():
        out[SLIDER_INDEX[name]] = value
    return out


@cache
def _document() -> dict[str, Any]:
    text = resources.files("training").joinpath("data/visemes.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    return document
