import pytest
import torch
from torch import Tensor

from services.renderer.liveportrait import motion_transfer as transfer
from services.renderer.liveportrait.keypoints import Motion, place_keypoints, rotation_matrix
from services.renderer.liveportrait.portrait import motion_of
from shared.motion import neutral_rows
from tests.parity.pipeline import take

N_FRAMES = 3
NEUTRAL = motion_of(neutral_rows(1))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_motion(n: int, seed: int) -> Motion:
    angles = 20.0 * noise(3, n, seed=seed)
    return Motion(
        R=rotation_matrix(*angles),
        delta=0.05 * noise(n, 21, 3, seed=seed + 1),
        t=0.1 * noise(n, 3, seed=seed + 2),
        s=1.0 + 0.1 * noise(n, 1, seed=seed + 3),
    )


SOURCE, DRIVING = some_motion(1, 10), some_motion(N_FRAMES, 20)
X_C = 0.4 * noise(1, 21, 3, seed=30)
X_S = place_keypoints(X_C, SOURCE)


def test_the_reference_frame_reproduces_the_source() -> None:
    target = transfer.relative_target(SOURCE, DRIVING, take(DRIVING, slice(0, 1)))
    torch.testing.assert_close(transfer.transfer(X_C, SOURCE, target)[:1], X_S)


def test_a_neutral_reference_adds_the_driving_motion_itself() -> None:
    target = transfer.relative_target(SOURCE, DRIVING, NEUTRAL)
    torch.testing.assert_close(target.R, DRIVING.R @ SOURCE.R)
    torch.testing.assert_close(target.delta, DRIVING.delta + SOURCE.delta)
    torch.testing.assert_close(target.s, DRIVING.s * SOURCE.s)


def test_rows_of_several_portraits_equal_each_portrait_alone() -> None:
    sources = some_motion(2, 40)
    order = torch.tensor([0, 1, 0])
    mixed = transfer.relative_target(take(sources, order), DRIVING, NEUTRAL)
    for frame, subject in enumerate(order.tolist()):
        alone = transfer.relative_target(
            take(sources, slice(subject, subject + 1)), take(DRIVING, slice(frame, frame + 1)), NEUTRAL
        )
        torch.testing.assert_close(mixed.delta[frame], alone.delta[0])
        torch.testing.assert_close(mixed.R[frame], alone.R[0])


@pytest.mark.parametrize("name", transfer.REGIONS)
def test_a_region_changes_nothing_else(name: str) -> None:
    region = transfer.REGIONS[name]
    relative = transfer.relative_target(SOURCE, DRIVING, NEUTRAL, region)
    absolute = transfer.absolute_target(SOURCE, DRIVING, region)
    for target, entries in ((relative, region.relative_entries), (absolute, region.absolute_entries)):
        changed = (target.delta != SOURCE.delta).any(dim=0)
        assert {tuple(entry) for entry in changed.nonzero().tolist()} == set(entries)
        assert torch.equal(target.R, SOURCE.R.expand_as(target.R)) != region.moves_head
        assert torch.equal(target.t, SOURCE.t.expand_as(target.t)) != region.moves_head
    assert torch.equal(absolute.s, SOURCE.s.expand_as(absolute.s))
    assert torch.equal(relative.s, SOURCE.s.expand_as(relative.s)) != region.scales_head


def test_absolute_expression_keeps_the_points_that_carry_identity() -> None:
    target = transfer.absolute_target(SOURCE, DRIVING)
    for point in (0, 7, 10):
        assert torch.equal(target.delta[:, point], SOURCE.delta[:, point].expand(N_FRAMES, 3))


def test_a_driving_image_is_compared_with_closed_lips_and_keeps_the_pose() -> None:
    image = take(DRIVING, slice(1, 2))
    reference = transfer.image_reference(image, transfer.closed_lips())
    target = transfer.relative_target(SOURCE, image, reference)
    torch.testing.assert_close(target.R, SOURCE.R)
    torch.testing.assert_close(target.t, SOURCE.t)
    torch.testing.assert_close(target.delta, SOURCE.delta + image.delta - transfer.closed_lips())


def test_expression_friendly_changes_nothing_when_the_clip_begins_at_the_source() -> None:
    target = transfer.relative_target(SOURCE, DRIVING, take(DRIVING, slice(0, 1)))
    plain = transfer.transfer(X_C, SOURCE, target)
    friendly = transfer.transfer(X_C, SOURCE, target, [transfer.expression_friendly])
    torch.testing.assert_close(friendly, plain, atol=1e-6, rtol=0)


def test_multiplier_is_the_ratio_of_sizes_to_the_power_of_three_halves() -> None:
    assert transfer.motion_multiplier(X_S, 2.0 * X_S) == pytest.approx(0.5**1.5, rel=1e-5)


def test_amplify_starts_at_the_source() -> None:
    assert torch.equal(transfer.Amplify(1.3)(X_S, X_S), X_S)
    torch.testing.assert_close(transfer.Amplify(2.0)(X_S, X_S + 1.0), X_S + 2.0)


def test_instead_forgets_the_driving_motion() -> None:
    x_d = noise(N_FRAMES, 21, 3, seed=50)
    result = transfer.Instead(torch.ones(1, 21, 3))(X_S, x_d)
    assert result.shape == x_d.shape
    torch.testing.assert_close(result, (X_S + 1.0).expand_as(x_d))
