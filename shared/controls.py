"""What a caller may choose about the motion: names, ranges and defaults, the same in every process.

Defaults leave motion as the model makes it. What the choices do is in ``services/motion_dit``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Emotion(StrEnum):
    """An expression that stays on the face while it speaks."""

    NEUTRAL = "neutral"
    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    SURPRISED = "surprised"


@dataclass(frozen=True)
class Controls:
    """Choices about the motion of one job; `RANGES` has their limits.

    Attributes:
        head_motion: factor on head pose.
        expressiveness: factor on mouth and brows.
        blinks_per_minute: mean rate, 0 for none; None as the motion model does it.
        gaze_x: where the eyes look besides their own glances: 1 as far to the viewer's right as looks natural, -1 left.
        gaze_y: the same, 1 up, -1 down.
        emotion: expression added to the motion.
        emotion_strength: how much of it.
    """

    head_motion: float = 1.0
    expressiveness: float = 1.0
    blinks_per_minute: float | None = None
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    emotion: Emotion = Emotion.NEUTRAL
    emotion_strength: float = 1.0


DEFAULTS = Controls()
RANGES = {
    "head_motion": (0.0, 1.5),
    "expressiveness": (0.0, 1.5),
    "blinks_per_minute": (0.0, 40.0),
    "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0),
    "emotion_strength": (0.0, 1.0),
}
NAMES = (*RANGES, "emotion")


def controls_from_text(texts: Mapping[str, str]) -> Controls:
    """Read controls from text as they are stored with a job; missing and empty ones have their defaults.

    Args:
        texts: value by name; other names are left alone.

    Raises:
        ValueError: a value is not a number, or no emotion of ours.
    """
    numbers = {name: float(texts[name]) for name in RANGES if texts.get(name)}
    emotion = Emotion(texts.get("emotion") or DEFAULTS.emotion)
    return Controls(**numbers, emotion=emotion)


def controls_to_text(controls: Controls) -> dict[str, str]:
    """Text for every control that has a value; `controls_from_text` reads it back exactly."""
    values = {name: getattr(controls, name) for name in NAMES}
    return {name: str(value) for name, value in values.items() if value is not None}
