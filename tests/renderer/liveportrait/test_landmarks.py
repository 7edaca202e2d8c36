"""MediaPipe's points in the official conventions: geometry, invariance, and thresholds on faces with known openings."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.embedded.renderer import Puppet, render
from services.renderer.liveportrait import crop, landmarks
from shared.motion import EXP, lip_opening
from tests.renderer.motion_rows import rows

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
FOREHEAD = 10


@pytest.fixture(scope="module")
def mesh(photo_puppet: Puppet) -> Floats:
    return photo_puppet.face.points


def openings(puppet: Puppet, **sliders: NDArray[np.float64]) -> list[Floats]:
    """Landmarks that the detector finds on drawn frames."""
    found = [detect.landmarks_of_crop(frame) for frame in render(puppet, rows(**sliders))]
    return [points for points in found if points is not None]


def turned(points: Doubles, angle: float, scale: float) -> Doubles:
    cos, sin = math.cos(angle), math.sin(angle)
    moved: Doubles = scale * (points @ np.array([[cos, sin], [-sin, cos]])) + [11.0, 7.0]
    return moved


def test_eyes_and_mouth_are_where_their_names_say(mesh: Floats) -> None:
    layout = landmarks.MEDIAPIPE
    eye_a, eye_b, mouth = (mesh[list(part), :2].mean(axis=0) for part in (layout.eye_a, layout.eye_b, layout.mouth))
    assert eye_a[0] < mouth[0] < eye_b[0]
    assert abs(eye_a[1] - eye_b[1]) < 0.1 * abs(mouth[1] - eye_a[1])
    assert mouth[1] > max(eye_a[1], eye_b[1])
    irises = mesh[[468, 473], :2]
    width = float(np.linalg.norm(mesh[33, :2] - mesh[133, :2]))
    assert np.linalg.norm(eye_a - irises[0]) < 0.25 * width
    assert np.linalg.norm(eye_b - irises[1]) < 0.25 * width


def test_the_face_reaches_from_the_brows_to_the_chin(mesh: Floats) -> None:
    assert landmarks.MEDIAPIPE.contour is not None
    contour = mesh[list(landmarks.MEDIAPIPE.contour), :2]
    assert contour[:, 1].max() == mesh[:468, 1].max()
    assert mesh[FOREHEAD, 1] < contour[:, 1].min() < mesh[159, 1]
    assert np.ptp(contour[:, 0]) > 0.98 * np.ptp(mesh[:468, 0])


@pytest.mark.parametrize("puppet_name", ["photo_puppet", "drawn_puppet"])
def test_crops_look_like_official_ones(puppet_name: str, request: pytest.FixtureRequest) -> None:
    """Size of the face, height of eyes and mouth, as fractions of the crop."""
    points = request.getfixturevalue(puppet_name).face.points[:, :2]
    square = crop.face_square(points, landmarks.MEDIAPIPE, crop.SOURCE)
    inside = crop.move(points, crop.turned_matrix(square, 512)) / 512
    assert np.ptp(inside[[234, 454], 0]) == pytest.approx(1 / 2.3, abs=0.03)
    eyes = inside[[33, 133, 362, 263]].mean(axis=0)
    mouth = inside[[61, 291]].mean(axis=0)
    assert eyes == pytest.approx([0.5, 0.48], abs=0.02)
    assert mouth == pytest.approx([0.5, 0.69], abs=0.04)
    assert abs(inside[33, 1] - inside[263, 1]) < 0.02


@pytest.mark.parametrize("angle", [0.3, -1.2, 2.8])
@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_crop_and_ratios_follow_the_face(mesh: Floats, angle: float, scale: float) -> None:
    points = mesh[:, :2].astype(np.float64)
    other = turned(points, angle, scale)
    matrices = [
        crop.turned_matrix(crop.face_square(face, landmarks.MEDIAPIPE, crop.SOURCE), 512) for face in (points, other)
    ]
    np.testing.assert_allclose(crop.move(other, matrices[1]), crop.move(points, matrices[0]), atol=0.2)
    assert landmarks.official_lip_ratio(other) == pytest.approx(landmarks.official_lip_ratio(points), rel=1e-3)
    np.testing.assert_allclose(landmarks.official_eye_ratios(other), landmarks.official_eye_ratios(points), rtol=1e-3)


@pytest.mark.parametrize("puppet_name", ["photo_puppet", "drawn_puppet"])
def test_lips_part_where_the_threshold_says(puppet_name: str, request: pytest.FixtureRequest) -> None:
    """Frames of commanded openings: closed up to 0.03 of the mouth's width, surely open from 0.1 on."""
    jaw = np.array([0.0, 0.1, 0.15, 0.27, 0.3, 0.5])
    commanded = lip_opening(rows(jaw_open=jaw)[:, EXP])
    faces = openings(request.getfixturevalue(puppet_name), jaw_open=jaw)
    measured = [landmarks.official_lip_ratio(points) for points in faces]
    assert len(measured) == len(jaw)
    closed = [ratio for ratio, opening in zip(measured, commanded, strict=True) if opening < 0.03]
    parted = [ratio for ratio, opening in zip(measured, commanded, strict=True) if opening > 0.1]
    assert len(closed) == len(parted) == 3
    assert max(closed) < 0.6 * landmarks.LIPS_PARTED
    assert min(parted) > 2 * landmarks.LIPS_PARTED
    assert parted == sorted(parted)


@pytest.mark.parametrize("puppet_name", ["photo_puppet", "drawn_puppet"])
def test_lids_close_where_the_threshold_says(puppet_name: str, request: pytest.FixtureRequest) -> None:
    blink = np.array([0.0, 0.5, 1.0])
    faces = openings(request.getfixturevalue(puppet_name), blink_left=blink, blink_right=blink)
    relaxed, half, closed = (float(landmarks.official_eye_ratios(points).mean()) for points in faces)
    assert relaxed == pytest.approx(landmarks.EYES_OPEN, rel=0.15)
    assert landmarks.EYES_CLOSED < half < relaxed
    assert closed < 0.7 * landmarks.EYES_CLOSED


def test_lip_scale_is_monotone_and_meets_the_official_threshold() -> None:
    def official(gap: float) -> float:
        points = np.zeros((478, 2))
        points[[61, 291]] = [[0.0, 0.0], [1.0, 0.0]]
        points[14, 1] = gap
        return landmarks.official_lip_ratio(points)

    ratios = [official(gap) for gap in (0.0, 0.005, 0.0149, 0.0151, 0.02, 0.03, 0.2)]
    assert ratios == sorted(ratios)
    assert ratios[2] < landmarks.LIPS_PARTED <= ratios[3]
    assert ratios[-1] == pytest.approx(0.2, rel=1e-4)
