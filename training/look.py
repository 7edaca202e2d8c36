"""Draw what the model does with a recording: lip opening over the spectrogram, eyes, pose, window joints.

    python -m training.look speech.flac --out look.png [--begin 0 --end 8] [--format g722] [--rules]

With ``--rules`` the opening by the rules on recognised phones is drawn as well.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

from shared.motion import EXP, PYR, SLIDER_INDEX, lip_opening, sliders_from_exp
from shared.timeline import FPS, SAMPLE_RATE
from training.baseline import baseline_motion, read_speech
from training.encoder_heads import load_with_heads
from training.evaluate.served import load_system, motion_of_speech
from training.evaluate.statistics import closed_share, openings_per_s

mpl.use("Agg")
FloatArray = NDArray[np.float32]


def draw(
    pcm: NDArray[np.int16], motions: dict[str, FloatArray], hop: int, span_s: tuple[float, float], out: Path
) -> None:
    """Write the picture; eyes and pose are those of the first motion."""
    import matplotlib.pyplot as plt

    dit = next(iter(motions.values()))
    times = (np.arange(len(dit)) + 0.5) / FPS
    figure, (top, lids, pose) = plt.subplots(3, 1, figsize=(20, 11), sharex=True, height_ratios=(3, 1, 1))
    top.specgram(pcm.astype(float) + 1e-3, NFFT=512, Fs=SAMPLE_RATE, noverlap=384, cmap="Greys", vmin=-20, vmax=50)
    twin = top.twinx()
    for (name, rows), style in zip(motions.items(), ("C3.-", "C0-"), strict=False):
        twin.plot(times, lip_opening(rows[:, EXP]), style, lw=2, label=name)
    twin.set_ylim(0, 0.8)
    twin.legend(loc="upper right")
    sliders = sliders_from_exp(dit[:, EXP])
    for name in ("blink_left", "lip_press", "lip_pucker", "lip_wide", "gaze_x"):
        lids.plot(times, sliders[:, SLIDER_INDEX[name]], label=name)
    for axis, name in enumerate(("pitch", "yaw", "roll")):
        pose.plot(times, dit[:, PYR][:, axis], label=name)
    for axes in (lids, pose):
        axes.legend(loc="upper right")
        for border in range(0, len(dit), hop):
            axes.axvline(border / FPS, color="k", lw=0.4)
    pose.set_xlim(*span_s)
    figure.tight_layout()
    figure.savefig(out, dpi=60)
    plt.close(figure)


def figures(rows: FloatArray) -> dict[str, float]:
    """Lip statistics without labels: mouth widths, shares, per second."""
    opening = lip_opening(rows[:, EXP])
    values = {
        "opening_p50": float(np.median(opening)),
        "opening_p75": float(np.quantile(opening, 0.75)),
        "opening_p95": float(np.quantile(opening, 0.95)),
        "closed_share": closed_share(opening),
        "openings_per_s": openings_per_s(opening),
        "speed_rms": float(np.sqrt(np.mean(np.diff(opening) ** 2)) * FPS),
    }
    return {name: round(value, 4) for name, value in values.items()}


def main() -> None:
    """Draw one recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format")
    parser.add_argument("--begin", type=float, default=0.0)
    parser.add_argument("--end", type=float, default=8.0)
    parser.add_argument("--rules", action="store_true", help="draw the rules as well")
    parser.add_argument("--encoder", type=Path, help="folder of an audio encoder; default: the shipped one")
    parser.add_argument("--motion", type=Path, help="checkpoint of a motion model; default: the shipped one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    system = load_system(args.encoder, args.motion)
    pcm = read_speech(args.speech, args.format)
    motions = {"DiT": motion_of_speech(system, pcm, seed=1)}
    if args.rules:
        motions["rules"] = baseline_motion(pcm, load_with_heads(args.encoder), seed=1).rows
    draw(pcm, motions, system.geometry.hop, (args.begin, args.end), args.out)
    print(json.dumps({name: figures(rows) for name, rows in motions.items()}))


if __name__ == "__main__":
    main()
