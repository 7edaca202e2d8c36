import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.liveportrait import crop
from services.renderer.liveportrait.paste import PasteBack, mask_template, warp_mask
from services.renderer.liveportrait.warp import Warp

Bytes = NDArray[np.uint8]

RNG = np.random.default_rng(0)
PHOTO: Bytes = RNG.integers(0, 256, (240, 300, 3), np.uint8)
FACE: Bytes = RNG.integers(0, 256, (512, 512, 3), np.uint8)

SQUARES = {
    "inside": crop.Square(np.array([150.0, 120.0]), 180.0, 0.2),
    "over the edge": crop.Square(np.array([40.0, 200.0]), 260.0, -0.6),
    "larger than the photo": crop.Square(np.array([150.0, 120.0]), 900.0, 0.1),
}


def whole_formula(photo: Bytes, face: Bytes, o2c: NDArray[np.float64]) -> Bytes:
    """The published blend, on every pixel of the photo."""
    size = (photo.shape[0], photo.shape[1])
    weight = warp_mask(mask_template(), o2c, size)[..., None]
    warped = Warp(o2c, (512, 512), size)(face)
    return np.clip(weight * warped + (1.0 - weight) * photo, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("place", SQUARES)
def test_the_box_alone_gives_the_whole_formula(place: str) -> None:
    o2c = crop.turned_matrix(SQUARES[place], 512)
    frame = PasteBack(PHOTO, o2c, mask_template()).into_photo(FACE)
    expected = whole_formula(PHOTO, FACE, o2c)
    difference = np.abs(frame.astype(int) - expected)
    # The grid of the box begins elsewhere, so that positions may differ in the last bit of single precision.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    assert (frame != PHOTO).any()


def test_beside_the_photo_nothing_is_pasted() -> None:
    o2c = crop.turned_matrix(crop.Square(np.array([2000.0, 2000.0]), 100.0, 0.0), 512)
    assert np.array_equal(PasteBack(PHOTO, o2c, mask_template()).into_photo(FACE), PHOTO)


def test_the_photo_is_never_written_to() -> None:
    before = PHOTO.copy()
    paste = PasteBack(PHOTO, crop.turned_matrix(SQUARES["inside"], 512), mask_template())
    first = paste.into_photo(FACE)
    paste.into_photo(np.zeros_like(FACE))
    assert np.array_equal(PHOTO, before)
    assert np.array_equal(first, paste.into_photo(FACE))


def test_mask_is_a_ramp_of_sixteen_pixels_that_begins_at_zero_on_one_side_only() -> None:
    mask = mask_template()
    assert mask[0].max() == 0
    assert mask[:, 0].max() == 0
    assert mask[256, 511] == mask[511, 256] == mask[256, 1] == 15
    assert mask[16:497, 16:497].min() == 255
    assert mask[8, 8] == int(255 * (1 - np.hypot(8, 8) / 16))


def test_an_identity_warp_returns_its_input_and_halves_are_means() -> None:
    assert np.array_equal(Warp(np.eye(3), (512, 512), (512, 512))(FACE), FACE)
    halfway = Warp(np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]), (512, 512), (512, 511))(FACE)
    means = (FACE[:, :-1].astype(float) + FACE[:, 1:]) / 2
    assert np.abs(halfway - means).max() <= 0.5 + 1e-6
