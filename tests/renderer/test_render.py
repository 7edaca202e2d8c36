"""What is drawn, checked with landmarks found again on the frames."""

import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.controls import controls_of
from services.renderer.embedded.renderer import Puppet, render
from shared.motion import EXP, lip_opening, neutral_rows
from tests.renderer.motion_rows import rows, talking

Frames = NDArray[np.uint8]
Floats = NDArray[np.float32]


def _landmarks(frame: Frames) -> Floats:
    points = detect.landmarks_of_crop(frame)
    assert points is not None, "no face on the frame"
    return points


def _aperture(points: Floats) -> float:
    return float((points[14, 1] - points[13, 1]) / np.linalg.norm(points[234, :2] - points[454, :2]))


def _eye_aspect(points: Floats) -> tuple[float, float]:
    left = (points[145, 1] - points[159, 1]) / np.linalg.norm(points[33, :2] - points[133, :2])
    right = (points[374, 1] - points[386, 1]) / np.linalg.norm(points[362, :2] - points[263, :2])
    return float(left), float(right)


def _psnr(a: Frames, b: Frames) -> float:
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255.0**2 / error)


def test_zero_motion_is_the_texture(drawn_puppet: Puppet, drawn_appearance: Appearance) -> None:
    frames = render(drawn_puppet, neutral_rows(2))
    assert np.array_equal(frames[0], drawn_appearance.texture)
    assert np.array_equal(frames[1], drawn_appearance.texture)


def test_parted_lips_of_the_photo_are_closed_at_rest(photo_puppet: Puppet, photo_appearance: Appearance) -> None:
    assert not photo_puppet.line.is_closed
    frame = render(photo_puppet, neutral_rows(1))[0]
    assert _aperture(_landmarks(frame)) < 0.01
    assert _aperture(photo_appearance.landmarks) > 0.02
    outside = np.ones(frame.shape[:2], bool)
    outside[photo_puppet.mouth.box(controls_of(neutral_rows(1))[0]).pixels] = False
    assert _psnr(frame[outside], photo_appearance.texture[outside]) > 40.0


@pytest.mark.parametrize("name", ["photo_puppet", "drawn_puppet"])
def test_measured_aperture_follows_the_commanded_opening(name: str, request: pytest.FixtureRequest) -> None:
    puppet: Puppet = request.getfixturevalue(name)
    motion = rows(jaw_open=np.linspace(0.18, 1.1, 24))
    commanded = lip_opening(motion[:, EXP])
    measured = [_aperture(_landmarks(frame)) for frame in render(puppet, motion)]
    assert np.corrcoef(commanded, measured)[0, 1] > 0.95
    assert max(measured) > 0.08


def test_lips_stay_shut_while_the_opening_is_zero(photo_puppet: Puppet) -> None:
    motion = rows(
        jaw_open=np.array([0.0, 0.1, 0.0, 0.0]), lip_pucker=np.array([0, 0, 0.8, 0]), lip_press=np.array([0, 0, 0, 0.7])
    )
    assert not lip_opening(motion[:, EXP]).any()
    for frame in render(photo_puppet, motion):
        assert _aperture(_landmarks(frame)) < 0.012


def test_lids_follow_the_blink_on_their_own_side(photo_puppet: Puppet) -> None:
    amounts = np.linspace(0.0, 1.0, 11)
    both = np.array(
        [_eye_aspect(_landmarks(f)) for f in render(photo_puppet, rows(blink_left=amounts, blink_right=amounts))]
    )
    assert np.corrcoef(amounts, both[:, 0])[0, 1] < -0.9
    assert np.corrcoef(amounts, both[:, 1])[0, 1] < -0.9
    assert both[-1].max() < 0.5 * both[0].min()
    left = _eye_aspect(_landmarks(render(photo_puppet, rows(blink_left=1.0))[0]))
    assert left[0] < 0.5 * left[1]


def test_signs_of_pitch_yaw_and_roll(photo_puppet: Puppet) -> None:
    """+pitch face down, +yaw nose to image left, +roll clockwise on screen."""

    def nose(points: Floats) -> Floats:
        place: Floats = points[1, :2] - points[[234, 454], :2].mean(axis=0)
        return place

    def tilt(points: Floats) -> float:
        across = points[263, :2] - points[33, :2]
        return float(np.degrees(np.arctan2(across[1], across[0])))

    frames = render(
        photo_puppet,
        rows(
            pitch=np.array([5.0, -5, 0, 0, 0, 0]),
            yaw=np.array([0.0, 0, 6, -6, 0, 0]),
            roll=np.array([0.0, 0, 0, 0, 4, -4]),
        ),
    )
    down, up, left, right, clockwise, counter = (_landmarks(frame) for frame in frames)
    assert nose(down)[1] - nose(up)[1] > 5.0
    assert nose(left)[0] - nose(right)[0] < -5.0
    assert 6.0 < tilt(clockwise) - tilt(counter) < 10.0


def test_translation_moves_right_and_down(photo_puppet: Puppet) -> None:
    still, moved = (
        _landmarks(f) for f in render(photo_puppet, rows(tx=np.array([0.0, 0.03]), ty=np.array([0.0, 0.02])))
    )
    shift = (moved - still)[:, :2].mean(axis=0)
    assert shift == pytest.approx([0.03 * 256, 0.02 * 256], abs=1.5)


@pytest.mark.parametrize("name", ["photo", "drawn"])
def test_background_stays(name: str, request: pytest.FixtureRequest) -> None:
    puppet: Puppet = request.getfixturevalue(f"{name}_puppet")
    appearance: Appearance = request.getfixturevalue(f"{name}_appearance")
    weight = np.kron(puppet.pose.weight, np.ones((4, 4)))
    background = weight < 0.02
    assert background.mean() > 0.15
    for frame in render(puppet, talking(50)[::5]):
        assert _psnr(frame[background], appearance.texture[background]) > 40.0


def test_slow_ramp_is_drawn_smoothly(photo_puppet: Puppet) -> None:
    ramp = np.linspace(0.0, 1.0, 30)
    motion = rows(
        jaw_open=0.2 + 0.6 * ramp,
        lip_wide=0.5 * ramp,
        blink_left=0.8 * ramp,
        blink_right=0.8 * ramp,
        yaw=4 * ramp,
        pitch=3 * ramp,
        tx=0.01 * ramp,
    )
    frames = render(photo_puppet, motion).astype(np.float64)
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 1.5 * np.median(steps)


def test_any_chunking_gives_equal_frames(photo_puppet: Puppet, photo_appearance: Appearance) -> None:
    motion = talking(12)
    whole = render(photo_puppet, motion)
    again = Puppet(Appearance.from_bytes(photo_appearance.to_bytes()))
    parts = [render(again, motion[start:stop]) for start, stop in ((5, 12), (0, 1), (1, 5))]
    assert np.array_equal(whole, np.concatenate([parts[1], parts[2], parts[0]]))


def test_extreme_motion_is_still_a_face(photo_puppet: Puppet) -> None:
    motion = rows(jaw_open=1.6, lip_wide=1.6, yaw=60.0, pitch=-40.0, roll=30.0, tx=0.5, ty=-0.5)
    motion[:, 63] = 1.4
    _landmarks(render(photo_puppet, motion)[0])
