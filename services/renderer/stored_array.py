"""Arrays of a decoded appearance, taken only as what they have to be."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from shared.errors import ShapeError


def stored_array(value: Any, shape: tuple[int, ...], *dtypes: DTypeLike) -> NDArray[Any]:
    """Return a decoded value if it is an array of this shape (-1: any size) and one of these dtypes.

    Raises:
        ShapeError: it is not.
    """
    fits = (
        isinstance(value, np.ndarray)
        and value.dtype in [np.dtype(dtype) for dtype in dtypes]
        and value.ndim == len(shape)
        and all(want in (-1, have) for want, have in zip(shape, value.shape, strict=True))
    )
    if not fits:
        seen = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        expected = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        raise ShapeError(f"appearance field is {seen}; expected {expected} {shape}")
    array: NDArray[Any] = value
    return array
