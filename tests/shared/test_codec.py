"""Codec: every value comes back, no foreign byte gets in."""

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from shared.codec import DTYPES, pack, unpack
from shared.errors import BadMessage

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=plain)
def test_plain_values_come_back(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(
    array=st.sampled_from(sorted(DTYPES)).flatmap(
        lambda dtype: arrays.arrays(np.dtype(dtype), arrays.array_shapes(min_dims=0, max_dims=4, max_side=5))
    )
)
def test_arrays_come_back_bit_for_bit(array: NDArray[Any]) -> None:
    back = unpack(pack({"x": array}))["x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


def test_big_endian_and_strided_arrays_are_normalised() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(unpack(pack(array)), array)


@given(data=st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_bad_message(data: bytes) -> None:
    try:
        unpack(data)
    except BadMessage:
        return


@given(cut=st.integers(0, 60))
def test_truncated_messages_are_refused(cut: int) -> None:
    data = pack({"x": np.arange(12.0)})
    with pytest.raises(BadMessage):
        unpack(data[: min(cut, len(data) - 1)])


def array_message(dtype: object, shape: object, body: object) -> bytes:
    packed: bytes = msgpack.packb(msgpack.ExtType(1, msgpack.packb([dtype, shape, body])))
    return packed


@pytest.mark.parametrize(
    "data",
    [
        array_message("<f4", [2], b"\0" * 4),
        array_message("<f4", [-1], b""),
        array_message("|O", [1], b"\0" * 8),
        array_message("<f4", [True], b"\0" * 4),
        array_message("<f4", [1] * 9, b"\0" * 4),
        msgpack.packb(msgpack.ExtType(1, msgpack.packb("x"))),
        msgpack.packb(msgpack.ExtType(7, b"")),
        pack(1) + pack(2),
    ],
    ids=["short body", "negative side", "object dtype", "boolean side", "too deep", "no list", "other type", "two"],
)
def test_malformed_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack(data)


def test_size_limit_is_enforced() -> None:
    with pytest.raises(BadMessage, match="at most 10 are accepted"):
        unpack(pack(b"x" * 20), max_bytes=10)


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["a"]), np.array([object()]), 2**70])
def test_values_without_encoding_are_refused(value: object) -> None:
    with pytest.raises(BadMessage):
        pack(value)
