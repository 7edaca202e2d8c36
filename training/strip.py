"""A picture that shows the sync: spectrogram and phones, commanded lip opening, lids, head, and the frames themselves.

    python -m training.strip --utterance held-150000-awb-0008 --out docs/lip_sync.png
    python -m training.strip --speech speech.flac --begin 2 --end 6 --out strip.png

The phones come from the engine that spoke, so they are exact; a recording has none. Frames are drawn by the shipped
renderer, and the lip gap is found again on them by a face tracker that knows nothing of the command.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import find_peaks

from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from shared.errors import InputError
from shared.media.audio import decode_speech
from shared.media.portrait import decode_portrait
from shared.motion import EXP, PYR, SLIDER_INDEX, lip_opening, sliders_from_exp
from shared.timeline import FPS, SAMPLE_RATE
from training.corpus import read_corpus
from training.evaluate.served import load_system, motion_of_speech
from training.labels import Segment
from training.landmarks import lip_aperture, track

mpl.use("Agg")
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Box = tuple[slice, slice]  # rows, columns

LONGEST_S = 600.0
WIDTH_IN, HEIGHT_IN, DPI = 18.0, 10.0, 100
HIGHEST_HZ = 6000
BILABIAL, LABIODENTAL = "PP", "FF"
SHADES = {BILABIAL: "#f4b6b6", LABIODENTAL: "#f6e2b3"}
SLIDERS = ("blink_left", "brow_raise", "brow_frown", "smile")
POSE_NAMES = ("pitch", "yaw", "roll")
POSE_DEGREES = 10.0  # drawn as 1
FACE_HALVES, MOUTH_HALVES = 0.62, 0.8  # half of a tile: heights of the face, widths of the mouth
CORNERS = (61, 291)
TILE_PX, COLOURS = 160, 256


@dataclass(frozen=True)
class Clip:
    """What is drawn.

    Attributes:
        title: above the picture.
        pcm: (n,) int16 at 16 kHz.
        segments: phones in time; none for a recording.
    """

    title: str
    pcm: NDArray[np.int16]
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Drawn:
    """Motion and pictures of a clip.

    Attributes:
        rows: (N, 70) motion.
        frames: (N, h, w, 3) uint8 RGB.
        face: rows and columns of the face in a frame.
        mouth: those of the mouth.
        aperture: (N,) gap of the lips found on the frames, face widths.
    """

    rows: Floats
    frames: Bytes
    face: Box
    mouth: Box
    aperture: Floats


def moments(opening: Floats, closures: Sequence[int], n_wanted: int) -> list[int]:
    """Frames worth showing: one of every equal stretch of the clip, a closure or the widest opening by turns.

    Args:
        opening: (N,) commanded opening.
        closures: frames in which p, b or m are spoken.
        n_wanted: how many.

    Returns:
        Ascending, at most ``n_wanted``.
    """
    peaks, _ = find_peaks(np.pad(opening, 1), prominence=0.05)
    open_ones = set((peaks - 1).tolist())
    picked: list[int] = []
    edges = np.linspace(0, len(opening), n_wanted + 1).astype(int)
    for begin, end in pairwise(edges.tolist()):
        here = range(begin, end)
        shut = [frame for frame in closures if frame in here and (not picked or frame > picked[-1] + 1)]
        wide = [frame for frame in open_ones if frame in here and (not picked or frame > picked[-1] + 1)]
        was_shut = bool(picked) and any(abs(frame - picked[-1]) <= 1 for frame in closures)
        if shut and (not was_shut or not wide):
            picked.append(shut[0])
        elif wide:
            picked.append(max(wide, key=lambda frame: float(opening[frame])))
        else:
            picked.append((begin + end) // 2)
    return picked


def closure_frames(segments: Sequence[Segment], opening: Floats) -> list[int]:
    """The frame of the narrowest lips in each p, b and m."""
    frames = []
    for segment in segments:
        if segment.targets[0][0] == BILABIAL:
            first, last = int(segment.start_s * FPS), min(len(opening) - 1, int(segment.end_s * FPS))
            frames.append(first + int(np.argmin(opening[first : last + 1])))
    return frames


def draw_clip(clip: Clip, portrait: Path, motion: Path | None, encoder: Path | None) -> Drawn:
    """Speech to motion as the services make it, motion to frames, frames to the gap that is seen.

    Raises:
        InputError: a file cannot be used; see the functions called.
    """
    rows = motion_of_speech(load_system(encoder, motion), clip.pcm, seed=7)
    appearance = prepare(decode_portrait(portrait.read_bytes()))
    puppet = Puppet(appearance)
    frames = np.stack(list(puppet.frames(rows)))
    points = appearance.landmarks[:, :2]
    mouth_px = float(np.linalg.norm(points[CORNERS[0]] - points[CORNERS[1]]))
    face = _square(points.mean(axis=0), FACE_HALVES * float(np.ptp(points, axis=0).max()), frames.shape[1])
    mouth = _square(
        points[list(CORNERS)].mean(axis=0) + np.array([0, 0.15 * mouth_px]), MOUTH_HALVES * mouth_px, frames.shape[1]
    )
    return Drawn(rows, frames, face, mouth, lip_aperture(track(frames)))


def draw(clip: Clip, drawn: Drawn, span_s: tuple[float, float], n_moments: int, out: Path) -> None:
    """Write the picture.

    Args:
        clip: sound and phones.
        drawn: its motion and frames.
        span_s: what part of it.
        n_moments: how many frames stand below.
        out: PNG.
    """
    import matplotlib.pyplot as plt

    first, last = round(span_s[0] * FPS), min(round(span_s[1] * FPS), len(drawn.rows))
    opening = lip_opening(drawn.rows[:, EXP])
    closures = [frame - first for frame in closure_frames(clip.segments, opening) if first <= frame < last]
    shown = [first + frame for frame in moments(opening[first:last], closures, n_moments)]
    figure = plt.figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI)
    curves = figure.add_gridspec(
        3, 1, height_ratios=(2.4, 2.6, 1.3), hspace=0.08, left=0.05, right=0.95, top=0.91, bottom=0.32
    )
    tiles = figure.add_gridspec(2, n_moments, hspace=0.02, wspace=0.04, left=0.02, right=0.98, top=0.265, bottom=0.01)
    sound, lips, rest = (figure.add_subplot(curves[row]) for row in range(3))
    _draw_sound(sound, clip, span_s)
    _draw_lips(lips, clip, opening, drawn.aperture)
    _draw_rest(rest, drawn.rows)
    for axes in (sound, lips, rest):
        axes.set_xlim(span_s[0], min(span_s[1], last / FPS))
    for column, frame in enumerate(shown):
        pair = [figure.add_subplot(tiles[row, column]) for row in range(2)]
        _draw_frame(pair, drawn, frame)
        _join(figure, (lips, rest, pair[0]), frame, float(opening[frame]))
    figure.suptitle(clip.title, fontsize=15)
    figure.savefig(out)
    plt.close(figure)
    with Image.open(out) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


def _draw_sound(axes: Any, clip: Clip, span_s: tuple[float, float]) -> None:
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, len(clip.pcm))  # digital silence has no logarithm
    axes.specgram(
        clip.pcm + dither, NFFT=400, pad_to=1024, Fs=SAMPLE_RATE, noverlap=300, cmap="Greys", vmin=-15, vmax=45
    )
    axes.set_ylim(0, HIGHEST_HZ)
    axes.set_ylabel("Hz")
    axes.tick_params(labelbottom=False)
    # A diphthong is two segments of one phone.
    for phone, group in groupby(clip.segments, key=lambda segment: segment.phone):
        parts = list(group)
        middle = (parts[0].start_s + parts[-1].end_s) / 2
        if phone and span_s[0] < middle < span_s[1]:
            shade = SHADES.get(parts[0].targets[0][0])
            box = {"boxstyle": "round,pad=0.15", "facecolor": shade, "edgecolor": "none"} if shade else None
            axes.text(middle, 1.03 * HIGHEST_HZ, phone, ha="center", fontsize=12, bbox=box)
            axes.axvline(parts[0].start_s, color="k", lw=0.3, alpha=0.4)


def _draw_lips(axes: Any, clip: Clip, opening: Floats, aperture: Floats) -> None:
    for segment in clip.segments:
        shade = SHADES.get(segment.targets[0][0])
        if shade:
            axes.axvspan(segment.start_s, segment.end_s, color=shade, lw=0)
    times = (np.arange(len(opening)) + 0.5) / FPS
    axes.fill_between(times, opening, color="C0", alpha=0.25, lw=0)
    axes.plot(times, opening, "C0.-", lw=1.8, ms=5, label="commanded lip opening (mouth widths)")
    seen = axes.twinx()
    seen.plot(times, aperture, "C3-", lw=1.2, label="gap seen on the drawn frames (face widths)")
    axes.set_ylim(0, 1.25 * float(opening.max()))
    seen.set_ylim(0, 1.25 * float(np.nanmax(aperture)))
    lines, more = axes.get_legend_handles_labels(), seen.get_legend_handles_labels()
    axes.legend(lines[0] + more[0], lines[1] + more[1], loc="upper right", fontsize=10, ncols=2)
    axes.tick_params(labelbottom=False)


def _draw_rest(axes: Any, rows: Floats) -> None:
    times = (np.arange(len(rows)) + 0.5) / FPS
    sliders = sliders_from_exp(rows[:, EXP])
    for name in SLIDERS:
        axes.plot(times, sliders[:, SLIDER_INDEX[name]], lw=1.2, label=name.replace("_left", "").replace("_", " "))
    for axis, name in enumerate(POSE_NAMES):
        axes.plot(times, rows[:, PYR][:, axis] / POSE_DEGREES, "--", lw=1.0, label=f"{name} / {POSE_DEGREES:g} deg")
    axes.legend(loc="upper right", fontsize=8, ncols=7)
    axes.set_ylim(-0.7, 1.4)
    axes.set_xlabel("seconds", labelpad=0)


def _square(middle: NDArray[Any], half_px: float, side_px: int) -> Box:
    """Rows and columns of a square around (x, y), moved into the frame."""
    size = min(round(2 * half_px), side_px)
    left, top = (int(np.clip(round(float(at) - size / 2), 0, side_px - size)) for at in middle)
    return slice(top, top + size), slice(left, left + size)


def _draw_frame(tiles: Sequence[Any], drawn: Drawn, frame: int) -> None:
    """The face, and below it the mouth."""
    picture = drawn.frames[frame]
    for axes, part in zip(tiles, (drawn.face, drawn.mouth), strict=True):
        axes.imshow(
            cv2.resize(picture[part], (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), interpolation="nearest"
        )
        axes.set_axis_off()
    tiles[1].text(0.03, 0.03, f"{(frame + 0.5) / FPS:.2f}", fontsize=9, color="w", transform=tiles[1].transAxes)


def _join(figure: Any, axes: tuple[Any, Any, Any], frame: int, opening: float) -> None:
    """Lines from the curve through the panel below it to the frame."""
    from matplotlib.patches import ConnectionPatch

    lips, rest, tile = axes
    time_s = (frame + 0.5) / FPS
    style: dict[str, Any] = {"color": "0.35", "lw": 0.8}
    bottom = (time_s, rest.get_ylim()[0])
    figure.add_artist(ConnectionPatch((time_s, opening), bottom, lips.transData, rest.transData, **style))
    figure.add_artist(ConnectionPatch(bottom, (0.5, 1.0), rest.transData, tile.transAxes, **style))
    lips.plot([time_s], [opening], "ko", ms=6)


def _clip_of(args: argparse.Namespace) -> Clip:
    if args.speech:
        return Clip(args.title or args.speech.name, decode_speech(args.speech, LONGEST_S), [])
    for utterance in read_corpus(args.corpus, "held"):
        if utterance.id == args.utterance:
            title = f"“{utterance.text}”   {utterance.engine} {utterance.voice}, a voice that training never hears"
            return Clip(args.title or title, np.asarray(utterance.pcm), utterance.segments)
    raise InputError(f"no utterance {args.utterance} in {args.corpus}; make it with: python -m training.corpus")


def main() -> None:
    """Draw one clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--utterance", help="id of a held-out utterance of the corpus")
    source.add_argument("--speech", type=Path, help="a recording instead")
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--portrait", type=Path, default=Path("gateway/demo/samples/portrait.jpg"))
    parser.add_argument("--motion", type=Path, help="checkpoint in the place of the shipped motion model")
    parser.add_argument("--encoder", type=Path, help="folder of an encoder in the place of the shipped one")
    parser.add_argument("--begin", type=float, default=0.0)
    parser.add_argument("--end", type=float, default=5.0)
    parser.add_argument("--frames", type=int, default=14)
    parser.add_argument("--title")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clip = _clip_of(args)
    draw(clip, draw_clip(clip, args.portrait, args.motion, args.encoder), (args.begin, args.end), args.frames, args.out)


if __name__ == "__main__":
    main()
