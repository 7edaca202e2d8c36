"""Event tracks of measured motion: what `services/motion_dit/events.py` would have had to draw to get it.

Closure is the mean of both lids, noise below `OPEN` taken off. Gaze is what the eyes add to the head's turn, in the
standard deviations that the generator draws with; glances are steps, so a median over 5 frames takes the tremble off.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from services.motion_dit.events import BLINK, EVENT_SIZE, GAZE_X, GAZE_Y
from shared.motion import EXP, PITCH, SLIDER_INDEX, YAW, sliders_from_exp
from training.head_motion import GAZE_STD, GAZE_X_PER_YAW, GAZE_Y_PER_PITCH

Floats = NDArray[np.float32]

OPEN = 0.2
MOST_STDS = 3.0
STEADY_FRAMES = 5


def tracks_of(rows: Floats) -> Floats:
    """Event tracks of motion rows.

    Args:
        rows: (N, 70) relative to the resting face.

    Returns:
        (N, 3) float32: eyelid closure 0..1, gaze x and y in standard deviations, within 3.
    """
    sliders = sliders_from_exp(rows[:, EXP])
    lids = sliders[:, [SLIDER_INDEX["blink_left"], SLIDER_INDEX["blink_right"]]].mean(axis=1)
    tracks = np.zeros((len(rows), EVENT_SIZE), np.float32)
    tracks[:, BLINK] = np.where(lids < OPEN, 0.0, np.clip(lids, 0.0, 1.0))
    gaze_x = sliders[:, SLIDER_INDEX["gaze_x"]] - GAZE_X_PER_YAW * rows[:, YAW]
    gaze_y = sliders[:, SLIDER_INDEX["gaze_y"]] - GAZE_Y_PER_PITCH * rows[:, PITCH]
    for column, gaze, std in ((GAZE_X, gaze_x, GAZE_STD[0]), (GAZE_Y, gaze_y, GAZE_STD[1])):
        steady = median_filter(gaze / std, STEADY_FRAMES, mode="nearest")
        tracks[:, column] = np.clip(steady, -MOST_STDS, MOST_STDS)
    return tracks
