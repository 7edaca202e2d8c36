"""Draw what the model does with a recording: lip opening by DiT and by rules over the spectrogram, pose.

python -m training.look speech.flac --out look.png [--begin 0 --end 8] [--format g722]
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import find_peaks

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint
from services.motion_dit.generator import MotionGenerator
from shared.motion import EXP, PYR, SLIDER_INDEX, lip_opening, sliders_from_exp
from shared.timeline import FPS, SAMPLE_RATE, Geometry
from training.baseline import baseline_motion, read_speech
from training.corpus import Utterance
from training.evaluate import clip_features, generate
from training.features import encoder_of
from training.train_dit import averaged_model

mpl.use("Agg")
FloatArray = NDArray[np.float32]


def motion_of_recording(generator: MotionGenerator, pcm: NDArray[np.int16], encoder_run: Path, seed: int) -> FloatArray:
    """Motion of a recording by the DiT, windows as served: (N, 70)."""
    encode, field = encoder_of(encoder_run)
    utterance = Utterance("recording", "", "", "held", "", seed, pcm, [])
    features = clip_features(utterance, encode, field, Geometry())
    return generate(generator, features, -(-len(pcm) // 640), seed)


def draw(pcm: NDArray[np.int16], dit: FloatArray, rules: FloatArray, span_s: tuple[float, float], out: Path) -> None:
    """Write the picture."""
    import matplotlib.pyplot as plt

    times = (np.arange(len(dit)) + 0.5) / FPS
    figure, (top, lids, pose) = plt.subplots(3, 1, figsize=(20, 11), sharex=True, height_ratios=(3, 1, 1))
    top.specgram(pcm.astype(float) + 1e-3, NFFT=512, Fs=SAMPLE_RATE, noverlap=384, cmap="Greys", vmin=-20, vmax=50)
    twin = top.twinx()
    twin.plot(times, lip_opening(rules[:, EXP]), "C0-", lw=1.5, label="rules")
    twin.plot(times, lip_opening(dit[:, EXP]), "C3.-", lw=2, label="DiT")
    twin.set_ylim(0, 0.8)
    twin.legend(loc="upper right")
    sliders = sliders_from_exp(dit[:, EXP])
    for name in ("blink_left", "lip_press", "lip_pucker", "lip_wide", "gaze_x"):
        lids.plot(times, sliders[:, SLIDER_INDEX[name]], label=name)
    for axis, name in enumerate(("pitch", "yaw", "roll")):
        pose.plot(times, dit[:, PYR][:, axis], label=name)
    for axes in (lids, pose):
        axes.legend(loc="upper right")
        for border in range(0, len(dit), 65):
            axes.axvline(border / FPS, color="k", lw=0.4)
    pose.set_xlim(*span_s)
    figure.tight_layout()
    figure.savefig(out, dpi=60)
    plt.close(figure)


def figures(rows: FloatArray) -> dict[str, float]:
    """Lip statistics without labels; an opening is a peak that stands out by 15 % of the 95th percentile."""
    opening = lip_opening(rows[:, EXP])
    p95 = float(np.quantile(opening, 0.95))
    peaks, _ = find_peaks(opening, prominence=max(1e-6, 0.15 * p95))
    values = {
        "opening_p50": float(np.median(opening)),
        "opening_p75": float(np.quantile(opening, 0.75)),
        "opening_p95": p95,
        "closed_share": float(np.mean(opening < 0.02)),
        "openings_per_s": len(peaks) * FPS / len(opening),
        "speed_rms": float(np.sqrt(np.mean(np.diff(opening) ** 2)) * FPS),
    }
    return {name: round(value, 4) for name, value in values.items()}


def _correlation(one: FloatArray, other: FloatArray) -> float:
    return round(float(np.corrcoef(lip_opening(one[:, EXP]), lip_opening(other[:, EXP]))[0, 1]), 4)


def main() -> None:
    """Draw one recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format")
    parser.add_argument("--begin", type=float, default=0.0)
    parser.add_argument("--end", type=float, default=8.0)
    parser.add_argument("--encoder", type=Path, default=Path(".cache/encoder"))
    parser.add_argument("--run", type=Path, help="last.pt of a training run instead of the shipped weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = MotionGenerator(averaged_model(args.run) if args.run else load_checkpoint(EMBEDDED))
    pcm = read_speech(args.speech, args.format)
    dit = motion_of_recording(generator, pcm, args.encoder, seed=1)
    rules = baseline_motion(pcm, args.encoder, seed=1).rows
    draw(pcm, dit, rules, (args.begin, args.end), args.out)
    print(json.dumps({"dit": figures(dit), "rules": figures(rules), "correlation": _correlation(dit, rules)}))


if __name__ == "__main__":
    main()
