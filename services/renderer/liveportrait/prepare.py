"""Portrait to appearance: find the face, cut the official crop, extract features and motion.

Runs once per portrait, in float32.
"""

from dataclasses import dataclass

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.drawn_face import draw_face
from services.renderer.liveportrait import crop as cropping
from services.renderer.liveportrait import landmarks
from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.keypoints import refine
from services.renderer.liveportrait.source import LivePortraitAppearance
from shared.errors import NoFaceFound, NonFiniteOutput
from shared.protocol import Output

Bytes = NDArray[np.uint8]

log = structlog.get_logger(__name__)

CLOSED_EYES = "The eyes of the portrait are closed; they will stay closed."


@dataclass(frozen=True)
class Crop:
    """A face cut out of its photo.

    Attributes:
        photo: (h, w, 3) uint8 RGB, longer side <= 1280, even.
        o2c: (3, 3) float64, photo pixels -> crop pixels.
        pixels: (512, 512, 3) uint8 RGB.
        mesh: (478, 2) landmarks in pixels of the crop.
        warnings: in words.
    """

    photo: Bytes
    o2c: NDArray[np.float64]
    pixels: Bytes
    mesh: NDArray[np.float64]
    warnings: tuple[str, ...]


def cut_out(portrait: Bytes) -> Crop:
    """Find the speaking face of a portrait and cut it out.

    Args:
        portrait: (H, W, 3) uint8 RGB, upright.

    Raises:
        NoFaceFound: there is no face in it.
        ShapeError: not an (H, W, 3) uint8 image.
    """
    face, warnings = detect.find_speaker(portrait)
    photo = cropping.limit_size(portrait)
    points = _reduced(face[:, :2], portrait.shape[:2])
    square = cropping.face_square(points, landmarks.MEDIAPIPE, cropping.SOURCE)
    o2c = cropping.turned_matrix(square, cropping.SOURCE.side_px)
    pixels = cropping.sample(photo, o2c, cropping.SOURCE.side_px)
    # Measured again in the crop, where the face is large, lids and lips are found more exactly.
    closer = detect.landmarks_of_crop(pixels)
    mesh = cropping.move(points, o2c) if closer is None else closer[:, :2].astype(np.float64)
    if float(landmarks.official_eye_ratios(mesh).mean()) < landmarks.EYES_CLOSED:
        warnings += (CLOSED_EYES,)
    return Crop(photo, o2c, pixels, mesh, warnings)


def drawn_crop() -> Crop:
    """A drawn face, found by MediaPipe, which is loaded by this; or, not found, the whole drawing with closed lips."""
    drawing = draw_face(cropping.SOURCE.side_px)
    try:
        return cut_out(drawing)
    except NoFaceFound:
        log.warning("warm_up.no_face")
        return Crop(drawing, np.eye(3), drawing, np.zeros((detect.N_LANDMARKS, 2)), ())


@torch.inference_mode()
def extract(networks: Networks, crop: Crop, output: Output, feature_dtype: torch.dtype) -> LivePortraitAppearance:
    """Run F and M on a crop; waits for the device.

    Args:
        networks: F and M are used.
        crop: of a portrait.
        output: "square" or "full".
        feature_dtype: float32 or float16, how the features are kept.

    Raises:
        NonFiniteOutput: F or M gave NaN or infinity.
    """
    device = next(networks.F.parameters()).device
    image = torch.from_numpy(cropping.network_input(crop.pixels)).to(device).permute(2, 0, 1)[None].float() / 255.0
    f_s = networks.F(image)[0].to(feature_dtype).cpu()
    x_c, motion = refine(networks.M(image))
    values = [value[0].cpu() for value in (x_c, motion.R, motion.delta, motion.t, motion.s)]
    if not all(bool(value.isfinite().all()) for value in (f_s, *values)):
        raise NonFiniteOutput(
            "the appearance or motion extractor gave NaN or infinity for this portrait. Check the weights with "
            "`talkinghead weights verify liveportrait`."
        )
    x_c_np, R, delta, t, s = (value.numpy() for value in values)
    return LivePortraitAppearance(
        f_s=f_s.numpy(),
        x_c=x_c_np,
        R=R,
        delta=delta,
        t=t,
        s=s,
        o2c=crop.o2c,
        lip_ratio=landmarks.official_lip_ratio(crop.mesh),
        photo=crop.photo if output == "full" else None,
        warnings=crop.warnings,
    )


def _reduced(points: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Points of a portrait (height, width) in its size-limited copy; pixels are at their centres."""
    height, width = size
    (scaled_h, scaled_w), _ = cropping.limited_sizes(height, width)
    factor = np.array([scaled_w / width, scaled_h / height])
    moved: NDArray[np.float64] = (points.astype(np.float64) + 0.5) * factor - 0.5
    return moved
