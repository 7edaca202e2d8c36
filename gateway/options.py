"""Options of a submission: their text to checked values, and their description for OpenAPI.

This is the one place where they are validated; names, ranges and defaults come from ``shared/controls.py``.
"""

import math
import secrets
from collections.abc import Mapping
from typing import Any

from shared.bundles import Bundle
from shared.controls import DEFAULTS, RANGES, Emotion
from shared.errors import InputError
from shared.protocol import JobOptions, Output

MAX_SEED = 2**63 - 1
OUTPUTS: tuple[Output, ...] = ("square", "full")
EMOTIONS = tuple(emotion.value for emotion in Emotion)
FIELDS = ("seed", *RANGES, "emotion", "output")

DESCRIPTIONS = {
    "head_motion": "factor on head motion",
    "expressiveness": "factor on mouth and brows",
    "blinks_per_minute": "mean rate, 0 for none; when missing, the motion model's own (about 19)",
    "gaze_x": "where the eyes look: -1 to the viewer's left, 1 to the viewer's right",
    "gaze_y": "where the eyes look: -1 down, 1 up",
    "emotion_strength": "how much of the emotion",
}


def parse_options(fields: Mapping[str, str]) -> JobOptions:
    """Check the options of a submission; a missing seed is drawn.

    Raises:
        InputError: unknown, not a number, or out of range.
    """
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise InputError(f"unknown option {', '.join(map(repr, unknown))}; known are {', '.join(FIELDS)}.")
    return JobOptions(
        seed=_seed(fields["seed"]) if "seed" in fields else secrets.randbelow(MAX_SEED + 1),
        output=_output(fields.get("output", OUTPUTS[0])),
        emotion=Emotion(_choice("emotion", fields.get("emotion", DEFAULTS.emotion), EMOTIONS)),
        **{name: _number(name, fields[name]) for name in RANGES if name in fields},
    )


def require_usable(options: JobOptions, bundle: Bundle) -> None:
    """Refuse what the motion model of a bundle cannot do, rather than ignore it.

    Raises:
        InputError: an option would do nothing.
    """
    if options.blinks_per_minute is not None and bundle.motion != "embedded":
        raise InputError(
            f"blinks_per_minute does nothing with bundle {bundle.name}: the blinks are part of the motion that its "
            "model makes. Leave it out."
        )


def option_schema() -> dict[str, Any]:
    """The options as properties of a JSON schema."""
    numbers = {name: _number_schema(name) for name in RANGES}
    return {
        "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED, "description": "drawn when missing"},
        **numbers,
        "emotion": {
            "type": "string",
            "enum": list(EMOTIONS),
            "default": DEFAULTS.emotion.value,
            "description": "expression that stays on the face while it speaks",
        },
        "output": {"type": "string", "enum": list(OUTPUTS), "default": OUTPUTS[0]},
    }


def _number_schema(name: str) -> dict[str, Any]:
    low, high = RANGES[name]
    default = getattr(DEFAULTS, name)
    schema = {"type": "number", "minimum": low, "maximum": high, "description": DESCRIPTIONS[name]}
    return schema if default is None else {**schema, "default": default}


def _output(text: str) -> Output:
    return "full" if _choice("output", text, OUTPUTS) == "full" else "square"


def _choice(name: str, text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise InputError(f"{name} is {text[:40]!r}; expected one of {', '.join(known)}.")
    return text


def _seed(text: str) -> int:
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isdigit() and len(stripped) <= 19 and int(stripped) <= MAX_SEED):
        raise InputError(f"seed is {text[:40]!r}; expected a whole number from 0 to 2^63 - 1.")
    return int(stripped)


def _number(name: str, text: str) -> float:
    low, high = RANGES[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InputError(f"{name} is {text[:40]!r}; expected a number from {low:g} to {high:g}.")
    return value
