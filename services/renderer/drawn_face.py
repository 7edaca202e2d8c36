"""A face drawn with a few soft shapes: workers warm up on it and tests need no photo.

Plain geometry, no picture behind it; MediaPipe finds it as it finds any face.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE_PX = 512
SUPERSAMPLE = 2

SKIN, SHADE, BLUSH = (236, 190, 160), (205, 150, 122), (226, 150, 132)
HAIR, HAIR_LIGHT = (84, 54, 40), (122, 82, 58)
LIPS, SEAM = (190, 92, 88), (92, 38, 40)
WHITE, IRIS, PUPIL = (246, 242, 238), (86, 118, 96), (24, 20, 22)
BACKDROP, SHIRT = (176, 196, 206), (70, 92, 132)


def draw_face(size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """A woman's portrait in flat colours with soft shading: (size, size, 3) uint8 RGB."""
    canvas = _Canvas(SIZE_PX * SUPERSAMPLE, BACKDROP)
    canvas.ellipse((256, 250), (132, 168), HAIR, blur=3)
    canvas.ellipse((256, 330), (126, 130), HAIR, blur=3)
    canvas.ellipse((256, 540), (210, 130), SHIRT, blur=2)
    canvas.polygon([(212, 360), (300, 360), (312, 440), (256, 462), (200, 440)], SHADE, blur=3)
    canvas.ellipse((256, 262), (98, 128), SKIN, blur=2)
    canvas.ellipse((256, 330), (76, 78), SKIN, blur=4)
    canvas.ellipse((188, 318), (28, 22), BLUSH, blur=16, opacity=0.5)
    canvas.ellipse((324, 318), (28, 22), BLUSH, blur=16, opacity=0.5)
    canvas.ellipse((256, 404), (34, 12), SHADE, blur=10, opacity=0.5)
    for x, outward in ((214, -1), (298, 1)):
        _eye(canvas, x, 256, outward)
    _nose(canvas)
    _mouth(canvas)
    canvas.polygon(
        [(150, 270), (160, 150), (256, 96), (352, 150), (362, 270), (330, 186), (256, 164), (182, 186)], HAIR, 3
    )
    canvas.polygon([(196, 140), (256, 108), (316, 140), (256, 128)], HAIR_LIGHT, blur=8, opacity=0.7)
    return canvas.finish(size_px)


def _eye(canvas: "_Canvas", x: int, y: int, outward: int) -> None:
    canvas.ellipse((x, y - 2), (30, 16), SHADE, blur=7, opacity=0.6)
    upper = [(x - 23, y + 2), (x - 12, y - 7), (x, y - 10), (x + 12, y - 7), (x + 23, y + 2)]
    lower = [(x + 12, y + 6), (x, y + 8), (x - 12, y + 6)]
    canvas.polygon(upper + lower, WHITE, blur=1)
    canvas.ellipse((x, y - 1), (8, 8), IRIS, blur=1)
    canvas.ellipse((x, y - 1), (4, 4), PUPIL, blur=1)
    canvas.ellipse((x + 2, y - 4), (2, 2), WHITE, blur=1)
    canvas.line(upper, HAIR, 3)
    canvas.line([(x - 20, y + 4), *reversed(lower), (x + 20, y + 4)], SHADE, 2)
    canvas.line([(x - 20, y - 10), (x, y - 18), (x + 20, y - 10)], SHADE, 2)
    brow = [(x - outward * 26, y - 26), (x, y - 34), (x + outward * 28, y - 24)]
    canvas.line(brow, HAIR, 7)


def _nose(canvas: "_Canvas") -> None:
    canvas.ellipse((256, 300), (12, 34), (244, 204, 178), blur=8, opacity=0.8)
    canvas.ellipse((256, 322), (22, 12), SHADE, blur=8, opacity=0.55)
    for x in (246, 266):
        canvas.ellipse((x, 326), (5, 3), (128, 76, 64), blur=2)
    canvas.line([(233, 318), (236, 327), (244, 329)], SHADE, 2)
    canvas.line([(279, 318), (276, 327), (268, 329)], SHADE, 2)


def _mouth(canvas: "_Canvas") -> None:
    canvas.polygon([(218, 360), (240, 351), (256, 355), (272, 351), (294, 360), (256, 366)], LIPS, blur=1)
    canvas.polygon([(218, 360), (256, 363), (294, 360), (274, 376), (256, 379), (238, 376)], (204, 108, 102), blur=1)
    canvas.line([(217, 359), (240, 361), (256, 363), (272, 361), (295, 359)], SEAM, 2)
    canvas.ellipse((256, 371), (14, 3), (224, 146, 138), blur=3, opacity=0.7)


class _Canvas:
    """Soft shapes on a supersampled picture; coordinates are those of a 512 px picture."""

    def __init__(self, size_px: int, backdrop: tuple[int, int, int]) -> None:
        self._scale = size_px / SIZE_PX
        light = 1.0 - 0.25 * np.linspace(0.0, 1.0, size_px)[:, None, None]
        self._pixels = np.array(backdrop, np.float32) * np.broadcast_to(light, (size_px, size_px, 1)).astype(np.float32)

    def ellipse(
        self,
        centre: tuple[int, int],
        axes: tuple[int, int],
        colour: tuple[int, int, int],
        blur: float,
        opacity: float = 1.0,
    ) -> None:
        mask = self._mask()
        middle = (int(centre[0] * self._scale), int(centre[1] * self._scale))
        cv2.ellipse(mask, middle, (int(axes[0] * self._scale), int(axes[1] * self._scale)), 0, 0, 360, 1.0, -1)
        self._lay(mask, colour, blur, opacity)

    def polygon(
        self, points: list[tuple[int, int]], colour: tuple[int, int, int], blur: float, opacity: float = 1.0
    ) -> None:
        mask = self._mask()
        cv2.fillPoly(mask, [self._scaled(points)], 1.0)
        self._lay(mask, colour, blur, opacity)

    def line(self, points: list[tuple[int, int]], colour: tuple[int, int, int], width: int) -> None:
        mask = self._mask()
        cv2.polylines(mask, [self._scaled(points)], False, 1.0, int(width * self._scale), cv2.LINE_AA)
        self._lay(mask, colour, 0.8, 1.0)

    def finish(self, size_px: int) -> NDArray[np.uint8]:
        small = cv2.resize(self._pixels, (size_px, size_px), interpolation=cv2.INTER_AREA)
        picture: NDArray[np.uint8] = np.clip(np.rint(small), 0, 255).astype(np.uint8)
        return picture

    def _mask(self) -> NDArray[np.float32]:
        return np.zeros(self._pixels.shape[:2], np.float32)

    def _scaled(self, points: list[tuple[int, int]]) -> NDArray[np.int32]:
        scaled: NDArray[np.int32] = np.rint(np.array(points) * self._scale).astype(np.int32)
        return scaled

    def _lay(self, mask: NDArray[np.float32], colour: tuple[int, int, int], blur: float, opacity: float) -> None:
        soft = cv2.GaussianBlur(mask, (0, 0), blur * self._scale)[..., None] * opacity
        self._pixels += soft * (np.array(colour, np.float32) - self._pixels)
