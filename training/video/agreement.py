"""How well is motion measured? Shards of `selfmade` videos against the rows that the videos were drawn from.

    python -m training.video.agreement --shards SHARDS --truth FOLDER/truth

One line per clip, then one JSON object with the means: correlation r and slope of measured on drawn curves for the lip
opening, the sliders and the head pose; frames in which both or neither have the lips closed; blinks drawn, found, and
found within two frames of a drawn one.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from shared.motion import EXP, PITCH, ROLL, SCALE, SLIDER_INDEX, YAW, lip_opening, sliders_from_exp
from shared.motion import T as TRANSLATION
from training.video.calibrate import agreement
from training.video.reader import read_manifest
from training.video.shards import shard_path

Floats = NDArray[np.float32]

SLIDERS_SEEN = ("jaw_open", "lip_pucker", "lip_wide", "upper_lip_raise", "smile", "mouth_x", "brow_raise", "gaze_x")
POSE = {"pitch": PITCH, "yaw": YAW, "roll": ROLL, "tx": TRANSLATION.start, "ty": TRANSLATION.start + 1, "scale": SCALE}
CLOSED = 0.02
SHUT = 0.5
NEAR_FRAMES = 2
STILL = 1e-3  # curves that were not moved tell nothing


def compare(found: Floats, drawn: Floats) -> dict[str, float]:
    """Measures of one clip.

    Args:
        found: (N, 70) rows of the shard.
        drawn: (N, 70) rows of the same frames.
    """
    c, c_drawn = lip_opening(found[:, EXP]), lip_opening(drawn[:, EXP])
    out: dict[str, float] = {}
    out["opening_r"], out["opening_slope"] = agreement(c, c_drawn)
    out["closed_same"] = float(np.mean((c < CLOSED) == (c_drawn < CLOSED)))
    sliders, sliders_drawn = sliders_from_exp(found[:, EXP]), sliders_from_exp(drawn[:, EXP])
    for name in SLIDERS_SEEN:
        column = SLIDER_INDEX[name]
        if float(np.ptp(sliders_drawn[:, column])) > STILL:
            out[f"{name}_r"], out[f"{name}_slope"] = agreement(sliders[:, column], sliders_drawn[:, column])
    for name, column in POSE.items():
        if float(np.ptp(drawn[:, column])) <= STILL:
            continue
        out[f"{name}_r"], out[f"{name}_slope"] = agreement(found[:, column], drawn[:, column])
    out["pose_rms_deg"] = float(np.sqrt(np.mean((found[:, PITCH:] - drawn[:, PITCH:]).std(axis=0) ** 2)))
    seen, made = blinks(sliders), blinks(sliders_drawn)
    out["blinks_drawn"], out["blinks_found"] = len(made), len(seen)
    out["blinks_matched"] = int(sum(np.abs(seen - blink).min(initial=99) <= NEAR_FRAMES for blink in made))
    return out


def blinks(sliders: Floats) -> NDArray[np.int64]:
    """Frames at which both lids together pass half closure."""
    lids = sliders[:, [SLIDER_INDEX["blink_left"], SLIDER_INDEX["blink_right"]]].mean(axis=1)
    begins: NDArray[np.int64] = np.flatnonzero((lids[1:] > SHUT) & (lids[:-1] <= SHUT)) + 1
    return begins


def main() -> None:
    """Compare all clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    args = parser.parse_args()
    results = []
    for record in read_manifest(args.shards).records:
        drawn = np.load(args.truth / f"{Path(record.source).stem}.npz")["rows"]
        arrays = load_file(shard_path(args.shards, "motion", record.key))
        for clip in record.clips:
            found = arrays[f"{clip.name}.rows"]
            begin = clip.first_frame + (max(clip.facts.lag_frames, 0) if abs(clip.facts.lag_frames) > 1 else 0)
            n_frames = min(len(found), len(drawn) - begin)
            results.append(compare(found[:n_frames], drawn[begin : begin + n_frames]))
            print(record.source, {name: round(value, 3) for name, value in results[-1].items()}, flush=True)
    means: dict[str, float] = {}
    for name in sorted({name for result in results for name in result}):
        values = [result[name] for result in results if name in result]
        means[name] = round(float(np.sum(values) if name.startswith("blinks") else np.mean(values)), 3)
    print(json.dumps({"clips": len(results), **means}))


if __name__ == "__main__":
    main()
