"""JoyVasaState: what a window of JoyVASA needs of those before it, as a value and as bytes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.motion_dit.joyvasa.network import JoyVasaConfig
from services.motion_dit.joyvasa.template import FloatArray
from shared.codec import pack, unpack
from shared.errors import BadMessage, VersionMismatch
from shared.motion import ROW

STATE_VERSION = 1
MAX_STATE_BYTES = 256 * 1024


@dataclass(frozen=True)
class JoyVasaState:
    """What the next window starts from.

    Attributes:
        window: index of the window that this state is for.
        latent: (P, D) float32, the network's last motion.
        sound: (P, F) float32, projected sound of the same frames.
        reference: (70,) first row of the job.
        last: (70,) last row of the window before, after smoothing and before options.
    """

    window: int
    latent: FloatArray
    sound: FloatArray
    reference: FloatArray
    last: FloatArray

    def to_bytes(self) -> bytes:
        """Encode for the queue."""
        return pack({"v": STATE_VERSION, **vars(self)})


@dataclass(frozen=True)
class NoState:
    """Before window 0: the learned start tokens stand for motion and sound."""

    window: int = 0

    def to_bytes(self) -> bytes:
        """Empty bytes."""
        return b""


def read_state(data: bytes, window: int, config: JoyVasaConfig) -> JoyVasaState | NoState:
    """Decode what ``to_bytes`` made; empty bytes are the state of window 0.

    Raises:
        BadMessage: malformed, of another checkpoint's sizes, or the state of another window.
        VersionMismatch: written by another version.
    """
    state = _parse(unpack(data, max_bytes=MAX_STATE_BYTES), config) if data else NoState()
    if state.window != window:
        raise BadMessage(f"state for window {state.window}; expected window {window}")
    return state


def _parse(value: Any, config: JoyVasaConfig) -> JoyVasaState:
    if not isinstance(value, dict) or "v" not in value:
        raise BadMessage("a window state is a map with a version")
    if value["v"] != STATE_VERSION:
        raise VersionMismatch(f"window state of version {value['v']}; expected {STATE_VERSION}")
    shapes = {
        "latent": (config.context, config.motion_size),
        "sound": (config.context, config.feature_size),
        "reference": (ROW,),
        "last": (ROW,),
    }
    arrays = {name: np.asarray(value.get(name)) for name in shapes}
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.float32:
            raise BadMessage(f"window state: {name} is {arrays[name].dtype} {arrays[name].shape}; expected {shape}")
    if not isinstance(value.get("window"), int):
        raise BadMessage("window state without the index of its window")
    return JoyVasaState(value["window"], **arrays)
