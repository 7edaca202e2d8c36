"""Model bundles: an audio encoder, a motion model and a renderer that fit together, and what differs between them."""

from dataclasses import dataclass

from shared.errors import ConfigurationError
from shared.timeline import Geometry

LOUDNESS_COLUMNS = 1


@dataclass(frozen=True)
class Bundle:
    """What every stage must know of the others.

    Attributes:
        name: part of stream names.
        version: changes whenever weights change what a portrait or window becomes; part of cache keys.
        geometry: context, hop and margin in frames.
        hidden_size: width of the audio encoder.
        receptive_field: samples one encoder feature sees.
        relative_motion: rows are relative to the portrait (the neutral row is the photo).
    """

    name: str
    version: str
    geometry: Geometry
    hidden_size: int
    receptive_field: int
    relative_motion: bool

    @property
    def feature_size(self) -> int:
        """Columns of a feature row: the encoder's hidden state and the loudness of the frame."""
        return self.hidden_size + LOUDNESS_COLUMNS


BUNDLES = {
    "embedded": Bundle(
        name="embedded",
        version="1",
        geometry=Geometry(context=10, hop=65, margin=10),
        hidden_size=192,
        receptive_field=720,
        relative_motion=True,
    ),
}


def load_bundle(name: str) -> Bundle:
    """Look a bundle up.

    Raises:
        ConfigurationError: no such bundle.
    """
    try:
        return BUNDLES[name]
    except KeyError as error:
        raise ConfigurationError(
            f"unknown bundle {name!r}; known are {sorted(BUNDLES)}. Set TH_BUNDLE to one of them."
        ) from error
