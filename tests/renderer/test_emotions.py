"""What gaze and emotions do to a face that the warp draws, found again by landmarks."""

import numpy as np
import pytest

from services.motion_dit.controls import apply_controls
from services.renderer.embedded.renderer import Puppet, render
from shared.controls import Controls, Emotion
from tests.renderer.motion_rows import FloatArray, rows
from tests.renderer.test_render import Floats, _aperture, _eye_aspect, _landmarks

LATER = 1000  # long after everything was eased in
INNER_BROWS, OUTER_BROWS = (55, 107, 285, 336), (46, 70, 276, 300)
FACE = (10, 152)


def drawn(puppet: Puppet, motion: FloatArray, **controls: object) -> list[Floats]:
    """Landmarks of the drawn frames in units of the face's height, from its middle."""
    frames = render(puppet, apply_controls(motion, Controls(**controls), LATER))  # type: ignore[arg-type]
    found = []
    for frame in frames:
        points = _landmarks(frame)
        height = float(np.linalg.norm(points[FACE[1], :2] - points[FACE[0], :2]))
        found.append((points / height).astype(np.float32))
    return found


def brow_height(points: Floats, indices: tuple[int, ...]) -> float:
    """Brows above the inner corners of the eyes."""
    return float(points[[133, 362], 1].mean() - points[list(indices), 1].mean())


def corner_lift(points: Floats) -> float:
    """Mouth corners above the middle of the lips."""
    return float(points[[13, 14], 1].mean() - points[[61, 291], 1].mean())


def iris_place(points: Floats) -> tuple[float, float]:
    """Irises: x between the corners of their eyes, 0..1 to image right; y below the nose's ridge and tip."""
    eyes = ((468, 33, 133), (473, 362, 263))
    x = [(points[iris, 0] - points[left, 0]) / (points[right, 0] - points[left, 0]) for iris, left, right in eyes]
    return float(np.mean(x)), float(points[[468, 473], 1].mean() - points[[1, 4], 1].mean())


@pytest.mark.parametrize("name", ["photo_puppet", "drawn_puppet"])
def test_emotions_move_brows_corners_and_lids_as_faces_do(name: str, request: pytest.FixtureRequest) -> None:
    puppet: Puppet = request.getfixturevalue(name)
    face = {emotion: drawn(puppet, rows(), emotion=emotion)[0] for emotion in Emotion}
    rest = face[Emotion.NEUTRAL]
    assert corner_lift(face[Emotion.HAPPY]) > corner_lift(rest) + 0.008
    for low in (Emotion.SAD, Emotion.ANGRY):
        assert corner_lift(face[low]) < corner_lift(rest) - 0.004
    inner, outer = (
        {emotion: brow_height(points, ends) - brow_height(rest, ends) for emotion, points in face.items()}
        for ends in (INNER_BROWS, OUTER_BROWS)
    )
    assert min(inner[Emotion.SURPRISED], outer[Emotion.SURPRISED]) > 0.015
    assert inner[Emotion.ANGRY] < -0.012
    assert inner[Emotion.SAD] > 0.008 + outer[Emotion.SAD]
    opening = {emotion: float(np.mean(_eye_aspect(points))) for emotion, points in face.items()}
    assert opening[Emotion.SURPRISED] > 1.05 * opening[Emotion.NEUTRAL] > 1.1 * opening[Emotion.SAD]


@pytest.mark.parametrize("emotion", [emotion for emotion in Emotion if emotion is not Emotion.NEUTRAL])
def test_lips_meet_and_eyes_shut_in_every_emotion(photo_puppet: Puppet, emotion: Emotion) -> None:
    motion = rows(
        lip_press=np.array([0.7, 0.0, 0.0]),
        blink_left=np.array([0.0, 1.0, 0.0]),
        blink_right=np.array([0.0, 1.0, 0.0]),
        jaw_open=np.array([0.0, 0.0, 0.63]),
    )
    closure, blink, vowel = drawn(photo_puppet, motion, emotion=emotion)
    assert max(_aperture(points) for points in (closure, blink)) < 0.014
    assert max(_eye_aspect(blink)) < 0.15
    assert _aperture(vowel) > 0.05


def test_eyes_look_where_the_caller_says(photo_puppet: Puppet) -> None:
    ahead, right, left, up, down = (
        iris_place(drawn(photo_puppet, rows(), gaze_x=x, gaze_y=y)[0])
        for x, y in ((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    )
    assert left[0] + 0.04 < ahead[0] < right[0] - 0.04
    assert up[1] < ahead[1] - 0.003
    assert down[1] > ahead[1] + 0.001
