"""Portraits of different kinds, made from two public-domain photos and one drawing, to look at the renderer with."""

from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
from numpy.typing import NDArray

from services.renderer.drawn_face import draw_face
from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet, render
from shared.media.portrait import decode_portrait
from shared.motion import EXP, SLIDER_INDEX, exp_from_sliders, neutral_rows

Photo = NDArray[np.uint8]
ASTRONAUT = Path(__file__).parents[1] / "data" / "portrait.jpg"


def astronaut() -> Photo:
    """Colour photo, smile with slightly parted lips: Eileen Collins, NASA."""
    return decode_portrait(ASTRONAUT.read_bytes())


def admiral() -> Photo:
    """Colour photo of an older woman with glasses and closed lips: Grace Hopper, US Navy."""
    data = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return decode_portrait(Path(str(data)).read_bytes())


def greyscale() -> Photo:
    """The admiral without colour."""
    grey = cv2.cvtColor(admiral(), cv2.COLOR_RGB2GRAY)
    photo: Photo = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    return photo


def tilted() -> Photo:
    """The astronaut, head tilted by 20 degrees."""
    turn = cv2.getRotationMatrix2D((230, 140), 20, 0.95)
    photo: Photo = cv2.warpAffine(astronaut(), turn, (512, 512), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return photo


def small_face() -> Photo:
    """A face of about 190 px in a photo of 3000 x 2000 px."""
    height, width, part = 2000, 3000, 760
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    stripes = 12 * np.sin(x / 90) * np.sin(y / 140)
    photo = np.stack([150 + 40 * x / width + stripes, 160 - 30 * y / height + stripes, 175 - 20 * x / width], axis=2)
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 1))
    canvas: Photo = np.clip(photo + noise, 0, 255).astype(np.uint8)
    person = cv2.resize(astronaut(), (part, part), interpolation=cv2.INTER_CUBIC)
    fade = np.zeros((part, part), np.float32)
    fade[30:-1, 30:-30] = 1.0
    fade = cv2.GaussianBlur(fade, (0, 0), 14)[..., None]
    place = canvas[height - part :, 1700 : 1700 + part]
    place[:] = np.rint(person * fade + place * (1 - fade)).astype(np.uint8)
    return canvas


def open_mouth() -> Photo:
    """The admiral, mouth wide open: a drawn frame fed back as a portrait."""
    sliders = np.zeros((1, len(SLIDER_INDEX)), np.float32)
    sliders[0, SLIDER_INDEX["jaw_open"]] = 0.62
    motion = neutral_rows(1)
    motion[:, EXP] = exp_from_sliders(sliders)
    photo: Photo = render(Puppet(prepare(admiral())), motion)[0]
    return photo


def painted() -> Photo:
    """The astronaut as an oil painting."""
    large = cv2.resize(astronaut()[:400, 30:430], (1000, 1000), interpolation=cv2.INTER_CUBIC)
    photo: Photo = cv2.xphoto.oilPainting(large, 5, 1)
    return photo


def drawn() -> Photo:
    """A flat digital drawing."""
    return draw_face()


PORTRAITS: dict[str, Callable[[], Photo]] = {
    "astronaut": astronaut,
    "admiral": admiral,
    "greyscale": greyscale,
    "tilted": tilted,
    "small_face": small_face,
    "open_mouth": open_mouth,
    "painted": painted,
    "drawn": drawn,
}
