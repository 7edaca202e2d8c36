# ruff: noqa: RUF001  phones are written in IPA letters
from itertools import pairwise

import numpy as np
import pytest

from training.labels import (
    CLASS_OF_VISEME,
    CLASSES,
    OPENNESS,
    Phone,
    frame_classes,
    give_lips_their_closure,
    segments_of,
    shapes_of,
)

TWENTY_TWO = {
    "sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "LL", "HH", "WW", "aa", "ae", "ax", "E", "ih", "iy",
    "oh", "ou", "yy",
}  # fmt: skip


def classes_of(name: str) -> list[str]:
    return [CLASSES[shape.cls] for shape in shapes_of(name)]


def test_every_viseme_has_a_class_and_every_class_a_viseme() -> None:
    assert set(CLASS_OF_VISEME) == TWENTY_TWO
    assert set(CLASS_OF_VISEME.values()) == set(CLASSES)
    assert len(OPENNESS) == len(CLASSES) == 16


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("p", ["PP"]), ("m", ["PP"]), ("v", ["FF"]), ("θ", ["TH"]), ("n", ["DD"]), ("ŋ", ["KK"]), ("tʃ", ["CH"]),
        ("ɑː", ["AA"]), ("iː", ["II"]), ("ʊ", ["UU"]), ("w", ["UU"]), ("ə", ["AX"]), ("h", ["HH"]), ("", ["SIL"]),
        ("aɪ", ["AA", "II"]), ("oʊ", ["OO", "UU"]), ("aɪɚ", ["AA", "II", "RR"]), ("ɚ", ["RR"]), ("tʰ", ["DD"]),
        ("ɑ̃", ["AA"]), ("əl", ["AX", "DD"]), ("pf", ["PP", "FF"]), ("ɝ", ["RR"]), ("ʘ", ["DD"]), ("ø", ["UU"]),
    ],
)  # fmt: skip
def test_phone_names_become_classes(name: str, expected: list[str]) -> None:
    assert classes_of(name) == expected


def test_weights_of_a_mix_sum_to_one() -> None:
    for name in ("ɝ", "ø", "ɵ", "œ"):
        assert sum(weight for _, weight in shapes_of(name)[0].targets) == pytest.approx(1.0)


def test_segments_cover_the_phones_and_diphthongs_split_late() -> None:
    phones = [Phone("", 0.0, 0.2), Phone("aɪ", 0.2, 0.3), Phone("b", 0.3, 0.4)]
    segments = segments_of(phones)
    assert [s.targets[0][0] for s in segments] == ["sil", "aa", "ih", "PP"]
    assert segments[1].end_s == pytest.approx(0.258)
    assert all(a.end_s == b.start_s for a, b in pairwise(segments))
    assert (segments[0].start_s, segments[-1].end_s) == (0.0, 0.4)


def test_lips_close_before_they_are_heard() -> None:
    phones = [Phone("", 0.0, 0.5), Phone("b", 0.5, 0.6), Phone("", 0.6, 0.9), Phone("t", 0.9, 1.0)]
    moved = give_lips_their_closure(segments_of(phones))
    assert moved[0].end_s == moved[1].start_s == pytest.approx(0.445)
    assert moved[2].end_s == moved[3].start_s == pytest.approx(0.9)


def test_a_short_pause_is_not_eaten_up() -> None:
    moved = give_lips_their_closure(segments_of([Phone("", 0.0, 0.03), Phone("m", 0.03, 0.1)]))
    assert moved[0].end_s == pytest.approx(0.02)


def test_frame_classes_are_sampled_at_the_centre() -> None:
    segments = segments_of([Phone("", 0.0, 0.1), Phone("s", 0.1, 0.2)])
    times = np.array([-0.01, 0.0, 0.0999, 0.1, 0.1999, 0.2, 5.0])
    assert [CLASSES[c] for c in frame_classes(segments, times)] == ["SIL", "SIL", "SIL", "SS", "SS", "SIL", "SIL"]
