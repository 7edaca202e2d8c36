"""Values and tensors to bytes and back: msgpack, with arrays as one extension type.

An array is ext type 1 holding msgpack [dtype, shape, little-endian bytes]; it is decoded as a read-only view without a
copy. Nothing is ever pickled. Knows nothing of what the values mean.
"""

import math
from typing import Any

import msgpack
import numpy as np

from shared.errors import BadMessage

ARRAY_EXT = 1
MAX_BYTES = 64 * 1024 * 1024
MAX_DIMENSIONS = 8
DTYPES = frozenset({"|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"})


def pack(value: Any) -> bytes:
    """Encode plain values and numpy arrays.

    Args:
        value: None, bool, int, float, str, bytes, list, tuple (becomes a list), dict with str or int keys, ndarray.

    Raises:
        BadMessage: a value of another type, or an array of an unsupported dtype.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_encode_array, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadMessage(f"cannot encode {type(value).__name__}: {error}") from error
    return packed


def unpack(data: bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Decode what `pack` made.

    Args:
        data: the bytes.
        max_bytes: refuse more than this.

    Returns:
        Plain values; arrays are read-only views into ``data``.

    Raises:
        BadMessage: too large, truncated, trailing bytes, unknown extension or malformed array.
    """
    if len(data) > max_bytes:
        raise BadMessage(f"message of {len(data)} bytes; at most {max_bytes} are accepted")
    try:
        return msgpack.unpackb(data, ext_hook=_decode_array, raw=False, strict_map_key=False)
    except BadMessage:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise BadMessage(f"{len(data)} bytes that are not a msgpack message: {error}") from error


def _encode_array(value: Any) -> msgpack.ExtType:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"type {type(value).__name__} has no encoding")
    little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
    if little.dtype.str not in DTYPES:
        raise TypeError(f"arrays of dtype {value.dtype} have no encoding; expected one of {sorted(DTYPES)}")
    body = msgpack.packb([little.dtype.str, list(value.shape), little.tobytes()], use_bin_type=True)
    return msgpack.ExtType(ARRAY_EXT, body)


def _decode_array(code: int, data: bytes) -> np.ndarray[Any, Any]:
    if code != ARRAY_EXT:
        raise BadMessage(f"unknown extension type {code}; only {ARRAY_EXT} (array) is known")
    parts = msgpack.unpackb(data, raw=False)
    if not (isinstance(parts, list) and len(parts) == 3):
        raise BadMessage("an array needs exactly dtype, shape and bytes")
    dtype, shape, body = parts
    if not isinstance(dtype, str) or dtype not in DTYPES or not isinstance(body, bytes):
        raise BadMessage(f"array of dtype {dtype!r}; expected one of {sorted(DTYPES)}")
    if not _is_shape(shape):
        raise BadMessage(f"array shape {shape!r}; expected up to {MAX_DIMENSIONS} integers >= 0")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if expected != len(body):
        raise BadMessage(f"array of shape {shape} and dtype {dtype} needs {expected} bytes, got {len(body)}")
    return np.frombuffer(body, dtype=np.dtype(dtype)).reshape(shape)


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) <= MAX_DIMENSIONS
        and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    )
