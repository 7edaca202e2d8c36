"""Sound features of training windows, computed exactly as they will be served: one encoder call per window.

    python -m training.features --encoder .cache/encoder --out .cache/motion

Every utterance is cut by the served plan (phase 0, which holds the window-0 case) and again from random offsets. The
sound is lightly changed (level, filters, a little noise, music under it) but stays silent outside the file, as
when served; some clips have no speech at all (``scenes.py``).
"""

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.audio_encoder.loudness import loudness
from shared.bundles import EMBEDDED
from shared.media.audio import measure_level
from shared.timeline import (
    FEATURE_STRIDE_SAMPLES,
    FEATURES_PER_FRAME,
    SAMPLES_PER_FRAME,
    Geometry,
    Window,
    encoder_span,
    exact_div,
)
from training.augment import Augmentation, augment, spectra_at_length
from training.corpus import Utterance, read_corpus
from training.scenes import idle_clips, under_speech, with_intros
from training.sources import EncoderFacts, Split

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
Pcm = NDArray[np.int16]
Encode = Callable[[FloatArray], FloatArray]  # waves (B, S) -> hidden states (B, 2 * frames, H)

ORIGIN = "origin.json"
HELD_CLIPS = 160
TAIL_FRAMES = 20
P_BACKGROUND, P_INTRO, IDLE_SHARE = 0.25, 0.05, 0.09
LIGHT = Augmentation(
    level_db=3.0,
    eq_db=6.0,
    p_eq=0.5,
    p_low_pass=0.15,
    p_high_pass=0.15,
    p_reverb=0.2,
    reverb_s=(0.08, 0.35),
    p_noise=0.45,
    noise_snr_db=(6.0, 45.0),
    p_babble=0.0,
    p_music=0.05,
    p_mu_law=0.05,
    p_clip=0.03,
)


@dataclass(frozen=True)
class Windows:
    """Features of windows and where they come from.

    Attributes:
        features: (M, context + hop + lookahead, D) float16.
        utterance: (M,) index into the corpus list they were made from.
        first_frame: (M,) first new frame of each window.
    """

    features: NDArray[np.float16]
    utterance: NDArray[np.int64]
    first_frame: NDArray[np.int64]


@dataclass(frozen=True)
class Origin:
    """Where features come from, written beside them: enough to cut the same clips again.

    Attributes:
        corpus: folder of the corpus.
        stride: every n-th training utterance was used.
        n_utterances: how many there were; a corpus that has grown since keeps the order of these.
        seed: of intros, backgrounds and clips without speech.
        lookahead: frames that windows reach beyond their new frames.
        encoder: what made the features.
    """

    corpus: str
    stride: int
    n_utterances: int
    seed: int
    lookahead: int
    encoder: EncoderFacts

    def clips(self, split: Split) -> list[Utterance]:
        """The clips that windows are cut from: speech, some of it after an intro, then clips without speech."""
        utterances = read_corpus(Path(self.corpus), split)
        utterances = utterances[:: self.stride][: self.n_utterances] if split == "train" else utterances[:HELD_CLIPS]
        n_idle = round(IDLE_SHARE / (1.0 - IDLE_SHARE) * len(utterances))
        seed = self.seed + (split == "held")
        return [*with_intros(utterances, P_INTRO, seed), *idle_clips(n_idle, seed)]


def save_origin(origin: Origin, folder: Path) -> None:
    """Write ``origin.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ORIGIN).write_text(json.dumps(asdict(origin), indent=2) + "\n", encoding="utf-8")


def load_origin(folder: Path) -> Origin:
    """Read what `save_origin` wrote."""
    facts = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    return Origin(**{**facts, "encoder": EncoderFacts(**facts["encoder"])})


def plan(n_frames: int, hop: int, offset: int) -> list[int]:
    """First new frames of the windows of a video, the first at ``offset``; the last may begin in the tail."""
    return list(range(offset, n_frames + (TAIL_FRAMES if offset else 0), hop)) or [0]


def window_wave(pcm: Pcm, first_frame: int, geometry: Geometry, receptive_field: int) -> FloatArray:
    """What the encoder hears for a window, at the gain of a job: (S,) float32, zeros outside the file."""
    start, stop = encoder_span(Window(0, first_frame, geometry.hop), geometry, receptive_field)
    wave = np.zeros(stop - start, np.float32)
    first, last = max(0, start), min(len(pcm), stop)
    if last > first:
        wave[first - start : last - start] = pcm[first:last].astype(np.float32) / 32768.0
    return wave * np.float32(measure_level(pcm).gain)


def frame_features(hidden: FloatArray, wave: FloatArray, geometry: Geometry, receptive_field: int) -> FloatArray:
    """Hidden states and sound of a window to feature rows: pair means, loudness, margins cut off.

    Args:
        hidden: (2 * heard frames, H).
        wave: (S,) at the job's gain.
        geometry: of the window.
        receptive_field: samples one hidden state sees.

    Returns:
        (length, H + 1) float32.
    """
    paired = hidden.reshape(-1, FEATURES_PER_FRAME, hidden.shape[-1]).mean(axis=1)
    widen = exact_div(receptive_field, 2) - exact_div(SAMPLES_PER_FRAME, 2 * FEATURES_PER_FRAME)
    loud = loudness(wave[widen : len(wave) - widen], 1.0)
    rows = np.concatenate([paired, loud[:, None]], axis=1)
    return np.ascontiguousarray(rows[geometry.margin : geometry.margin + geometry.length], np.float32)


def compute(
    utterances: Sequence[Utterance],
    encode: Encode,
    receptive_field: int,
    geometry: Geometry,
    rng: np.random.Generator,
    phase: int,
    batch_size: int = 16,
) -> Windows:
    """Features of all windows of a corpus in one phase; phase 0 is the served plan."""
    places: list[tuple[int, int]] = []
    for index, utterance in enumerate(utterances):
        n_frames = -(-len(utterance.pcm) // SAMPLES_PER_FRAME)
        offset = 0 if phase == 0 else int(rng.integers(5, geometry.hop))
        places += [(index, first) for first in plan(n_frames, geometry.hop, offset)]
    heard = [under_speech(u.pcm, rng) if rng.random() < P_BACKGROUND else u.pcm for u in utterances]
    rows: list[NDArray[np.float16]] = []
    for batch in _batches(places, batch_size):
        waves = [window_wave(heard[u], first, geometry, receptive_field) for u, first in batch]
        changed = _augmented(waves, rng)
        hidden = encode(changed)
        rows += [
            frame_features(h, w, geometry, receptive_field).astype(np.float16)
            for h, w in zip(hidden, changed, strict=True)
        ]
        if len(rows) % (64 * batch_size) < batch_size:
            log.info("phase %d: %d of %d windows", phase, len(rows), len(places))
    return Windows(np.stack(rows), np.array([u for u, _ in places]), np.array([f for _, f in places]))


def save_windows(windows: Windows, path: Path) -> None:
    """Write as .npz, renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, features=windows.features, utterance=windows.utterance, first_frame=windows.first_frame)
    part.rename(path)


def load_windows(path: Path) -> Windows:
    """Read what `save_windows` wrote."""
    with np.load(path) as file:
        return Windows(file["features"], file["utterance"], file["first_frame"])


def encoder_of(run: Path | None) -> tuple[Encode, int]:
    """An encoder and its receptive field: the shipped one, one that transformers saved, or a run of train_encoder."""
    if run is None or (run / "config.json").exists():
        return _saved_encoder(run)
    from services.audio_encoder.frontend import receptive_field
    from training.train_encoder import CONFIG, load_run

    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    model = load_run(run).encoder

    @torch.inference_mode()
    def encode(waves: FloatArray) -> FloatArray:
        hidden: FloatArray = model(torch.from_numpy(waves)).last_hidden_state.float().numpy()
        return hidden

    return encode, receptive_field(config["conv_kernel"], config["conv_stride"])


def encoder_facts(run: Path | None) -> EncoderFacts:
    """Name, digest and sizes of an encoder, see `encoder_of`."""
    from services.audio_encoder.checkpoint import EMBEDDED_WEIGHTS

    path = (
        EMBEDDED_WEIGHTS
        if run is None
        else run / ("model.safetensors" if (run / "config.json").exists() else "last.pt")
    )
    encode, field = encoder_of(run)
    width = encode(np.zeros((1, field + FEATURE_STRIDE_SAMPLES), np.float32)).shape[-1]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return EncoderFacts("embedded" if run is None else str(run), digest, width, field)


def _saved_encoder(folder: Path | None) -> tuple[Encode, int]:
    from services.audio_encoder.model import load_encoder

    encoder = load_encoder(folder)

    def encode(waves: FloatArray) -> FloatArray:
        return np.stack([encoder.hidden(wave) for wave in waves])

    return encode, encoder.receptive_field


def _augmented(waves: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
    n_samples = len(waves[0]) + len(waves[0]) % 2
    changed = augment(spectra_at_length(list(waves), n_samples), n_samples, LIGHT, rng)[:, : len(waves[0])]
    for row, wave in zip(changed, waves, strict=True):
        heard = np.flatnonzero(wave)
        if heard.size == 0:
            row[:] = 0.0
        else:
            row[: heard[0]] = 0.0
            row[heard[-1] + 1 :] = 0.0
    return changed


def _batches(places: Sequence[tuple[int, int]], size: int) -> Iterator[Sequence[tuple[int, int]]]:
    for begin in range(0, len(places), size):
        yield places[begin : begin + size]


def main() -> None:
    """Compute the phases asked for, and once the held-out split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path(".cache/corpus"))
    parser.add_argument(
        "--encoder",
        type=Path,
        help="run of train_encoder, or folder with config.json; without: the encoder that ships",
    )
    parser.add_argument("--out", type=Path, default=Path(".cache/motion"))
    parser.add_argument("--phases", type=int, nargs="*", default=[0, 1], help="0 is the served plan")
    parser.add_argument("--stride", type=int, default=1, help="use every n-th training utterance")
    parser.add_argument("--lookahead", type=int, default=EMBEDDED.geometry.lookahead, help="frames")
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    encode, field = encoder_of(args.encoder)
    geometry = replace(EMBEDDED.geometry, lookahead=args.lookahead)
    n_utterances = len(read_corpus(args.corpus, "train")[:: args.stride])
    origin = Origin(str(args.corpus), args.stride, n_utterances, args.seed, args.lookahead, encoder_facts(args.encoder))
    save_origin(origin, args.out)
    began = time.monotonic()
    for phase in args.phases:
        rng = np.random.default_rng([args.seed, phase])
        windows = compute(origin.clips("train"), encode, field, geometry, rng, phase)
        save_windows(windows, args.out / f"train-{phase}.npz")
        log.info("phase %d: %d windows, %.0f s", phase, len(windows.features), time.monotonic() - began)
    if not (args.out / "held-0.npz").exists():
        windows = compute(origin.clips("held"), encode, field, geometry, np.random.default_rng(args.seed), 0)
        save_windows(windows, args.out / "held-0.npz")


if __name__ == "__main__":
    main()
