import dataclasses

import numpy as np
import pytest

from services.renderer.liveportrait.source import LivePortraitAppearance
from shared.codec import MAX_BYTES, pack, unpack
from shared.errors import BadMessage, ShapeError, VersionMismatch

RNG = np.random.default_rng(0)
APPEARANCE = LivePortraitAppearance(
    f_s=RNG.standard_normal((4, 4, 8, 8)).astype(np.float16),
    x_c=RNG.standard_normal((21, 3)).astype(np.float32),
    R=np.eye(3, dtype=np.float32),
    delta=RNG.standard_normal((21, 3)).astype(np.float32),
    t=np.zeros(3, np.float32),
    s=np.ones(1, np.float32),
    o2c=np.eye(3),
    lip_ratio=0.125,
    warnings=("2 faces found",),
)


def test_appearance_survives_its_bytes() -> None:
    photo = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    for appearance in (APPEARANCE, dataclasses.replace(APPEARANCE, photo=photo)):
        again = LivePortraitAppearance.from_bytes(appearance.to_bytes())
        for field in dataclasses.fields(appearance):
            before, after = getattr(appearance, field.name), getattr(again, field.name)
            assert np.array_equal(before, after), field.name
            assert isinstance(after, type(before)), field.name
        assert (again.output, again.frame_shape) == (appearance.output, appearance.frame_shape)
    assert again.output == "full"
    assert again.frame_shape == (40, 60, 3)
    assert APPEARANCE.frame_shape == (512, 512, 3)


def test_the_largest_appearance_fits_a_message() -> None:
    largest = dataclasses.replace(
        APPEARANCE, f_s=np.zeros((32, 16, 64, 64), np.float32), photo=np.zeros((1280, 1280, 3), np.uint8)
    )
    assert len(largest.to_bytes()) < MAX_BYTES / 4


def test_other_bytes_are_refused() -> None:
    data = APPEARANCE.to_bytes()
    fields = unpack(data)
    for other in (pack([1]), pack({"v": 1, "texture": 2}), data[:-3]):
        with pytest.raises(BadMessage):
            LivePortraitAppearance.from_bytes(other)
    with pytest.raises(VersionMismatch):
        LivePortraitAppearance.from_bytes(pack({**fields, "v": 2}))
    with pytest.raises(BadMessage, match="delta"):
        LivePortraitAppearance.from_bytes(pack({key: fields[key] for key in fields if key != "delta"}))
    with pytest.raises(BadMessage, match="lip_ratio"):
        LivePortraitAppearance.from_bytes(pack({**fields, "lip_ratio": "wide"}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("f_s", np.zeros((4, 4, 8, 8), np.float64)),
        ("f_s", np.zeros((4, 8, 8), np.float32)),
        ("x_c", np.zeros((20, 3), np.float32)),
        ("R", [1.0, 0.0]),
        ("photo", np.zeros((4, 4), np.uint8)),
        ("o2c", np.eye(3, dtype=np.float32)),
    ],
)
def test_arrays_of_another_kind_are_refused(field: str, value: object) -> None:
    fields = unpack(APPEARANCE.to_bytes())
    with pytest.raises(ShapeError, match="expected"):
        LivePortraitAppearance.from_bytes(pack({**fields, field: value}))
