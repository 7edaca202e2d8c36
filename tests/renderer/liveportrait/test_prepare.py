import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.embedded.renderer import Puppet, render
from services.renderer.liveportrait import crop as cropping
from services.renderer.liveportrait.paste import PasteBack, mask_template
from services.renderer.liveportrait.prepare import CLOSED_EYES, cut_out, drawn_crop
from shared.errors import NoFaceFound
from tests.renderer.motion_rows import rows

Bytes = NDArray[np.uint8]


def test_the_crop_holds_the_face_where_it_was_found(photo: Bytes) -> None:
    cut = cut_out(photo)
    assert cut.pixels.shape == (512, 512, 3)
    assert cut.photo.shape == photo.shape
    assert cut.warnings == ()
    nose = cut.mesh[1]
    back = np.linalg.inv(cut.o2c) @ [*nose, 1.0]
    again = cut_out(np.ascontiguousarray(photo[:, 40:]))
    there = np.linalg.inv(again.o2c) @ [*again.mesh[1], 1.0]
    assert np.abs(back[:2] - there[:2] - [40.0, 0.0]).max() < 4.0


def test_a_large_photo_gives_the_crop_of_its_reduced_copy(photo: Bytes) -> None:
    large = cv2.resize(photo, (2049, 2049), interpolation=cv2.INTER_CUBIC)
    cut, small = cut_out(large), cut_out(photo)
    assert cut.photo.shape == (1280, 1280, 3)
    eyes = [33, 133, 263, 362]
    assert np.abs(cut.mesh[eyes] - small.mesh[eyes]).max() < 6.0
    assert np.linalg.det(cut.o2c) == pytest.approx(np.linalg.det(small.o2c) * (512 / 1280) ** 2, rel=0.05)


def test_a_turned_head_comes_upright(photo: Bytes) -> None:
    turn = cv2.getRotationMatrix2D((256.0, 230.0), 30.0, 0.8)
    cut = cut_out(cv2.warpAffine(photo, turn, (512, 512), borderMode=cv2.BORDER_REFLECT))
    left, right = cut.mesh[[33, 133]].mean(axis=0), cut.mesh[[263, 362]].mean(axis=0)
    assert abs(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0]))) < 4.0


def test_closed_eyes_are_mentioned(drawn_puppet: Puppet) -> None:
    asleep = render(drawn_puppet, rows(blink_left=1.0, blink_right=1.0))[0]
    assert CLOSED_EYES in cut_out(asleep).warnings
    assert CLOSED_EYES not in cut_out(render(drawn_puppet, rows(jaw_open=0.0))[0]).warnings


def test_of_several_faces_the_largest_speaks(photo: Bytes) -> None:
    both = np.zeros((512, 900, 3), np.uint8)
    both[:, :512] = photo
    both[100:420, 560:880] = cv2.resize(photo, (320, 320), interpolation=cv2.INTER_AREA)
    cut = cut_out(both)
    assert cut.warnings == ("2 faces found; the largest one speaks",)
    assert (np.linalg.inv(cut.o2c) @ [*cut.mesh[1], 1.0])[0] < 512


def test_the_drawn_face_is_found() -> None:
    cut = drawn_crop()
    assert not np.array_equal(cut.o2c, np.eye(3))
    assert cut.warnings == ()


def test_no_face_is_an_error() -> None:
    with pytest.raises(NoFaceFound, match="300x200"):
        cut_out(np.full((200, 300, 3), 90, np.uint8))


def test_the_crop_pasted_back_is_the_photo(photo: Bytes) -> None:
    """There and back is two interpolations of a smooth image: no shift, no scale, no seam."""
    smooth = cv2.GaussianBlur(photo, (0, 0), 3.0)
    cut = cut_out(photo)
    pixels = cropping.sample(smooth, cut.o2c, cropping.SOURCE.side_px)
    pasted = PasteBack(smooth, cut.o2c, mask_template()).into_photo(pixels)
    difference = np.abs(pasted.astype(int) - smooth)[1:-1, 1:-1]  # at the photo's edge black is mixed in, as officially
    assert difference.max() <= 4
    assert difference.mean() < 0.5
