import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet, render
from shared.errors import NoFaceFound, ShapeError
from tests.renderer.motion_rows import rows, talking

Photo = NDArray[np.uint8]


def _eyes_tilt(landmarks: NDArray[np.float32]) -> float:
    across = landmarks[[263, 362], :2].mean(axis=0) - landmarks[[33, 133], :2].mean(axis=0)
    return float(np.degrees(np.arctan2(across[1], across[0])))


def _in_large_photo(photo: Photo, size: int, face_px: int) -> Photo:
    canvas = np.full((size, size, 3), 150, np.uint8)
    canvas[:, :, 0] = np.linspace(90, 200, size, dtype=np.uint8)[None]
    small = cv2.resize(photo, (face_px, face_px), interpolation=cv2.INTER_AREA)
    canvas[size // 2 : size // 2 + face_px, size // 3 : size // 3 + face_px] = small
    return canvas


def test_a_photo_without_a_face_is_refused() -> None:
    with pytest.raises(NoFaceFound, match="no face found"):
        prepare(np.full((300, 400, 3), 127, np.uint8))


def test_something_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ShapeError):
        prepare(np.zeros((64, 64), np.uint8))


def test_a_tilted_head_is_set_upright(photo: Photo) -> None:
    turn = cv2.getRotationMatrix2D((230, 130), 20, 1.0)
    tilted = cv2.warpAffine(photo, turn, (512, 512), borderMode=cv2.BORDER_REFLECT)
    appearance = prepare(tilted)
    assert abs(_eyes_tilt(appearance.landmarks)) < 2.0


def test_a_small_face_in_a_large_photo_is_found(photo: Photo) -> None:
    appearance = prepare(_in_large_photo(photo, 3000, 500))
    width = np.linalg.norm(appearance.landmarks[234, :2] - appearance.landmarks[454, :2])
    assert 120 < width < 260


def test_the_largest_of_several_faces_speaks_with_a_warning(photo: Photo) -> None:
    two = np.concatenate([cv2.resize(photo, (700, 700)), np.full((700, 600, 3), 180, np.uint8)], axis=1)
    two[50:650, 700:1300] = cv2.resize(photo, (600, 600))
    appearance = prepare(two)
    assert appearance.warnings
    assert "largest" in appearance.warnings[0]
    centre = np.linalg.inv(np.vstack([appearance.crop, [0, 0, 1]])) @ [256, 256, 1]
    assert centre[0] < 700


def test_a_grey_photo_stays_grey(photo: Photo) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    frames = render(Puppet(prepare(grey)), talking(20)[::4]).astype(int)
    assert np.ptp(frames, axis=3).max() <= 2


def test_pixels_beyond_the_photo_are_no_streaks(photo: Photo) -> None:
    tight = np.ascontiguousarray(photo[20:260, 110:350])
    texture = prepare(tight).texture.astype(np.float64)
    rows_alike = np.abs(np.diff(texture[:12].mean(axis=2), axis=0)).max()
    assert rows_alike > 0.0
    beside = np.abs(np.diff(texture[0].mean(axis=1)))
    assert beside.max() < 12.0


def test_full_output_is_pasted_back_and_leaves_the_rest_alone(photo: Photo) -> None:
    large = _in_large_photo(photo, 1600, 700)
    appearance = prepare(large, "full")
    assert appearance.photo is not None
    height, width = appearance.photo.shape[:2]
    assert max(height, width) <= 1280
    assert height % 2 == width % 2 == 0
    frames = render(Puppet(appearance), talking(20)[::6])
    assert frames.shape[1:] == (height, width, 3)
    inverse = cv2.invertAffineTransform(appearance.crop)
    places = np.array([[0, 0], [511, 0], [0, 511], [511, 511]]) @ inverse[:, :2].T + inverse[:, 2]
    left, top = np.floor(places.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(places.max(axis=0)).astype(int) + 2
    outside = np.ones((height, width), bool)
    outside[max(top, 0) : bottom, max(left, 0) : right] = False
    assert outside.mean() > 0.3
    for frame in frames:
        assert np.array_equal(frame[outside], appearance.photo[outside])
    assert not np.array_equal(frames[0], frames[1])


def test_a_wide_open_mouth_is_closed_at_rest_and_can_speak(photo_puppet: Puppet) -> None:
    shouting = prepare(render(photo_puppet, rows(jaw_open=0.9))[0])
    puppet = Puppet(shouting)
    assert not puppet.line.is_closed
    closed, half, wide = (_gap(f) for f in render(puppet, rows(jaw_open=np.array([0.0, 0.4, 0.9]))))
    assert _gap(shouting.texture) > 0.08
    assert closed < 0.03
    assert closed + 0.02 < half < wide


def _gap(frame: Photo) -> float:
    points = detect.landmarks_of_crop(frame)
    assert points is not None
    return float((points[14, 1] - points[13, 1]) / np.linalg.norm(points[234, :2] - points[454, :2]))


def test_a_large_photo_gives_the_same_crop_as_a_small_one(photo: Photo) -> None:
    large = prepare(cv2.resize(photo, (2560, 2560), interpolation=cv2.INTER_CUBIC)).texture.astype(np.float64)
    small = prepare(photo).texture.astype(np.float64)
    assert np.abs(cv2.GaussianBlur(large, (0, 0), 3) - cv2.GaussianBlur(small, (0, 0), 3)).mean() < 3.0


def test_full_output_of_an_odd_photo_is_even(photo: Photo) -> None:
    appearance = prepare(np.ascontiguousarray(photo[:511, :507]), "full")
    assert appearance.frame_shape == (510, 506, 3)
