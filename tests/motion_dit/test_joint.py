import torch

from services.motion_dit.joint import return_from, without_jump

IS_POSE = torch.arange(17) >= 11


def test_pose_keeps_its_speed_where_the_window_begins() -> None:
    offset = torch.tensor([0.8, 1.0])[None, :, None].expand(1, 2, 17)
    left = return_from(offset, 60, IS_POSE)[0]
    pose, expression = left[:, 16], left[:, 0]
    assert 1.0 < float(pose[0]) < 1.25
    assert float(pose[-1]) < 0.1
    assert float(expression[0]) < 0.7
    assert (expression.diff() < 0).all()


def test_a_jump_of_the_pose_becomes_an_ordinary_step() -> None:
    line = torch.arange(30.0)[None, :, None].expand(1, 30, 17) * 0.1
    past, drawn = line[:, :10], line[:, 10:] + 0.8
    mended = without_jump(past, drawn, IS_POSE)
    steps = torch.cat([past, mended], dim=1).diff(dim=1)[0]
    torch.testing.assert_close(steps[9, IS_POSE], torch.full((6,), 0.1))
    assert steps[:, IS_POSE].max() < 0.15
    torch.testing.assert_close(mended[..., ~IS_POSE], drawn[..., ~IS_POSE])
    assert (drawn - mended)[0, -1, 16] > 0.1  # it returns slowly, not at once


def test_motion_without_a_jump_stays_as_it_is() -> None:
    line = torch.arange(30.0)[None, :, None].expand(1, 30, 17)
    torch.testing.assert_close(without_jump(line[:, :10], line[:, 10:], IS_POSE), line[:, 10:])
    single = torch.ones(1, 1, 17)
    assert torch.equal(without_jump(line[:, :10], single, IS_POSE), single)
