"""The synthetic speech corpus: a seeded generator of shards, and their reader.

A shard is two files, ``NAME.pcm`` (raw little-endian int16 mono 16 kHz, utterances one after another) and
``NAME.jsonl`` (one utterance per line, see ``Utterance``); it is complete once the second exists. Every
shard is made by a process of its own (espeak carries a little timing from one utterance to the next), so equal seeds
give equal shards with equal versions of the engines. Audio is never committed: it is generated where it is needed.

    python -m training.corpus --jobs 2        # .cache/corpus: 96 training shards, 10 slow ones, 3 held out
"""

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.timeline import SAMPLE_RATE
from training.espeak import Espeak, EspeakVoice, Speech
from training.festvox import festival, flite
from training.labels import Phone, Segment, give_lips_their_closure, segments_of
from training.texts import TextSource, draw_text, load_texts

log = logging.getLogger(__name__)

HELD_VARIANTS = ("Michael", "Alicia", "belinda", "quincy", "klatt3", "m5", "f4", "victor")
VARIANTS = (
    "Alex", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Lee", "Marco",
    "Mario", "Mike", "Mr", "Nguyen", "RicishayMax", "RicishayMax2", "RicishayMax3", "adam", "anika", "antonio", "aunty",
    "benjamin", "boris", "caleb", "david", "ed", "edward", "edward2", "f1", "f2", "f3", "f5", "grandma", "grandpa",
    "gustave", "iven", "iven2", "iven3", "iven4", "john", "kaukovalta", "klatt", "klatt2", "klatt4", "klatt5", "klatt6",
    "linda", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul",
    "pedro", "rob", "robert", "sandro", "serious", "shelby", "steph", "steph2", "steph3", "travis", "zac",
)  # fmt: skip
ENGLISH = ("en-us", "en", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
OTHERS = (
    "es", "it", "de", "fr", "nl", "sv", "pl", "pt-br", "fi", "cs", "ro", "hu", "da", "nb", "tr", "ca", "et", "lt", "sk",
    "hr", "is", "cy", "id", "sw", "eu", "sq", "af", "la",
)  # fmt: skip
P_OTHER_LANGUAGE = 0.25
P_PLAIN_VOICE = 0.15

SHARD_S = 300.0
TRAIN_SHARE = {
    "espeak": 0.54, "rms": 0.15, "slt": 0.13, "kal16": 0.07, "kal_diphone": 0.05, "cmu_us_slt_arctic_hts": 0.06,
}  # fmt: skip
FESTIVAL_VOICES = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")
SLOW_SHARE = {"espeak": 0.50, "rms": 0.22, "slt": 0.18, "kal16": 0.10}
HELD_SHARE = {"espeak": 0.40, "awb": 0.40, "ked_diphone": 0.20}
SHARE = {"train": TRAIN_SHARE, "slow": SLOW_SHARE, "held": HELD_SHARE}
FILE_NAME = {"train": "shard", "slow": "slow", "held": "held"}
SEED_BASE = {"train": 0, "slow": 30_000, "held": 50_000}


@dataclass(frozen=True)
class Utterance:
    """One piece of speech with what was said when.

    Attributes:
        id: unique in the corpus.
        engine: espeak, flite or festival.
        voice: the engine's voice.
        split: train, or held (voices that training never hears).
        text: what was said.
        seed: of this utterance's draws.
        pcm: (N,) int16 at 16 kHz.
        segments: contiguous visemes from 0 to the end.
    """

    id: str
    engine: str
    voice: str
    split: str
    text: str
    seed: int
    pcm: NDArray[np.int16]
    segments: list[Segment]


@dataclass(frozen=True)
class Delivery:
    """Ranges that an utterance's rate and pitch are drawn from: espeak's own units, flite's factors.

    People hold vowels longer than machines read them, so some shards are slow.
    """

    rate_wpm: tuple[int, int]
    pitch: tuple[int, int]
    pitch_range: tuple[int, int]
    stretch: tuple[float, float]
    shift: tuple[float, float]


DELIVERY = {
    "train": Delivery((120, 241), (5, 96), (10, 96), (0.75, 1.35), (0.72, 1.4)),
    "slow": Delivery((80, 121), (5, 96), (10, 96), (1.35, 2.3), (0.72, 1.4)),
    "held": Delivery((130, 231), (15, 86), (20, 91), (0.8, 1.25), (0.85, 1.2)),
}

Speaker = Callable[[Sequence[str]], list[Speech]]


def read_corpus(folder: Path, split: str | None = None) -> list[Utterance]:
    """All complete shards of a folder, in name order; the sound stays on disk until used."""
    return [u for path in sorted(folder.glob("*.jsonl")) for u in read_shard(path, split)]


def read_shard(path: Path, split: str | None = None) -> Iterator[Utterance]:
    """The utterances of one shard, ``path`` being its .jsonl."""
    sound = np.memmap(path.with_suffix(".pcm"), dtype="<i2", mode="r")
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if split not in (None, row["split"]):
            continue
        segments = [Segment(a, b, n, tuple((v, w) for v, w in t), k, c) for a, b, n, t, k, c in row["segments"]]
        pcm = sound[row["offset"] : row["offset"] + row["n_samples"]]
        yield Utterance(row["id"], row["engine"], row["voice"], row["split"], row["text"], row["seed"], pcm, segments)


def write_shard(folder: Path, name: str, utterances: Sequence[Utterance]) -> None:
    """Write both files, the index last, each renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    offset = 0
    for u in utterances:
        row = {k: v for k, v in asdict(u).items() if k not in ("pcm", "segments")}
        row |= {"offset": offset, "n_samples": len(u.pcm)}
        row["segments"] = [[round(s.start_s, 5), round(s.end_s, 5), s.phone, s.targets, s.k, s.cls] for s in u.segments]
        lines.append(json.dumps(row, ensure_ascii=False))
        offset += len(u.pcm)
    sound = np.concatenate([u.pcm for u in utterances]).astype("<i2")
    for suffix, data in ((".pcm", sound.tobytes()), (".jsonl", ("\n".join(lines) + "\n").encode())):
        part = folder / f"{name}{suffix}.part"
        part.write_bytes(data)
        part.rename(folder / f"{name}{suffix}")


def make_shard(kind: str, seed: int, espeak: Espeak, texts: TextSource, shard_s: float = SHARD_S) -> list[Utterance]:
    """Generate one shard of a kind (train, slow, held): every voice speaks its share, then all are shuffled."""
    out: list[Utterance] = []
    for number, (voice, part) in enumerate(SHARE[kind].items()):
        spoken_s, index = 0.0, 0
        while spoken_s < part * shard_s:
            rng = np.random.default_rng([seed, number, index])
            u = _make_utterance(voice, kind, seed, f"{kind}-{seed:05d}-{voice}-{index:04d}", rng, espeak, texts)
            out.append(u)
            spoken_s += len(u.pcm) / SAMPLE_RATE
            index += 1
    order = np.random.default_rng(seed).permutation(len(out))
    return [out[i] for i in order]


def join(spoken: Sequence[Speech], rng: np.random.Generator) -> tuple[NDArray[np.int16], list[Phone]]:
    """Sentences with silence before, between and after; levels differ between utterances."""
    pieces: list[NDArray[np.float32]] = []
    phones: list[Phone] = []
    at = 0

    def add_silence(low_s: float, high_s: float) -> None:
        nonlocal at
        n = int(rng.uniform(low_s, high_s) * SAMPLE_RATE)
        pieces.append(np.zeros(n, np.float32))
        phones.append(Phone("", at / SAMPLE_RATE, (at + n) / SAMPLE_RATE))
        at += n

    for i, speech in enumerate(spoken):
        add_silence(*((0.1, 1.0) if i == 0 else (0.1, 1.3)))
        start_s, end_s = at / SAMPLE_RATE, (at + len(speech.wave)) / SAMPLE_RATE
        for phone in speech.phones:
            a, b = start_s + phone.start_s, min(end_s, start_s + phone.end_s)
            if b > a:
                phones.append(Phone(phone.name, a, b))
        pieces.append(speech.wave)
        at += len(speech.wave)
        if phones[-1].end_s < end_s:
            phones.append(Phone("", phones[-1].end_s, end_s))
    add_silence(0.1, 1.0)
    wave = np.concatenate(pieces)
    peak = float(np.abs(wave).max(initial=0.0))
    wave = wave * (rng.uniform(0.3, 0.9) / max(peak, 1e-3))
    return np.round(wave * 32767.0).astype(np.int16), phones


def _make_utterance(
    voice: str, kind: str, seed: int, name: str, rng: np.random.Generator, espeak: Espeak, texts: TextSource
) -> Utterance:
    n_sentences = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.20]))
    said = [draw_text(texts, rng) for _ in range(n_sentences)]
    engine, spoken_by, speak = _speaker(voice, kind, rng, espeak)
    pcm, phones = join(speak(said), rng)
    segments = give_lips_their_closure(segments_of(_merge_silences(phones)))
    split = "held" if kind == "held" else "train"
    return Utterance(name, engine, spoken_by, split, " ".join(said), seed, pcm, segments)


def _speaker(voice: str, kind: str, rng: np.random.Generator, espeak: Espeak) -> tuple[str, str, Speaker]:
    """Engine name, voice name and the function that speaks, with this utterance's rate and pitch."""
    ranges = DELIVERY[kind]
    if voice == "espeak":
        name = _espeak_voice(kind, rng)
        drawn = EspeakVoice(
            name, *(int(rng.integers(*span)) for span in (ranges.rate_wpm, ranges.pitch, ranges.pitch_range))
        )
        return "espeak", drawn.name, lambda said: [espeak.speak(text, drawn) for text in said]
    if voice in FESTIVAL_VOICES:
        return "festival", voice, lambda said: festival(said, voice)
    stretch, shift = float(rng.uniform(*ranges.stretch)), float(rng.uniform(*ranges.shift))
    return "flite", voice, lambda said: [flite(text, voice, stretch, shift) for text in said]


def _espeak_voice(kind: str, rng: np.random.Generator) -> str:
    pool = HELD_VARIANTS if kind == "held" else VARIANTS
    is_foreign = kind != "held" and rng.random() < P_OTHER_LANGUAGE
    language = str(rng.choice(OTHERS)) if is_foreign else str(rng.choice(ENGLISH))
    if kind != "held" and rng.random() < P_PLAIN_VOICE:
        return language
    return f"{language}+{rng.choice(pool)}"


def _merge_silences(phones: Sequence[Phone]) -> list[Phone]:
    out: list[Phone] = []
    for phone in phones:
        if out and not phone.name and not out[-1].name:
            out[-1] = Phone("", out[-1].start_s, phone.end_s)
        else:
            out.append(phone)
    return out


def missing_shards(folder: Path, counts: dict[str, int], seed: int) -> list[tuple[str, int, Path]]:
    """Kind, seed and index file of every shard that is not complete; ``counts`` is wanted shards by kind, in order."""
    shards = [
        (kind, seed * 100_000 + SEED_BASE[kind] + i, folder / f"{FILE_NAME[kind]}-{i:05d}.jsonl")
        for kind, count in counts.items()
        for i in range(count)
    ]
    return [shard for shard in shards if not shard[2].exists()]


def _generate(shard: tuple[str, int, Path], texts: TextSource) -> tuple[str, float]:
    """Make and write one shard in a process that has not spoken before; returns its name and the seconds taken."""
    kind, seed, index_path = shard
    started = time.perf_counter()
    write_shard(index_path.parent, index_path.stem, make_shard(kind, seed, Espeak(), texts))
    return index_path.stem, time.perf_counter() - started


def main() -> None:
    """Generate the shards that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--train-shards", type=int, default=96, help="of 5 minutes each")
    parser.add_argument("--slow-shards", type=int, default=10, help="for training too, in slow speech")
    parser.add_argument("--held-shards", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="shards made at the same time")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    counts = {"held": args.held_shards, "train": args.train_shards, "slow": args.slow_shards}
    missing = missing_shards(args.out, counts, args.seed)
    generate = partial(_generate, texts=load_texts())
    with get_context("fork").Pool(args.jobs, maxtasksperchild=1) as pool:
        for name, seconds in pool.imap_unordered(generate, missing):
            log.info("%s written in %.1f s", name, seconds)


if __name__ == "__main__":
    main()
