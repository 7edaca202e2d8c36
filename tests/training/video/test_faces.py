from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.media.portrait import decode_portrait
from training.video.decode import Picture
from training.video.faces import face_tracks, on_clock, sharpness

PORTRAIT = Path(__file__).parents[2] / "data" / "portrait.jpg"


def test_thirty_pictures_a_second_become_twenty_five() -> None:
    times = [Fraction(i, 30) for i in range(31)]
    first, values = on_clock(times, np.arange(31, dtype=np.float32) / 30)
    assert first == 0
    assert values == pytest.approx(np.arange(26) / 25, abs=1e-6)


def test_nothing_is_made_up_beyond_the_pictures() -> None:
    first, values = on_clock(
        [Fraction(101, 1000), Fraction(141, 1000), Fraction(199, 1000)], np.arange(3, dtype=np.float32)
    )
    assert first == 3
    assert values == pytest.approx([(120 - 101) / 40, 1 + (160 - 141) / 58], abs=1e-6)


def test_one_picture_between_frames_gives_no_frame() -> None:
    assert len(on_clock([Fraction(1, 100)], np.zeros(1, np.float32))[1]) == 0


def test_the_larger_face_is_kept_and_a_cut_begins_a_new_track() -> None:
    large = decode_portrait(PORTRAIT.read_bytes())[:320, 60:380]
    pair = np.full((360, 720, 3), 120, np.uint8)
    pair[20:340, :320] = large
    pair[20:320, 380:680] = cv2.resize(large, (300, 300), interpolation=cv2.INTER_AREA)
    moved = np.full((360, 720, 3), 30, np.uint8)
    moved[20:340, 400:] = large
    images = [pair] * 14 + [moved] * 10
    tracks = list(face_tracks(Picture(Fraction(i, 25), image) for i, image in enumerate(images)))
    assert [t.first_frame for t in tracks] == [0, 14]
    assert [len(t.points) for t in tracks] == [14, 10]
    assert [t.n_others for t in tracks] == [1, 0]
    assert tracks[0].points[:, :, 0].max() < 330
    assert tracks[1].points[:, :, 0].min() > 400
    blurred = cv2.GaussianBlur(pair, (0, 0), 6)
    assert sharpness(blurred, tracks[0].points[0]) < 0.2 * sharpness(pair, tracks[0].points[0])
