"""Portraits of every kind become upright RGB; bad ones are refused by their header."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.errors import LimitExceeded, UnsupportedMedia
from shared.media.portrait import decode_portrait, probe_portrait


def picture() -> Image.Image:
    """96 wide, 80 high: red left half, blue right half."""
    pixels = np.zeros((80, 96, 3), np.uint8)
    pixels[:, :48, 0] = pixels[:, 48:, 2] = 255
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def is_close(pixel: NDArray[np.uint8], colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - colour) <= tolerance))


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_formats(kind: str, extension: str) -> None:
    data = encoded(picture(), kind)
    assert probe_portrait(io.BytesIO(data)).extension == extension
    pixels = decode_portrait(data)
    assert pixels.shape == (80, 96, 3)
    assert is_close(pixels[40, 20], (255, 0, 0))
    assert is_close(pixels[40, 80], (0, 0, 255))


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode_portrait(encoded(picture(), "JPEG", exif=exif))
    assert pixels.shape == (96, 80, 3)
    assert is_close(pixels[20, 40], (255, 0, 0))
    assert is_close(pixels[80, 40], (0, 0, 255))


def test_alpha_is_laid_over_white() -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert is_close(decode_portrait(encoded(image, "PNG"))[40, 20], (255, 255, 255), 0)
    image.putalpha(Image.new("L", image.size, 128))
    assert is_close(decode_portrait(encoded(image, "PNG"))[40, 20], (255, 127, 127), 1)


def test_cmyk_is_converted() -> None:
    assert is_close(decode_portrait(encoded(picture().convert("CMYK"), "JPEG"))[40, 20], (254, 0, 0), 20)


def test_sixteen_bit_grey_is_scaled() -> None:
    ramp = np.linspace(0, 65_535, 96 * 80).reshape(80, 96).astype(np.uint16)
    pixels = decode_portrait(encoded(Image.fromarray(ramp), "PNG"))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[-1, -1].tolist() == [255, 255, 255]
    assert abs(int(pixels[40, 0, 0]) - 128) <= 2


def test_palette_with_transparency() -> None:
    image = picture().quantize(4)
    assert is_close(decode_portrait(encoded(image, "PNG"))[40, 20], (255, 0, 0))
    index = image.getpixel((20, 40))
    assert is_close(decode_portrait(encoded(image, "PNG", transparency=index))[40, 20], (255, 255, 255), 0)


def test_grey_becomes_rgb() -> None:
    assert decode_portrait(encoded(picture().convert("L"), "JPEG")).shape == (80, 96, 3)


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    assert is_close(decode_portrait(data)[30, 30], (255, 0, 0))


@pytest.mark.parametrize("size", [(63, 100), (100, 63), (8193, 64), (64, 8193)])
def test_sides_out_of_range(size: tuple[int, int]) -> None:
    with pytest.raises(LimitExceeded, match="each side"):
        probe_portrait(io.BytesIO(encoded(Image.new("L", size), "PNG")))


def test_too_many_pixels() -> None:
    with pytest.raises(LimitExceeded, match="million"):
        probe_portrait(io.BytesIO(encoded(Image.new("1", (6400, 6300)), "PNG")))


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    data = bytearray(encoded(Image.new("1", (64, 64)), "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises((LimitExceeded, UnsupportedMedia)):
        probe_portrait(io.BytesIO(bytes(data)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"GIF89a" + bytes(50),
    ],
)
def test_corrupt_or_foreign_headers(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"not an image that can be read|expected an undamaged") as caught:
        probe_portrait(io.BytesIO(data))
    assert "<" not in caught.value.message, "no internals of the reader"


def test_a_camera_file_with_several_pictures_gives_the_first() -> None:
    data = encoded(picture(), "MPO", save_all=True, append_images=[picture().rotate(180)])
    assert probe_portrait(io.BytesIO(data)).extension == "jpg"
    assert is_close(decode_portrait(data)[40, 20], (255, 0, 0))


def test_a_damaged_body_is_found_when_decoding() -> None:
    data = encoded(picture(), "PNG")
    cut = data[: len(data) // 2]
    assert probe_portrait(io.BytesIO(cut)).extension == "png"
    with pytest.raises(UnsupportedMedia):
        decode_portrait(cut)
