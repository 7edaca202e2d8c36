"""A clip's pictures -> motion rows by LivePortrait's motion extractor M, when its weights are at hand.

The clip is cropped as the official tools crop a driving video (one upright box, the mean of all frames' boxes) and M
reads every picture. Rows are made relative to the person at rest: delta_i - delta_0, R_i R_0^T, t_i - t_0, s_i / s_0,
where 0 is the median of the frames with the most closed lips and open eyes, found by the landmarks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.renderer.embedded.controls import angles, rotations
from services.renderer.liveportrait.checkpoint import MOTION, check_state, expected_shapes, find_checkpoint, read_state
from services.renderer.liveportrait.config import read_config
from services.renderer.liveportrait.crop import DRIVING, box_matrix, driving_box, network_input, sample
from services.renderer.liveportrait.keypoints import degrees_from_logits
from services.renderer.liveportrait.landmarks import MEDIAPIPE
from services.renderer.liveportrait.motion_extractor import MotionExtractor, RawMotion
from shared.errors import UnsupportedMedia
from shared.motion import EXP, PYR, ROW, SCALE
from shared.motion import T as TRANSLATION
from shared.timeline import FPS
from training.video.decode import Picture
from training.video.faces import on_clock
from training.video.measures import AT

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

EXTRACTOR = "liveportrait-1"
BATCH = 16
REST_SHARE = 0.2
MIN_REST_FRAMES = 5


@dataclass(frozen=True)
class LoadedExtractor:
    """M on its device, and the hash of its file."""

    network: MotionExtractor
    device: torch.device
    sha256: str


def load_extractor(folder: Path) -> LoadedExtractor:
    """Load M from a folder of LivePortrait weights; onto a GPU where there is one.

    Raises:
        WeightsMismatch: the file is missing or does not fit.
    """
    with torch.device("meta"):
        network = MotionExtractor(read_config(folder).motion)
    path = find_checkpoint(folder, MOTION)
    state = read_state(path)
    check_state(path, state, expected_shapes(network))
    network.load_state_dict(state, strict=True, assign=True)
    network.eval().requires_grad_(requires_grad=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return LoadedExtractor(network.to(device), device, sha256(path.read_bytes()).hexdigest())


def rows_from_pictures(
    pictures: Iterable[Picture], first_frame: int, points: Floats, measures: NDArray[np.float64], by: LoadedExtractor
) -> Floats:
    """Motion rows of one clip.

    Args:
        pictures: of the video, in order; only those of the clip are looked at.
        first_frame: of the clip, at 25 fps.
        points: (N, 478, 3) landmarks of the clip's frames, pixels of the pictures.
        measures: (N, 17) of `measures.measure`.
        by: the network.

    Returns:
        (N, 70) float32 relative to the person at rest.

    Raises:
        UnsupportedMedia: the pictures do not cover the clip.
    """
    box = driving_box([frame[:, :2].astype(np.float64) for frame in points], MEDIAPIPE)
    o2c = box_matrix(box, DRIVING.side_px)
    begin, end = Fraction(first_frame - 1, FPS), Fraction(first_frame + len(points), FPS)
    times: list[Fraction] = []
    crops: list[Bytes] = []
    found: list[Floats] = []
    for picture in pictures:
        if picture.time >= begin:
            times.append(picture.time)
            crops.append(network_input(sample(picture.image, o2c, DRIVING.side_px)))
        if len(crops) == BATCH:
            found.append(_read(crops, by))
            crops = []
        if picture.time >= end:
            break
    found += [_read(crops, by)] if crops else []
    if not times:
        raise UnsupportedMedia(f"no pictures after {float(begin):.2f} s; the file changed while it was read.")
    first, absolute = on_clock(times, np.concatenate(found))
    absolute = absolute[first_frame - first :][: len(points)]
    if len(absolute) != len(points):
        raise UnsupportedMedia(
            f"{len(absolute)} of {len(points)} frames on second reading; the file changed meanwhile."
        )
    return relative_rows(absolute, resting_frames(measures))


def relative_rows(absolute: Floats, rest: NDArray[np.int64]) -> Floats:
    """Absolute rows -> rows relative to the mean of some of them: (N, 70)."""
    zero = np.median(absolute[rest], axis=0)
    rows = absolute - zero
    rows[:, SCALE] = absolute[:, SCALE] / max(float(zero[SCALE]), 1e-3)
    turn = rotations(absolute[:, PYR]) @ rotations(zero[None, PYR])[0].T
    rows[:, PYR] = angles(turn)
    rows[:, TRANSLATION.stop - 1] = 0.0  # released networks do not use t_z
    relative: Floats = rows.astype(np.float32)
    return relative


def resting_frames(measures: NDArray[np.float64]) -> NDArray[np.int64]:
    """Frames with the most closed lips among those with open eyes."""
    lids = measures[:, [AT["lid_left"], AT["lid_right"]]].mean(axis=1)
    awake = np.flatnonzero(lids >= np.median(lids))
    n_rest = max(MIN_REST_FRAMES, round(REST_SHARE * len(awake)))
    resting: NDArray[np.int64] = awake[np.argsort(measures[awake, AT["gap"]], kind="stable")[:n_rest]]
    return resting


@torch.inference_mode()
def _read(crops: list[Bytes], by: LoadedExtractor) -> Floats:
    """Absolute rows of crops: (B, 70)."""
    images = torch.from_numpy(np.stack(crops)).to(by.device).permute(0, 3, 1, 2).float() / 255.0
    return absolute_rows(by.network(images))


def absolute_rows(raw: RawMotion) -> Floats:
    """What M says as rows: (B, 70) float32."""
    rows = np.zeros((len(raw.exp), ROW), np.float32)
    rows[:, EXP] = raw.exp.float().cpu().numpy()
    rows[:, SCALE] = raw.scale.float().cpu().numpy()[:, 0]
    rows[:, TRANSLATION] = raw.t.float().cpu().numpy()
    pyr = [degrees_from_logits(angle.float()) for angle in (raw.pitch, raw.yaw, raw.roll)]
    rows[:, PYR] = torch.stack(pyr, dim=1).cpu().numpy()
    return rows
