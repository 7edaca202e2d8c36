"""Talking videos whose motion is known: what the pipeline is checked with, and a small set to try fine-tuning on.

    python -m training.video.selfmade --portraits A.jpg B.jpg --corpus .cache/corpus --out FOLDER --clips 12

Utterances of the corpus' held-out voices are spoken by portraits that our own renderer moves. The motion follows the
rules of ``training/motion_targets.py`` in a manner of its own (`MANNER`), the same in all clips, so that a model that
has learnt from them can be told from one that has not. Beside the folder's ``train/`` and ``held/`` videos, which
differ in portrait and voices, ``truth/NAME.npz`` holds the rows at 25 fps. Every other video runs at 30 fps, and the
sound of every third begins later than its pictures.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from services.audio_encoder.loudness import loudness
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from shared.media.portrait import decode_portrait
from shared.motion import PYR, SLIDER_INDEX, SLIDERS, T
from shared.timeline import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from training.corpus import Utterance, read_corpus
from training.crops import speech_gain
from training.head_motion import add_head_and_eyes
from training.labels import Segment
from training.motion_targets import lip_sliders

Frames = NDArray[np.uint8]
Floats = NDArray[np.float32]

MANNER = {"jaw_open": 1.2, "lip_wide": 1.3, "smile": 1.5, "lip_pucker": 1.2}  # factors on the rules' sliders
MANNER_POSE = 1.2
CRF = "17"
LATE_SOUND_S = 0.2


@dataclass(frozen=True)
class Script:
    """One clip to make: its name, speech with labels, portrait, frames per second, start of the sound."""

    name: str
    utterances: tuple[Utterance, ...]
    portrait: Path
    fps: int
    sound_at_s: float


def scripts(utterances: Sequence[Utterance], portraits: Sequence[Path], n_clips: int, clip_s: float) -> list[Script]:
    """Cast the clips: a quarter held out, with the last portrait and with voices that no training clip has."""
    voices = sorted({u.voice for u in utterances})
    held_voices = set(voices[::3])
    n_held = max(1, n_clips // 4)
    out = []
    for is_held, count in ((False, n_clips - n_held), (True, n_held)):
        engines: dict[str, list[Utterance]] = {}
        for u in utterances:
            if (u.voice in held_voices) == is_held:
                engines.setdefault(u.engine, []).append(u)
        queues = [iter(said) for _, said in sorted(engines.items())]
        faces = portraits[-1:] if is_held else portraits[:-1] or portraits
        for index in range(count):
            said = tuple(_take(queues[index % len(queues)], clip_s))
            number = index + (n_clips if is_held else 0)
            name = f"{'held' if is_held else 'train'}/clip{number:02d}"
            late = LATE_SOUND_S if number % 3 == 2 else 0.0
            if said:
                out.append(Script(name, said, faces[index % len(faces)], FPS if number % 2 == 0 else 30, late))
    return out


def speech_of(script: Script) -> tuple[NDArray[np.int16], list[Segment]]:
    """Sound of all utterances at one loudness, and their labels, after the silence before the sound begins."""
    lead = round(script.sound_at_s * SAMPLE_RATE)
    pieces, segments = [np.zeros(lead, np.int16)], []
    if lead:
        segments.append(Segment(0.0, script.sound_at_s, "", (("sil", 1.0),), 1.0, 0))
    at = lead
    for u in script.utterances:
        scaled = u.pcm.astype(np.float32) * (speech_gain(u.pcm) * 0.5)
        pieces.append(np.clip(scaled, -32768, 32767).astype(np.int16))
        shift = at / SAMPLE_RATE
        segments += [Segment(s.start_s + shift, s.end_s + shift, s.phone, s.targets, s.k, s.cls) for s in u.segments]
        at += len(u.pcm)
    return np.concatenate(pieces), segments


def motion_of(pcm: NDArray[np.int16], segments: Sequence[Segment], seed: int) -> Floats:
    """Rows of a clip at 25 fps, by the rules in our manner: (N, 70)."""
    n_frames = -(-len(pcm) // SAMPLES_PER_FRAME)
    wave = np.zeros(n_frames * SAMPLES_PER_FRAME, np.float32)
    wave[: len(pcm)] = pcm.astype(np.float32) / 32768.0
    level = loudness(wave, speech_gain(pcm))
    factors = np.ones(len(SLIDERS), np.float32)
    for name, factor in MANNER.items():
        factors[SLIDER_INDEX[name]] = factor
    end_s = segments[-1].end_s
    rest = Segment(end_s, max(end_s + 1.0, n_frames / FPS), "", (("sil", 1.0),), 1.0, 0)
    lips = lip_sliders([*segments, rest], level) * factors
    rows = add_head_and_eyes(lips, level, np.random.default_rng(seed)).rows
    rows[:, PYR] *= MANNER_POSE
    rows[:, T] *= MANNER_POSE
    return rows


def at_rate(rows: Floats, fps: int) -> Floats:
    """Rows of 25 fps at another rate, linear; frame j shows the time j / fps."""
    n_frames = (len(rows) - 1) * fps // FPS + 1
    place = np.arange(n_frames) * (FPS / fps)
    low = np.minimum(place.astype(np.int64), len(rows) - 2)
    share = (place - low)[:, None]
    mixed: Floats = ((1 - share) * rows[low] + share * rows[low + 1]).astype(np.float32)
    return mixed


def write_video(path: Path, frames: Iterator[Frames], fps: int, pcm: NDArray[np.int16], sound_at_s: float = 0.0) -> int:
    """H.264 and AAC in an mp4; the first sample of the sound is heard at ``sound_at_s``. Returns the frames written.

    Args:
        path: file to write.
        frames: (H, W, 3) uint8 RGB of equal, even sizes.
        fps: of the pictures.
        pcm: (n,) int16 mono 16 kHz; what lies before ``sound_at_s`` is left out.
        sound_at_s: start of the sound track.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    first = next(frames)
    n_written = 0
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=fps, options={"crf": CRF, "preset": "veryfast", "threads": "1"})
        picture.height, picture.width, picture.pix_fmt = first.shape[0], first.shape[1], "yuv420p"
        sound = out.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for image in itertools.chain([first], frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = n_written, Fraction(1, fps)
            out.mux(picture.encode(frame))
            n_written += 1
        out.mux(picture.encode(None))
        begin = round(sound_at_s * SAMPLE_RATE)
        block = av.AudioFrame.from_ndarray(pcm[None, begin:], format="s16", layout="mono")
        block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, begin, Fraction(1, SAMPLE_RATE)
        out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    return n_written


def _take(utterances: Iterator[Utterance], clip_s: float) -> Iterator[Utterance]:
    said_s = 0.0
    while said_s < clip_s:
        utterance = next(utterances, None)
        if utterance is None:
            return
        said_s += len(utterance.pcm) / SAMPLE_RATE
        yield utterance


def main() -> None:
    """Make the clips that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="+", required=True, help="photos; the last one is held out")
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=16.0, help="a clip ends with the sentence that passes this")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    puppets = {path: Puppet(prepare(decode_portrait(path.read_bytes()))) for path in args.portraits}
    total_s = 0.0
    for index, script in enumerate(scripts(read_corpus(args.corpus, "held"), args.portraits, args.clips, args.seconds)):
        path = args.out / "videos" / f"{script.name}.mp4"
        truth = args.out / "truth" / f"{path.stem}.npz"
        pcm, segments = speech_of(script)
        total_s += len(pcm) / SAMPLE_RATE
        if truth.exists():
            continue
        rows = motion_of(pcm, segments, index)
        part = path.with_name(f"part-{path.name}")
        write_video(
            part, puppets[script.portrait].frames(at_rate(rows, script.fps)), script.fps, pcm, script.sound_at_s
        )
        part.rename(path)
        truth.parent.mkdir(parents=True, exist_ok=True)
        voices = ",".join(u.voice for u in script.utterances)
        np.savez(truth, rows=rows, pcm=pcm, voices=voices, portrait=script.portrait.name, fps=script.fps)
        print(path, len(rows), voices, flush=True)
    print(json.dumps({"folder": str(args.out), "seconds": round(total_s, 1)}))


if __name__ == "__main__":
    main()
