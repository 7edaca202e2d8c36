"""Model bundles: an audio encoder, a motion model and a renderer that fit together, and what differs between them.

The shipped ones are listed here; operators add their own in a JSON file (``TH_BUNDLE_FILE``) of the form
``{"NAME": {"version": "1", "context": 10, "hop": 65, "margin": 10, "hidden_size": 768, "receptive_field": 400,
"relative_motion": true, "lookahead": 0, "renderer": "embedded", "motion": "embedded"}}``; the last three are optional.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from shared.errors import ConfigurationError
from shared.timeline import Geometry

LOUDNESS_COLUMNS = 1
RendererName = Literal["embedded", "liveportrait"]
MotionName = Literal["embedded", "joyvasa"]


@dataclass(frozen=True)
class Bundle:
    """What every stage must know of the others.

    Attributes:
        name: part of stream names.
        version: changes whenever weights change what a portrait or window becomes; part of cache keys.
        geometry: context, hop, margin and look-ahead in frames.
        hidden_size: width of the audio encoder.
        receptive_field: samples one encoder feature sees.
        relative_motion: rows are relative to the portrait (the neutral row is the photo).
        renderer: the weight-free warp, or LivePortrait's networks.
        motion: our network, or JoyVASA's; JoyVASA brings its own audio encoder.
    """

    name: str
    version: str
    geometry: Geometry
    hidden_size: int
    receptive_field: int
    relative_motion: bool
    renderer: RendererName = "embedded"
    motion: MotionName = "embedded"

    @property
    def feature_size(self) -> int:
        """Columns of a feature row: the encoder's hidden state and the loudness of the frame."""
        return self.hidden_size + LOUDNESS_COLUMNS


EMBEDDED = Bundle(
    name="embedded",
    version="2",
    geometry=Geometry(context=10, hop=65, margin=10, lookahead=4),
    hidden_size=192,
    receptive_field=720,
    relative_motion=True,
)
BUNDLES = {
    "embedded": EMBEDDED,
    # The shipped encoder and motion, shown by LivePortrait's networks.
    "liveportrait": replace(EMBEDDED, name="liveportrait", renderer="liveportrait"),
    # JoyVASA's encoder hears the 100 new frames alone; its motion network carries the past ones in its state.
    "joyvasa": Bundle(
        name="joyvasa",
        version="1",
        geometry=Geometry(context=0, hop=100, margin=0),
        hidden_size=768,
        receptive_field=400,
        relative_motion=False,
        renderer="liveportrait",
        motion="joyvasa",
    ),
}


def load_bundle(name: str, file: str = "") -> Bundle:
    """Look a bundle up.

    Args:
        name: of the bundle.
        file: path of a JSON file with further bundles; empty for none.

    Raises:
        ConfigurationError: no such bundle, or the file cannot be read.
    """
    bundles = {**BUNDLES, **(_read_bundles(Path(file)) if file else {})}
    try:
        return bundles[name]
    except KeyError as error:
        raise ConfigurationError(
            f"unknown bundle {name!r}; known are {sorted(bundles)}. Set TH_BUNDLE to one of them, or define it in the "
            "file that TH_BUNDLE_FILE names."
        ) from error


def _read_bundles(path: Path) -> dict[str, Bundle]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {name: _bundle(name, facts) for name, facts in document.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"TH_BUNDLE_FILE {path} cannot be read ({type(error).__name__}: {error}); expected a JSON object of "
            "bundles with version, context, hop, margin, hidden_size, receptive_field and relative_motion."
        ) from error


def _bundle(name: str, facts: dict[str, Any]) -> Bundle:
    counts = {key: facts[key] for key in ("context", "hop", "margin", "hidden_size", "receptive_field")}
    counts["lookahead"] = facts.get("lookahead", 0)
    for key, value in counts.items():
        lowest = 0 if key in ("margin", "context", "lookahead") else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise ValueError(f"{key} of bundle {name!r} is {value!r}; expected an integer of at least {lowest}")
    if not isinstance(facts["relative_motion"], bool):
        raise ValueError(f"relative_motion of bundle {name!r} is {facts['relative_motion']!r}; expected true or false")
    renderer, motion = facts.get("renderer", "embedded"), facts.get("motion", "embedded")
    if renderer not in get_args(RendererName):
        raise ValueError(f"renderer of bundle {name!r} is {renderer!r}; expected one of {get_args(RendererName)}")
    if motion not in get_args(MotionName):
        raise ValueError(f"motion of bundle {name!r} is {motion!r}; expected one of {get_args(MotionName)}")
    return Bundle(
        name=name,
        version=str(facts["version"]),
        geometry=Geometry(counts["context"], counts["hop"], counts["margin"], counts["lookahead"]),
        hidden_size=counts["hidden_size"],
        receptive_field=counts["receptive_field"],
        relative_motion=facts["relative_motion"],
        renderer=renderer,
        motion=motion,
    )
