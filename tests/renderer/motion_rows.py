"""Motion rows in words."""

import numpy as np
from numpy.typing import NDArray

from shared.motion import EXP, PITCH, ROLL, SLIDER_INDEX, YAW, T, exp_from_sliders, neutral_rows

FloatArray = NDArray[np.float32]


def rows(**values: NDArray[np.float64] | float) -> FloatArray:
    """(N, 70) rows from sliders, pitch, yaw, roll, tx, ty; scalars are repeated."""
    columns = {name: np.atleast_1d(np.asarray(value, np.float32)) for name, value in values.items()}
    n_rows = max((len(column) for column in columns.values()), default=1)
    motion = neutral_rows(n_rows)
    sliders = np.zeros((n_rows, len(SLIDER_INDEX)), np.float32)
    places = {"pitch": PITCH, "yaw": YAW, "roll": ROLL, "tx": T.start, "ty": T.start + 1}
    for name, column in columns.items():
        if name in SLIDER_INDEX:
            sliders[:, SLIDER_INDEX[name]] = column
        else:
            motion[:, places[name]] = column
    motion[:, EXP] = exp_from_sliders(sliders)
    return motion


def talking(n_frames: int) -> FloatArray:
    """Speech-like motion: jaw, rounding, blinks, glances and a moving head."""
    t = np.arange(n_frames) / 25.0
    return rows(
        jaw_open=0.33 + 0.30 * np.sin(19.0 * t),
        lip_pucker=np.clip(0.5 * np.sin(7.0 * t), 0, None),
        lip_wide=np.clip(0.4 * np.sin(5.0 * t + 1.0), 0, None),
        blink_left=np.clip(4.0 * np.sin(4.0 * t) - 3.0, 0, 1),
        blink_right=np.clip(4.0 * np.sin(4.0 * t) - 3.0, 0, 1),
        gaze_x=0.2 * np.sin(1.7 * t),
        pitch=2.5 * np.sin(2.0 * t),
        yaw=4.0 * np.sin(1.3 * t),
        roll=2.0 * np.sin(1.1 * t),
        tx=0.01 * np.sin(0.9 * t),
    )
