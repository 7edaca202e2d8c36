"""Which measures tell which slider: known sliders are rendered, seen again, and regressed.

    python -m training.video.calibrate --portraits A.jpg B.jpg ... --out training/data/slider_calibration.json

Every portrait shows each slider alone at several values, then random mixtures under random poses. The weights are ridge
regressions of the sliders on the measures of all portraits together. The table printed last is measured on portraits
that were left out of the fit (leave one out; portraits of one person share the part of the name before "-"), on the
mixtures only: correlation and slope of the found slider against the drawn one.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from shared.media.portrait import decode_portrait
from shared.motion import EXP, PYR, SLIDER_INDEX, SLIDERS, exp_from_sliders, lip_opening, neutral_rows, slider_ranges
from training.landmarks import track
from training.video.geometry import head_path
from training.video.measures import AT, measure
from training.video.sliders import in_own_units, inputs_of, lid_closure, opening, resting

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

LINEAR = ("lip_pucker", "lip_wide", "upper_lip_raise", "smile", "mouth_x", "brow_raise", "gaze_x")
N_REST, N_MIXED = 12, 120
RIDGE = 0.02
POSE_DEG = (4.0, 5.0, 3.0)
FLARE_AS_PUCKER, FLARE_AS_RAISE = 0.6, 0.4  # as the renderer draws it


@dataclass(frozen=True)
class Views:
    """One portrait seen under known sliders: drawn sliders (N, 14), deltas (N, 17), raw measures, commanded c."""

    drawn: Doubles
    deltas: Doubles
    measures: Doubles
    commanded: Floats
    mouth_width: float


def programme(rng: np.random.Generator) -> tuple[Doubles, Floats]:
    """Sliders (N, 14) and rows (N, 70): rest, each slider alone, mixtures."""
    ranges = np.clip(slider_ranges(), -1.0, 1.0)
    steps = [np.zeros(len(SLIDERS))] * N_REST
    for index in range(len(SLIDERS)):
        for value in (*(ranges[index, 1] * np.array([0.25, 0.5, 0.75, 1.0])), 0.5 * ranges[index, 0], 0.0):
            steps.append(np.eye(len(SLIDERS))[index] * value)
    mixed = np.abs(rng.normal(0.0, 0.3, (N_MIXED, len(SLIDERS))))
    for name in ("smile", "mouth_x", "brow_raise", "gaze_x", "gaze_y"):
        mixed[:, SLIDER_INDEX[name]] = rng.normal(0.0, 0.28, N_MIXED)
    mixed[:, SLIDER_INDEX["jaw_open"]] = np.maximum(0.0, rng.uniform(-0.2, 0.8, N_MIXED))
    mixed[:, SLIDER_INDEX["lip_press"]] *= mixed[:, SLIDER_INDEX["jaw_open"]] < 0.15
    shut = rng.uniform(0.0, 1.0, N_MIXED) * (rng.random(N_MIXED) < 0.4)
    mixed[:, [SLIDER_INDEX["blink_left"], SLIDER_INDEX["blink_right"]]] = shut[:, None]
    sliders = np.concatenate([np.array(steps), np.clip(mixed, ranges[:, 0], ranges[:, 1])])
    rows = neutral_rows(len(sliders))
    rows[:, EXP] = exp_from_sliders(sliders)
    rows[-N_MIXED:, PYR] = rng.uniform(-1, 1, (N_MIXED, 3)) * POSE_DEG
    return sliders, rows


def look(portrait: Path, seed: int) -> Views:
    """Draw a portrait's programme and measure it."""
    puppet = Puppet(prepare(decode_portrait(portrait.read_bytes())))
    drawn, rows = programme(np.random.default_rng(seed))
    measures = measure(head_path(track(puppet.frames(rows))).still)
    rest = resting(measures[:N_REST])
    return Views(drawn, in_own_units(measures, rest), measures, lip_opening(rows[:, EXP]), rest.mouth_width)


def target(slider: str, drawn: Doubles) -> Doubles:
    """What a slider should read: a flare looks like some pucker and some raise."""
    value = drawn[:, SLIDER_INDEX[slider]].copy()
    flare = drawn[:, SLIDER_INDEX["lip_flare"]]
    return value + {"lip_pucker": FLARE_AS_PUCKER, "upper_lip_raise": FLARE_AS_RAISE}.get(slider, 0.0) * flare


def fit(views: Sequence[Views], slider: str) -> dict[str, float]:
    """Ridge weights of one slider's measures."""
    names = inputs_of(slider)
    x = np.concatenate([v.deltas[:, [AT[name] for name in names]] for v in views])
    y = np.concatenate([target(slider, v.drawn) for v in views])
    spread = np.maximum(x.std(axis=0), 1e-6)
    a = x / spread
    weights = np.linalg.solve(a.T @ a + RIDGE * len(a) * np.eye(len(names)), a.T @ y) / spread
    return {name: round(float(w), 4) for name, w in zip(names, weights, strict=True)}


def agreement(found: NDArray[Any], drawn: NDArray[Any]) -> tuple[float, float]:
    """Correlation, and slope of found on drawn."""
    slope = float(np.polyfit(drawn, found, 1)[0])
    return round(float(np.corrcoef(drawn, found)[0, 1]), 3), round(slope, 3)


def check(train: Sequence[Views], held: Views) -> dict[str, tuple[float, float]]:
    """Agreement of every visible slider on the mixtures of a portrait that was not fitted."""
    mixed = slice(-N_MIXED, None)
    out = {}
    for slider in LINEAR:
        weights = fit(train, slider)
        found = held.deltas[mixed][:, [AT[name] for name in weights]] @ np.array(list(weights.values()))
        out[slider] = agreement(found, target(slider, held.drawn)[mixed])
    out["opening"] = agreement(opening(held.deltas[:, AT["gap"]], held.mouth_width)[mixed], held.commanded[mixed])
    for slider, lid in (("blink_left", "lid_left"), ("blink_right", "lid_right")):
        open_ratio = float(np.quantile(held.measures[:N_REST, AT[lid]], 0.8))
        closure = lid_closure(held.measures[:, AT[lid]], open_ratio)
        out[slider] = agreement(closure[mixed], held.drawn[mixed, SLIDER_INDEX[slider]])
    return out


def write(path: Path, weights: Mapping[str, Mapping[str, float]], portraits: Sequence[Path]) -> None:
    """The calibration as JSON."""
    about = "Sliders of the expression basis from landmark measures; made by training/video/calibrate.py."
    document = {"about": about, "portraits": [p.stem for p in portraits], "weights": weights}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Fit, check and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    views = [look(path, seed) for seed, path in enumerate(args.portraits)]
    write(args.out, {slider: fit(views, slider) for slider in LINEAR}, args.portraits)
    persons = [path.stem.split("-")[0] for path in args.portraits]
    report = {}
    for index, path in enumerate(args.portraits):
        others = [v for v, person in zip(views, persons, strict=True) if person != persons[index]]
        if others:
            report[path.stem] = check(others, views[index])
            print(path.stem, report[path.stem], flush=True)
    print(json.dumps({"held_out": report}))


if __name__ == "__main__":
    main()
