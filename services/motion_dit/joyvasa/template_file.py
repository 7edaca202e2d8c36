"""JoyVASA's published statistics, a pickle of a dict of arrays, read without running anything in it.

Only the names that numpy needs to rebuild an array are resolved; anything else in the file is refused.
"""

import pickle
from codecs import encode
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from services.motion_dit.joyvasa.template import FloatArray, Template
from shared.errors import WeightsMismatch
from shared.weights import describe_placeholder

POSE_FIELDS = {"scale": 1, "t": 3, "pitch": 1, "yaw": 1, "roll": 1}
N_EXP = 63
MAX_BYTES = 1 << 20
UNREADABLE = (
    AttributeError, EOFError, ImportError, LookupError, MemoryError, OverflowError, RecursionError, TypeError,
    ValueError, pickle.UnpicklingError,
)  # fmt: skip
_RECONSTRUCT = np.empty(0).__reduce__()[0]


def _from_buffer(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"]) -> NDArray[Any]:
    """How pickle's newest protocol writes an array."""
    return np.frombuffer(data, dtype).reshape(shape, order=order)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): encode,  # how the oldest protocols write bytes
    ("collections", "OrderedDict"): dict,
}


def read_template(path: Path) -> Template:
    """Read the published file (``motion_template.pkl``).

    Raises:
        WeightsMismatch: missing, a placeholder, no pickle of arrays alone, or unusable numbers.
    """
    try:
        placeholder = describe_placeholder(path)
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    except OSError as error:
        raise WeightsMismatch(f"cannot read JoyVASA's statistics {path}: {error}. Copy the file there.") from error
    if placeholder or not data:
        what = placeholder or f"larger than {MAX_BYTES} bytes"
        raise WeightsMismatch(f"{path} is {what}; expected JoyVASA's motion_template.pkl, about 5 kB.")
    try:
        statistics = _Arrays(BytesIO(data)).load()
    except UNREADABLE as error:
        raise WeightsMismatch(
            f"{path} cannot be read as a dict of arrays ({type(error).__name__}: {error}); nothing in it was run. "
            "Take motion_template.pkl of JoyVASA's release."
        ) from error
    if not isinstance(statistics, dict):
        raise WeightsMismatch(f"{path} holds {type(statistics).__name__}; expected a dict of arrays.")
    return template_of(statistics, str(path))


def template_of(statistics: Mapping[str, Any], source: str = "statistics") -> Template:
    """What inference needs of the published statistics: eight of 45 arrays.

    Raises:
        WeightsMismatch: an array is missing, of another size, not finite, or a range is not one.
    """
    low, high = _pose(statistics, "min", source), _pose(statistics, "max", source)
    std_exp = _field(statistics, "std_exp", N_EXP, source)
    if (high < low).any() or (std_exp < 0).any():
        raise WeightsMismatch(f"{source}: a maximum is below its minimum, or a deviation below 0; the file is damaged.")
    return Template(_field(statistics, "mean_exp", N_EXP, source), std_exp, low, high)


def _pose(statistics: Mapping[str, Any], kind: str, source: str) -> FloatArray:
    return np.concatenate([_field(statistics, f"{kind}_{name}", n, source) for name, n in POSE_FIELDS.items()])


def _field(statistics: Mapping[str, Any], key: str, size: int, source: str) -> FloatArray:
    try:
        numbers: NDArray[np.float32] = np.asarray(statistics[key], np.float32).reshape(-1)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsMismatch(f"{source} has no numbers {key!r} ({type(error).__name__}: {error}).") from error
    if numbers.shape != (size,) or not np.isfinite(numbers).all():
        raise WeightsMismatch(f"{source}: {key} has {numbers.size} numbers; expected {size} finite ones.")
    return numbers


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Resolve one of the allowed names, never import."""
        try:
            return _ALLOWED[module, name]
        except KeyError as error:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs") from error
