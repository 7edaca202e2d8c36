"""Appearance and motion to frames: the weight-free portrait warp, put together.

Forward displacement fields of the sliders are summed, the head pose is applied through a dense depth map, the sum is
inverted by fixed point on a coarse grid, in two layers split along the lips. Drawing is a pure function of appearance
and motion row: any stretch of frames can be drawn anywhere, twice, bit-identical.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray

from services.renderer.drawn_face import draw_face
from services.renderer.embedded.appearance import Appearance
from services.renderer.embedded.controls import Controls, controls_of
from services.renderer.embedded.eyes import build_eyes, draw_eyes
from services.renderer.embedded.fields import Layers
from services.renderer.embedded.geometry import GRID, STRIDE, Bytes, Face, Floats, smoothstep
from services.renderer.embedded.inverse import Grid
from services.renderer.embedded.lip_line import LipLine, find_lip_line
from services.renderer.embedded.mouth import Box, Mouth
from services.renderer.embedded.paste_back import PasteBack
from services.renderer.embedded.pose import build_pose
from services.renderer.embedded.prepare import prepare
from services.renderer.interface import Drawn, FrameBatch
from shared import metrics
from shared.errors import NoFaceFound
from shared.motion import neutral_rows
from shared.protocol import Output

BLEND_PX = 10.0
BLEND_WIDENS = 0.9  # px per px beyond the mouth corners
BLEND_MAX_PX = 40.0

log = structlog.get_logger()


class Puppet:
    """One portrait ready to be drawn: everything that does not change from frame to frame."""

    def __init__(self, appearance: Appearance) -> None:
        self.texture: Bytes = np.ascontiguousarray(appearance.texture)
        self.face = Face.measure(appearance.landmarks)
        self.line = find_lip_line(self.texture, self.face)
        self.layers = Layers(self.face, self.line)
        self.pose = build_pose(self.face, appearance.person)
        self.mouth = Mouth(self.texture, self.face, self.line, self.layers.landmarks, self.pose)
        self.eyes = build_eyes(self.texture, self.face)
        self.frame_shape = appearance.frame_shape
        self._paste = None if appearance.photo is None else PasteBack(appearance.photo, appearance.crop)
        self._grid = Grid()
        self._blend = _up_blend(self.line)

    def frames(self, motion: NDArray[np.float32], reference: NDArray[np.float32] | None = None) -> Iterator[Bytes]:
        """Draw frame after frame.

        Args:
            motion: (N, 70) float32 rows.
            reference: (70,) row that shows the portrait itself, for absolute motion; None when rows are relative.

        Yields:
            (h, w, 3) uint8 RGB.

        Raises:
            ShapeError: motion of another shape or dtype.
            NonFiniteOutput: NaN or infinity in the motion.
        """
        for controls in controls_of(motion, reference):
            crop = self.draw_crop(controls)
            yield crop if self._paste is None else self._paste.into_photo(crop)

    def draw_crop(self, controls: Controls) -> Bytes:
        """The (512, 512, 3) crop of one frame."""
        texture = draw_eyes(self.texture, self.eyes, controls.blink, controls.gaze)
        weights = controls.fields
        if controls.is_still and not (weights @ self.layers.landmarks.reshape(len(weights), -1)).any():
            return texture.copy() if texture is self.texture else texture
        box = self.mouth.box(controls)
        up = self._backward(self.layers.up, controls, 0, box.bottom + 1)
        low_first = max(box.top - 1, 0)
        low = self._backward(self.layers.low, controls, low_first, GRID)
        main = self._merge(up, low, low_first)
        sampling = self._grid.sampling_map(main)
        frame: Bytes = cv2.remap(texture, sampling, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        up_map, low_map = self._box_map(up, box, 0), self._box_map(low, box, low_first)
        self.mouth.draw(frame, texture, up_map, low_map, box, controls)
        return frame

    def _backward(self, layer: Floats, controls: Controls, first_row: int, stop_row: int) -> Floats:
        expression = (controls.fields @ layer).reshape(3, GRID, GRID)
        return self._grid.invert(self.pose.displacement(expression, controls), first_row, stop_row)

    def _merge(self, up: Floats, low: Floats, low_first: int) -> Floats:
        """Both layers as one smooth map: the mouth box, drawn sharply later, hides the blend."""
        shared = slice(low_first, len(up))
        upper, lower = up[shared], low[: len(up) - low_first]
        source = self._grid.cells[shared] + upper * (1.0 / STRIDE)
        share = cv2.remap(self._blend, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        merged = cv2.blendLinear(upper, lower, share, 1.0 - share)
        return np.concatenate([up[:low_first], merged, low[len(up) - low_first :]])

    def _box_map(self, backward: Floats, box: Box, first_row: int) -> Floats:
        """Full-resolution map inside the box of a coarse backward displacement that begins at ``first_row``."""
        part = backward[box.top - 1 - first_row : box.bottom + 1 - first_row, box.left - 1 : box.right + 1]
        size = (part.shape[1] * STRIDE, part.shape[0] * STRIDE)
        fine = cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)[STRIDE:-STRIDE, STRIDE:-STRIDE]
        sampling: Floats = fine + self._grid.pixels[box.pixels]
        return sampling


class EmbeddedRenderer:
    """The weight-free warp behind the renderers' interface: frames are drawn one by one, in `compute`, on the CPU."""

    max_batch_frames = 4  # drawn one by one all the same, but handed from thread to thread together

    def warm_up(self) -> None:
        """Load MediaPipe's models and draw real shapes once."""
        try:
            appearance = prepare(draw_face(), "square")
        except NoFaceFound:
            log.warning("warm_up.no_face")
            return
        moving = neutral_rows(3)
        moving[:, 3 * 19 + 1] = 0.05
        moving[:, 68] = 2.0
        moving[:, 3 * 11 + 1] = 0.01
        render(Puppet(appearance), moving)

    def prepare(self, portrait: Bytes, output: Output) -> Appearance:
        """See `services.renderer.embedded.prepare.prepare`."""
        return prepare(portrait, output)

    def load(self, data: bytes) -> Appearance:
        """See `Appearance.from_bytes`."""
        return Appearance.from_bytes(data)

    def build(self, appearance: Appearance) -> Puppet:
        """Measure the face and make its fields."""
        return Puppet(appearance)

    def upload(self, batch: FrameBatch[Puppet]) -> FrameBatch[Puppet]:
        """Nothing has to go anywhere."""
        return batch

    def compute(self, uploaded: FrameBatch[Puppet]) -> list[Bytes]:
        """Draw the frames; see `Puppet.frames`."""
        frames: list[Bytes] = []
        with metrics.render_step_duration_seconds.labels("compute").time():
            for index, (puppet, reference) in enumerate(zip(uploaded.subjects, uploaded.references, strict=True)):
                frames += puppet.frames(uploaded.motion[index : index + 1], reference)
        return frames

    def download(self, computed: list[Bytes]) -> list[Bytes]:
        """They are here already."""
        return computed

    def finish(self, downloaded: list[Bytes]) -> Sequence[Drawn]:
        """They are finished."""
        return downloaded


def render(
    puppet: Puppet, motion: NDArray[np.float32], reference: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """Draw all frames of a stretch of motion: (N, h, w, 3) uint8 RGB. See `Puppet.frames`."""
    frames = np.empty((len(motion), *puppet.frame_shape), np.uint8)
    for index, frame in enumerate(puppet.frames(motion, reference)):
        frames[index] = frame
    return frames


def _up_blend(line: LipLine) -> Floats:
    """(GRID, GRID) share of the upper layer in the merged map, by place in the photo."""
    axis = (np.arange(GRID) * STRIDE + (STRIDE - 1) / 2).astype(np.float32)
    middle = (line.upper_at(axis) + line.lower_at(axis)) / 2
    width = np.minimum(BLEND_PX + BLEND_WIDENS * line.beyond(axis), BLEND_MAX_PX)
    return 1.0 - smoothstep(-0.5, 0.5, (axis[:, None] - middle) / width)
