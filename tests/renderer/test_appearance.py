import dataclasses

import numpy as np
import pytest

from services.renderer.embedded.appearance import Appearance
from shared.codec import pack, unpack
from shared.errors import BadMessage, ShapeError, VersionMismatch


def _equal(a: Appearance, b: Appearance) -> bool:
    return a.warnings == b.warnings and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("texture", "crop", "landmarks", "person")
    )


def test_appearance_survives_its_bytes(photo_appearance: Appearance) -> None:
    again = Appearance.from_bytes(photo_appearance.to_bytes())
    assert _equal(photo_appearance, again)
    assert again.photo is None
    assert again.output == "square"


def test_appearance_of_full_output_keeps_photo_and_warnings(photo_appearance: Appearance) -> None:
    photo = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    full = dataclasses.replace(photo_appearance, photo=photo, warnings=("2 faces found",))
    again = Appearance.from_bytes(full.to_bytes())
    assert _equal(full, again)
    assert again.photo is not None
    assert np.array_equal(again.photo, photo)
    assert again.output == "full"
    assert again.frame_shape == (40, 60, 3)


def test_other_bytes_are_refused(photo_appearance: Appearance) -> None:
    fields = unpack(photo_appearance.to_bytes())
    with pytest.raises(BadMessage):
        Appearance.from_bytes(pack([1, 2]))
    with pytest.raises(BadMessage):
        Appearance.from_bytes(photo_appearance.to_bytes()[:-5])
    with pytest.raises(VersionMismatch):
        Appearance.from_bytes(pack({**fields, "v": 99}))
    with pytest.raises(ShapeError):
        Appearance.from_bytes(pack({**fields, "landmarks": np.zeros((68, 3), np.float32)}))
    with pytest.raises(ShapeError):
        Appearance.from_bytes(pack({**fields, "texture": fields["texture"].astype(np.float32)}))
    del fields["person"]
    with pytest.raises(BadMessage, match="person"):
        Appearance.from_bytes(pack(fields))
