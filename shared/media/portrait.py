"""Portraits in: check an image's header, decode it to RGB as a person would see it.

EXIF rotation is applied, alpha is laid over white, CMYK, 16 bit and palette images are converted, an animation gives
its first frame.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from shared.errors import LimitExceeded, UnsupportedMedia

EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "MPO": "jpg"}
READERS = ("JPEG", "PNG", "WEBP")  # a camera's MPO is opened as JPEG
MIN_SIDE_PX = 64
MAX_SIDE_PX = 8192
MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class PortraitFormat:
    """What a portrait's header says; width and height before EXIF rotation."""

    extension: str
    width_px: int
    height_px: int


def probe_portrait(file: IO[bytes]) -> PortraitFormat:
    """Read the header of an image: cheap, decodes no pixel.

    Raises:
        UnsupportedMedia: not a jpg, png or webp, or a corrupt header.
        LimitExceeded: a side outside 64 .. 8192 px or more than 40 million pixels.
    """
    file.seek(0)
    with _readable(), Image.open(file, formats=READERS) as image:
        found = PortraitFormat(EXTENSIONS[str(image.format)], image.width, image.height)
    _check_size(found.width_px, found.height_px)
    return found


def decode_portrait(data: bytes) -> NDArray[np.uint8]:
    """Decode a portrait.

    Args:
        data: a jpg, png or webp file.

    Returns:
        (height, width, 3) uint8 RGB, upright.

    Raises:
        UnsupportedMedia: cannot be decoded.
        LimitExceeded: as `probe_portrait`.
    """
    with _readable(), Image.open(io.BytesIO(data), formats=READERS) as image:
        _check_size(image.width, image.height)
        image.load()
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(_to_rgb(upright), dtype=np.uint8)
    return np.ascontiguousarray(pixels)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        deep = np.asarray(image, dtype=np.float64)
        scale = 257.0 if deep.max(initial=0.0) > 255 else 1.0
        return Image.fromarray(np.clip(np.rint(deep / scale), 0, 255).astype(np.uint8), "L").convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


def _check_size(width_px: int, height_px: int) -> None:
    if min(width_px, height_px) < MIN_SIDE_PX or max(width_px, height_px) > MAX_SIDE_PX:
        raise LimitExceeded(
            f"the portrait has {width_px} x {height_px} pixels; each side must have {MIN_SIDE_PX} to {MAX_SIDE_PX}. "
            "Resize it."
        )
    if width_px * height_px > MAX_PIXELS:
        raise LimitExceeded(
            f"the portrait has {width_px} x {height_px} = {width_px * height_px / 1e6:.1f} million pixels; "
            f"at most {MAX_PIXELS // 1_000_000} million are accepted. Resize it."
        )


@contextmanager
def _readable() -> Iterator[None]:
    """Name what Pillow raises; its own limit on pixels is replaced by ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Image.DecompressionBombError as error:
        raise LimitExceeded(f"the portrait is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise UnsupportedMedia("the portrait is not an image that can be read; expected jpg, png or webp.") from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise UnsupportedMedia(
            f"the portrait cannot be read ({error}); expected an undamaged jpg, png or webp image."
        ) from error
