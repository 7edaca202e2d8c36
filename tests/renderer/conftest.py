"""Portraits prepared once for all tests of the renderer."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.drawn_face import draw_face
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from shared.media.portrait import decode_portrait

PORTRAIT = Path(__file__).parents[1] / "data" / "portrait.jpg"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    return decode_portrait(PORTRAIT.read_bytes())


@pytest.fixture(scope="session")
def photo_appearance(photo: NDArray[np.uint8]) -> Appearance:
    return prepare(photo)


@pytest.fixture(scope="session")
def photo_puppet(photo_appearance: Appearance) -> Puppet:
    return Puppet(photo_appearance)


@pytest.fixture(scope="session")
def drawn_appearance() -> Appearance:
    """A face with closed lips."""
    return prepare(draw_face())


@pytest.fixture(scope="session")
def drawn_puppet(drawn_appearance: Appearance) -> Puppet:
    return Puppet(drawn_appearance)
