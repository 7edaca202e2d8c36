import pytest
import torch
from torch import Tensor

from services.renderer.liveportrait.keypoints import (
    Motion,
    apply_stitching,
    degrees_from_logits,
    frames_u8,
    place_keypoints,
    refine,
    retargeting_feature,
    rotation_matrix,
    stitching_feature,
)
from services.renderer.liveportrait.motion_extractor import RawMotion
from services.renderer.liveportrait.portrait import motion_of
from shared.motion import PITCH, ROLL, YAW, neutral_rows

NOSE = torch.tensor([[[0.0, 0.0, -1.0]]])  # towards the camera
EAR = torch.tensor([[[1.0, 0.0, 0.0]]])  # on image right
X, Y, Z = 0, 1, 2


def turned(point: Tensor, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> Tensor:
    R = rotation_matrix(*(torch.tensor([angle]) for angle in (pitch, yaw, roll)))
    return (point @ R)[0, 0]


def test_pitch_lowers_the_nose() -> None:
    assert turned(NOSE, pitch=20.0)[Y] == pytest.approx(0.342, abs=1e-3)


def test_yaw_moves_the_nose_to_image_left() -> None:
    assert turned(NOSE, yaw=20.0)[X] == pytest.approx(-0.342, abs=1e-3)


def test_roll_turns_clockwise_on_the_screen() -> None:
    assert turned(EAR, roll=20.0)[Y] == pytest.approx(0.342, abs=1e-3)


def test_rotation_is_the_transpose_of_roll_after_yaw_after_pitch() -> None:
    pitch, yaw, roll = (rotation_matrix(*angles)[0].T for angles in torch.diag(torch.tensor([10.0, 20.0, 30.0])))
    together = rotation_matrix(torch.tensor([10.0]), torch.tensor([20.0]), torch.tensor([30.0]))[0]
    torch.testing.assert_close(together, (roll @ yaw @ pitch).T)
    torch.testing.assert_close(together @ together.T, torch.eye(3))


def test_flat_logits_are_no_turn_and_a_sharp_peak_is_its_bin() -> None:
    logits = torch.zeros(3, 66)
    logits[1, 0] = logits[2, 65] = 1e4
    assert degrees_from_logits(logits).tolist() == pytest.approx([0.0, -97.5, 97.5], abs=1e-4)


@pytest.mark.parametrize("shape", [(66,), (4, 1), (4, 65), (1, 4, 66)])
def test_other_shapes_are_degrees_already(shape: tuple[int, ...]) -> None:
    angle = torch.ones(shape)
    assert degrees_from_logits(angle) is angle


def test_depth_of_the_translation_is_dropped_and_scale_covers_the_expression() -> None:
    motion = Motion(
        R=torch.eye(3)[None],
        delta=torch.full((1, 21, 3), 0.5),
        t=torch.tensor([[1.0, 2.0, 3.0]]),
        s=torch.tensor([[2.0]]),
    )
    placed = place_keypoints(torch.zeros(1, 21, 3), motion)
    assert placed[0, 0].tolist() == [2.0, 3.0, 1.0]


def test_the_neutral_row_moves_nothing() -> None:
    x_c = torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(place_keypoints(x_c, motion_of(neutral_rows(1))), x_c)


def test_stitching_takes_the_source_first_and_shifts_all_points_in_the_plane() -> None:
    x_s, x_d = torch.zeros(1, 21, 3), torch.ones(2, 21, 3)
    feature = stitching_feature(x_s, x_d)
    assert feature[:, :63].eq(0).all()
    assert feature[:, 63:].eq(1).all()
    delta = torch.zeros(2, 65)
    delta[0, 3 * 4 + Z] = 0.5
    delta[1, 63], delta[1, 64] = 10.0, 20.0
    moved = apply_stitching(x_d, delta)
    assert moved[0, 4].tolist() == [1.0, 1.0, 1.5]
    assert moved[0, 5].tolist() == [1.0, 1.0, 1.0]
    assert moved[1].tolist() == [[11.0, 21.0, 1.0]] * 21


def test_one_source_serves_many_ratios() -> None:
    feature = retargeting_feature(torch.zeros(1, 21, 3), torch.ones(5, 2), torch.full((5, 1), 3.0))
    assert feature.shape == (5, 66)
    assert feature[:, 63:].tolist() == [[1.0, 1.0, 3.0]] * 5


def test_refined_motion_has_points_by_rows() -> None:
    flat = torch.arange(63.0)[None]
    raw = RawMotion(
        pitch=torch.zeros(1, 66),
        yaw=torch.tensor([[90.0]]),
        roll=torch.zeros(1, 66),
        t=torch.zeros(1, 3),
        exp=flat,
        scale=torch.ones(1, 1),
        kp=flat,
    )
    x_c, motion = refine(raw)
    assert x_c[0, 7].tolist() == [21.0, 22.0, 23.0]
    assert torch.equal(motion.delta, x_c)
    torch.testing.assert_close((NOSE @ motion.R)[0, 0], torch.tensor([-1.0, 0.0, 0.0]))


def test_pixels_are_truncated() -> None:
    image = torch.tensor([-0.5, 0.0, 0.999 / 255, 1.0, 7.0]).reshape(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert frames_u8(image)[0, 0, :, 0].tolist() == [0, 0, 0, 255, 255]


def test_rows_of_motion_turn_the_head_as_their_axes_say() -> None:
    """The row's pitch, yaw and roll go in as they are: R is the transpose, and points are rows."""
    for column, axis, sign, point in ((PITCH, Y, 1.0, NOSE), (YAW, X, -1.0, NOSE), (ROLL, Y, 1.0, EAR)):
        row = neutral_rows(1)
        row[0, column] = 10.0
        moved = place_keypoints(point, motion_of(row))[0, 0]
        assert moved[axis] == pytest.approx(sign * 0.1736, abs=1e-3)
