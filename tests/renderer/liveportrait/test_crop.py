import math

import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.liveportrait import crop
from shared.errors import ShapeError

Doubles = NDArray[np.float64]


def face(n_points: int, seed: int = 0) -> Doubles:
    """Landmarks with eyes above the mouth, in the official layout of their number."""
    layout = crop.LAYOUTS[n_points]
    points = np.random.default_rng(seed).uniform([120.0, 100.0], [220.0, 210.0], (n_points, 2))
    points[list(layout.eye_a)] = [140.0, 130.0]
    points[list(layout.eye_b)] = [200.0, 130.0]
    points[list(layout.mouth)] = [170.0, 180.0]
    return points


def turned(points: Doubles, angle: float, scale: float = 1.0) -> Doubles:
    cos, sin = math.cos(angle), math.sin(angle)
    moved: Doubles = scale * (points @ np.array([[cos, sin], [-sin, cos]])) + [30.0, -20.0]
    return moved


@pytest.mark.parametrize("n_points", crop.LAYOUTS)
@pytest.mark.parametrize("angle", [0.0, 0.4, -0.7, 2.5])
def test_the_crop_turns_and_grows_with_the_face(n_points: int, angle: float) -> None:
    points = face(n_points)
    layout = crop.layout_of(points)
    upright = crop.face_square(points, layout, crop.SOURCE)
    square = crop.face_square(turned(points, angle, 1.7), layout, crop.SOURCE)
    assert square.angle == pytest.approx(upright.angle + angle, abs=1e-3)
    assert square.side == pytest.approx(1.7 * upright.side, rel=1e-9)
    np.testing.assert_allclose(square.centre, turned(upright.centre[None], angle, 1.7)[0], atol=1e-6)
    before = crop.move(points, crop.turned_matrix(upright, 512))
    after = crop.move(turned(points, angle, 1.7), crop.turned_matrix(square, 512))
    np.testing.assert_allclose(after, before, atol=0.1)


def test_the_larger_extent_fills_its_share_of_the_crop_and_the_face_sits_low() -> None:
    points = face(203)
    square = crop.face_square(points, crop.layout_of(points), crop.SOURCE)
    inside = crop.move(points, crop.turned_matrix(square, 512))
    low, high = inside.min(axis=0), inside.max(axis=0)
    assert (high - low).max() == pytest.approx(512 / 2.3, abs=1e-6)
    np.testing.assert_allclose((low + high) / 2, [256.0, 256.0 + 0.125 * 512], atol=1e-6)


def test_a_contour_bounds_the_face_alone() -> None:
    points = np.vstack([face(5), [[400.0, 400.0]]])
    whole = crop.Layout((0,), (1,), (3, 4))
    bounded = crop.Layout((0,), (1,), (3, 4), contour=(0, 1, 2, 3, 4))
    alone, within = crop.face_square(points[:5], whole, crop.SOURCE), crop.face_square(points, bounded, crop.SOURCE)
    np.testing.assert_allclose(within.box, alone.box)
    assert crop.face_square(points, whole, crop.SOURCE).side > 2 * alone.side


def test_eyes_on_the_mouth_mean_no_turn() -> None:
    points = np.full((5, 2), 50.0)
    points[2] = [80.0, 70.0]
    square = crop.face_square(points, crop.layout_of(points), crop.SOURCE)
    assert square.angle == 0.0
    assert square.side == pytest.approx(2.3 * 30.0)


def test_unknown_layouts_are_refused() -> None:
    with pytest.raises(ShapeError, match="203"):
        crop.layout_of(np.zeros((204, 2)))
    with pytest.raises(ShapeError):
        crop.layout_of(np.zeros((203, 3)))


def test_one_box_serves_a_driving_clip() -> None:
    points = face(203)
    clip = [points, points + np.array([10.0, 0.0])]
    np.testing.assert_allclose(
        crop.driving_box(clip, crop.layout_of(points)),
        crop.driving_box(clip[:1], crop.layout_of(points)) + np.array([5.0, 0.0, 5.0, 0.0]),
    )


def test_crop_is_black_beyond_the_photo() -> None:
    photo = np.full((40, 60, 3), 200, np.uint8)
    pixels = crop.sample(photo, crop.box_matrix(np.array([30.0, 10.0, 90.0, 70.0]), 60), 60)
    assert pixels[:30, :30].min() == 200
    assert pixels[31:].max() == 0
    assert pixels[:, 31:].max() == 0


def test_network_input_is_the_mean_of_four_pixels() -> None:
    pixels = np.zeros((512, 512, 3), np.uint8)
    pixels[::2, ::2] = 200
    assert np.unique(crop.network_input(pixels)).tolist() == [50]


@pytest.mark.parametrize(
    ("size", "limited"),
    [((720, 1280), (720, 1280)), ((2560, 1281), (1280, 640)), ((333, 501), (332, 500)), ((64, 65), (64, 64))],
)
def test_photos_are_limited_and_even(size: tuple[int, int], limited: tuple[int, int]) -> None:
    photo = np.zeros((*size, 3), np.uint8)
    assert crop.limit_size(photo).shape == (*limited, 3)
