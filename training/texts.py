"""What the synthetic voices read: sentences, random words and pseudo-words, drawn from a seeded generator.

Sentences come from the text files of Debian's ``fortunes`` packages, or from a short committed list where those are
missing; words from ``wamerican``. Pseudo-words supply the rare bilabial and labiodental contexts. No downloads.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORTUNES = Path("/usr/share/games/fortunes")
WORDS = Path("/usr/share/dict/words")
OWN_SENTENCES = Path(__file__).parent / "data" / "sentences.txt"

MIN_WORDS, MAX_WORDS = 4, 18
P_SENTENCE, P_WORDS = 0.70, 0.15

_ALLOWED = re.compile(r"[A-Za-z ,.'!?;-]+")
_ABBREVIATION = re.compile(r"\b[A-Z]{2,}\b|\b[A-Za-z]\.")
_LIPS = ("p", "b", "m", "f", "v")
_ONSETS = (
    *_LIPS,
    *_LIPS,
    "w",
    "pl",
    "br",
    "fl",
    "t",
    "d",
    "k",
    "g",
    "s",
    "sh",
    "ch",
    "th",
    "n",
    "l",
    "r",
    "y",
    "z",
    "j",
)
_NUCLEI = ("a", "e", "i", "o", "u", "ee", "oo", "ay", "ow", "ar", "or", "er", "oy")
_CODAS = (*[""] * 8, *_LIPS, "n", "t", "d", "k", "s", "l", "sh", "th", "mp", "ng")


@dataclass(frozen=True)
class TextSource:
    """Material to draw from: whole sentences and single words."""

    sentences: tuple[str, ...]
    words: tuple[str, ...]


def load_texts(fortunes: Path = FORTUNES, words: Path = WORDS) -> TextSource:
    """Read the texts of this machine; falls back to the committed sentences and their words."""
    own = tuple(OWN_SENTENCES.read_text(encoding="utf-8").split("\n")[:-1])
    sentences = tuple(_fortune_sentences(fortunes)) or own
    plain = re.compile(r"[a-z]{3,12}")
    listed = words.read_text(encoding="utf-8").split() if words.is_file() else []
    known = tuple(w for w in listed if plain.fullmatch(w))
    return TextSource(sentences, known or tuple(sorted(set(plain.findall(" ".join(own))))))


def draw_text(source: TextSource, rng: np.random.Generator) -> str:
    """One sentence to speak: 70 % real, 15 % random words, 15 % pseudo-words."""
    kind = rng.random()
    if kind < P_SENTENCE:
        return source.sentences[rng.integers(len(source.sentences))]
    n_words = int(rng.integers(3, 10))
    if kind < P_SENTENCE + P_WORDS:
        return " ".join(source.words[rng.integers(len(source.words))] for _ in range(n_words)) + "."
    return " ".join(pseudo_word(rng) for _ in range(n_words)) + "."


def pseudo_word(rng: np.random.Generator) -> str:
    """One to three random syllables, rich in lips: ``bamoof``."""
    parts: list[str] = []
    for _ in range(int(rng.integers(1, 4))):
        parts.extend(str(choice[rng.integers(len(choice))]) for choice in (_ONSETS, _NUCLEI, _CODAS))
    return "".join(parts)


def _fortune_sentences(folder: Path) -> list[str]:
    """Sentences of 4 to 18 plain words from every fortune file, sorted, each once."""
    found: set[str] = set()
    files = sorted(p for p in folder.glob("*") if not p.suffix) if folder.is_dir() else []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for fortune in text.split("\n%\n"):
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(fortune.split())):
                if _is_speakable(sentence):
                    found.add(sentence)
    return sorted(found)


def _is_speakable(sentence: str) -> bool:
    n_words = len(sentence.split())
    return (
        MIN_WORDS <= n_words <= MAX_WORDS and bool(_ALLOWED.fullmatch(sentence)) and not _ABBREVIATION.search(sentence)
    )
