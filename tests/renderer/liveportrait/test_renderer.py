import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.renderer.drawn_face import draw_face
from services.renderer.interface import Drawn, FrameBatch, Renderer
from services.renderer.liveportrait.checkpoint import Networks, load_networks
from services.renderer.liveportrait.portrait import Portrait, driving_points
from services.renderer.liveportrait.renderer import N_SLOTS, LivePortraitRenderer, RendererOptions
from services.renderer.liveportrait.source import LivePortraitAppearance
from shared.errors import NoFaceFound, NonFiniteOutput, ShapeError, WeightsMismatch
from shared.motion import SCALE, neutral_row, neutral_rows
from tests.renderer.motion_rows import rows, talking
from tests.tiny_liveportrait import write_safetensors

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
CPU = torch.device("cpu")
OPTIONS = RendererOptions(precision="fp32", max_batch_frames=4)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder = tmp_path_factory.mktemp("tiny")
    write_safetensors(folder)
    return load_networks(folder)


@pytest.fixture(scope="module")
def renderer(networks: Networks) -> LivePortraitRenderer:
    return LivePortraitRenderer(networks, CPU, OPTIONS)


@pytest.fixture(scope="module")
def appearance(renderer: LivePortraitRenderer, photo: Bytes) -> LivePortraitAppearance:
    return renderer.prepare(photo, "square")


@pytest.fixture(scope="module")
def astronaut(renderer: LivePortraitRenderer, appearance: LivePortraitAppearance) -> Portrait:
    return renderer.build(appearance)


@pytest.fixture(scope="module")
def drawn_face(renderer: LivePortraitRenderer) -> Portrait:
    return renderer.build(renderer.prepare(draw_face(), "square"))


def draw(
    renderer: LivePortraitRenderer, portraits: list[Portrait], motion: Floats, reference: Floats | None = None
) -> list[Drawn]:
    batch = FrameBatch(tuple(portraits), motion, (reference,) * len(portraits))
    return list(renderer.finish(renderer.download(renderer.compute(renderer.upload(batch)))))


def pixels(drawn: list[Drawn]) -> Bytes:
    for frame in drawn:
        assert isinstance(frame, np.ndarray), frame
    return np.stack([frame for frame in drawn if isinstance(frame, np.ndarray)])


def test_it_is_a_renderer(renderer: LivePortraitRenderer) -> None:
    as_any: Renderer[LivePortraitAppearance, Portrait] = renderer
    assert as_any.max_batch_frames == 4


def test_warm_up_draws_a_frame(renderer: LivePortraitRenderer) -> None:
    renderer.warm_up()


def test_frames_have_pixels_and_depend_on_the_motion(renderer: LivePortraitRenderer, astronaut: Portrait) -> None:
    frames = pixels(draw(renderer, [astronaut] * 3, talking(3)))
    assert frames.shape == (3, 512, 512, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 1.0
    assert (frames[0] != frames[1]).any()


def test_the_same_motion_gives_the_same_bytes(renderer: LivePortraitRenderer, astronaut: Portrait) -> None:
    motion = talking(2)
    assert np.array_equal(
        pixels(draw(renderer, [astronaut] * 2, motion)), pixels(draw(renderer, [astronaut] * 2, motion))
    )


def test_portraits_of_one_batch_do_not_touch_each_other(
    renderer: LivePortraitRenderer, astronaut: Portrait, drawn_face: Portrait
) -> None:
    motion = talking(3)
    mixed = pixels(draw(renderer, [astronaut, drawn_face, astronaut], motion))
    assert np.array_equal(mixed[[0, 2]], pixels(draw(renderer, [astronaut] * 3, motion))[[0, 2]])
    assert np.array_equal(mixed[1], pixels(draw(renderer, [drawn_face] * 3, motion))[1])
    alone = pixels(draw(renderer, [drawn_face], motion[1:2]))[0]
    assert np.abs(mixed[1].astype(int) - alone).max() <= 1
    assert (mixed[0] != mixed[1]).any()


def test_what_was_sent_through_redis_draws_the_same(
    renderer: LivePortraitRenderer, appearance: LivePortraitAppearance, astronaut: Portrait
) -> None:
    again = renderer.build(renderer.load(appearance.to_bytes()))
    motion = talking(1)
    assert np.array_equal(pixels(draw(renderer, [again], motion)), pixels(draw(renderer, [astronaut], motion)))


def test_a_neutral_row_and_a_row_equal_to_its_reference_show_the_photo(
    networks: Networks, astronaut: Portrait, drawn_face: Portrait
) -> None:
    poses = [astronaut.pose, drawn_face.pose]
    neutral = driving_points(poses, neutral_rows(2), (None, None), networks.S)
    stitched = driving_points(poses, neutral_rows(2), (neutral_row(), neutral_row()), networks.S)
    assert torch.equal(neutral, stitched)
    absolute = rows(pitch=3.0, yaw=-8.0, jaw_open=0.4, tx=0.02)
    absolute[:, SCALE] = 1.2
    same = driving_points(poses, np.repeat(absolute, 2, axis=0), (absolute[0], absolute[0]), networks.S)
    torch.testing.assert_close(same, neutral, atol=1e-5, rtol=0)


def test_parted_lips_are_closed_and_closed_ones_left_alone(astronaut: Portrait, drawn_face: Portrait) -> None:
    assert float(astronaut.pose.closing.abs().max()) > 0.0
    assert float(drawn_face.pose.closing.abs().max()) == 0.0


def test_absolute_and_relative_rows_share_a_batch(
    renderer: LivePortraitRenderer, networks: Networks, astronaut: Portrait
) -> None:
    motion = talking(2)
    reference = rows(yaw=5.0)[0]
    both = driving_points([astronaut.pose] * 2, motion, (None, reference), networks.S)
    torch.testing.assert_close(both[:1], driving_points([astronaut.pose], motion[:1], (None,), networks.S))
    torch.testing.assert_close(both[1:], driving_points([astronaut.pose], motion[1:], (reference,), networks.S))
    batch = FrameBatch((astronaut, astronaut), motion, (None, reference))
    assert len(renderer.finish(renderer.download(renderer.compute(renderer.upload(batch))))) == 2


def test_full_output_changes_the_face_and_nothing_else(renderer: LivePortraitRenderer, photo: Bytes) -> None:
    wide = np.zeros((600, 901, 3), np.uint8)
    wide[40:552, 200:712] = photo
    appearance = renderer.prepare(wide, "full")
    assert appearance.output == "full"
    frame = pixels(draw(renderer, [renderer.build(appearance)], talking(1)))[0]
    assert frame.shape == appearance.frame_shape == (600, 900, 3)
    changed = (frame != wide[:, :900]).any(axis=2)
    assert changed[100:220, 370:480].mean() > 0.9
    assert not changed[:, :120].any()
    assert not changed[:, 780:].any()


def test_a_portrait_without_a_face_is_refused(renderer: LivePortraitRenderer) -> None:
    with pytest.raises(NoFaceFound):
        renderer.prepare(np.full((300, 300, 3), 128, np.uint8), "square")
    with pytest.raises(ShapeError):
        renderer.prepare(np.zeros((300, 300), np.uint8), "square")


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_motion_that_is_no_number_is_refused_before_it_is_queued(
    renderer: LivePortraitRenderer, astronaut: Portrait, value: float
) -> None:
    motion = neutral_rows(2)
    motion[1, SCALE] = value
    with pytest.raises(NonFiniteOutput, match=r"\[1\]"):
        renderer.upload(FrameBatch((astronaut,) * 2, motion, (None, None)))


def test_a_reference_of_no_size_is_refused(renderer: LivePortraitRenderer, astronaut: Portrait) -> None:
    with pytest.raises(NonFiniteOutput, match="reference"):
        renderer.upload(FrameBatch((astronaut,), neutral_rows(1), (np.zeros(70, np.float32),)))


def test_motion_of_another_shape_is_refused(renderer: LivePortraitRenderer, astronaut: Portrait) -> None:
    with pytest.raises(ShapeError):
        renderer.upload(FrameBatch((astronaut,), np.zeros((1, 69), np.float32), (None,)))


def test_weights_that_give_nan_fail_each_frame_and_the_warm_up(
    networks: Networks, appearance: LivePortraitAppearance
) -> None:
    broken = copy.deepcopy(networks)
    broken.G.fc.weight.data[0] = torch.nan
    renderer = LivePortraitRenderer(broken, CPU, OPTIONS)
    portrait = renderer.build(appearance)
    for _ in range(N_SLOTS + 2):
        drawn = draw(renderer, [portrait], neutral_rows(1))
        assert [type(frame) for frame in drawn] == [NonFiniteOutput]
    with pytest.raises(WeightsMismatch, match="weights verify"):
        renderer.warm_up()


def test_features_that_are_nan_refuse_the_portrait(networks: Networks, photo: Bytes) -> None:
    broken = copy.deepcopy(networks)
    broken.M.get_parameter("detector.fc_kp.bias").data[0] = torch.nan
    with pytest.raises(NonFiniteOutput, match="extractor"):
        LivePortraitRenderer(broken, CPU, OPTIONS).prepare(photo, "square")


def test_appearances_of_other_networks_are_refused(
    renderer: LivePortraitRenderer, appearance: LivePortraitAppearance
) -> None:
    other = copy.copy(appearance.f_s)
    data = LivePortraitAppearance(
        **{**appearance.__dict__, "f_s": np.concatenate([other, other])},
    ).to_bytes()
    with pytest.raises(ShapeError, match="Prepare the portrait again"):
        renderer.load(data)


def test_half_precision_keeps_features_in_half_the_bytes(networks: Networks, photo: Bytes) -> None:
    options = RendererOptions(precision="bf16", max_batch_frames=2)
    renderer = LivePortraitRenderer(copy.deepcopy(networks), CPU, options)
    appearance = renderer.load(renderer.prepare(photo, "square").to_bytes())
    assert appearance.f_s.dtype == np.float16
    assert renderer.build(appearance).frame_shape == (512, 512, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_what_the_cpu_draws(
    renderer: LivePortraitRenderer, networks: Networks, astronaut: Portrait, photo: Bytes
) -> None:
    other = LivePortraitRenderer(copy.deepcopy(networks), torch.device("cuda", 0), OPTIONS)
    other.warm_up()
    motion = talking(4)
    ours = pixels(draw(other, [other.build(other.prepare(photo, "square"))] * 4, motion))
    assert np.abs(ours.astype(int) - pixels(draw(renderer, [astronaut] * 4, motion))).mean() < 1.0
