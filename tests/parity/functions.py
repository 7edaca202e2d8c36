"""Parity of the pure functions: pose, key points, stitching, ratios, crop geometry, paste-back.

`ratios` compares ours with the official results stored in ``liveportrait_functions_seed*.npz`` and divides the worst
difference of each group by its bound. Bounds are those of the reference data: what separate runs of the official code
differ by, with a margin. A golden key that nothing here reads is an error.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.renderer.liveportrait import crop, keypoints, landmarks, motion_transfer, paste, retargeting
from services.renderer.liveportrait.stitching import StitchingNetwork
from tests.parity.draw import draw
from tests.parity.goldens import Goldens

DEGREES = 1e-4
KEYPOINTS = 5e-6
MLP = 2e-6
RATIOS = 1e-6
LINEAR = 2e-6  # the 2x2 part of a matrix
SHIFT_PX = 3e-4
ANGLE = 2e-6  # radians; sine and cosine of a matrix are as good as this
MASK = 0.5 / 255
FIRST_POINTS = 16


def ratios(npz: Mapping[str, NDArray[Any]], stitching: StitchingNetwork, seed: int) -> dict[str, float]:
    """Worst difference over its bound, per group.

    Args:
        npz: the goldens of the functions.
        stitching: filled with the seed's weights.
        seed: of the synthetic inputs that are not stored.

    Raises:
        AssertionError: a golden key was not compared.
    """
    goldens = Goldens(npz)
    with torch.no_grad():
        _pose(goldens)
        _stitching(goldens, stitching)
        _ratio(goldens)
        _retargeting(goldens, stitching)
        _multiplier(goldens)
    for case in sorted({key.split("/")[1] for key in npz if key.startswith("crop/") and key.count("/") > 1}):
        _crop(goldens, case)
    _paste(goldens, seed)
    _sizes(goldens)
    goldens.same("frames_u8", keypoints.frames_u8(goldens.tensor("parse_output/in")), "parse_output/out_u8")
    return goldens.finish()


def _pose(goldens: Goldens) -> None:
    tensor = goldens.tensor
    for name in ("logits", "already_degree"):
        out = "out_degree" if name == "logits" else f"out_{name}"
        ours = keypoints.degrees_from_logits(tensor(f"headpose/in_{name}"))
        goldens.near("headpose", ours, f"headpose/{out}", DEGREES)
    angles = tensor("rotation/in_pitch_yaw_roll_deg").unbind(1)
    goldens.near("rotation", keypoints.rotation_matrix(*angles), "rotation/out_R", KEYPOINTS)
    motion = keypoints.Motion(
        R=keypoints.rotation_matrix(*tensor("transform/in_pitch_yaw_roll_deg").unbind(1)),
        delta=tensor("transform/in_exp"),
        t=tensor("transform/in_t"),
        s=tensor("transform/in_scale"),
    )
    placed = keypoints.place_keypoints(tensor("transform/in_kp"), motion)
    goldens.near("transform", placed, "transform/out_x", KEYPOINTS)


def _stitching(goldens: Goldens, networks: StitchingNetwork) -> None:
    x_s, x_d = goldens.tensor("stitching/in_x_s"), goldens.tensor("stitching/in_x_d")
    feature = keypoints.stitching_feature(x_s, x_d)
    goldens.same("stitching", feature, "stitching/feat")
    goldens.near("stitching", networks.retarget_shoulder(feature), "stitching/delta", MLP)
    stitched = motion_transfer.Stitch(networks.retarget_shoulder)(x_s, x_d)
    goldens.near("stitching", stitched, "stitching/out_x", KEYPOINTS)


def _ratio(goldens: Goldens) -> None:
    points = goldens.array("ratio/in_lmk203")
    eyes, lips = landmarks.eye_ratios(points), landmarks.lip_ratio(points)
    goldens.near("ratio", eyes, "ratio/out_eye", RATIOS)
    goldens.near("ratio", lips, "ratio/out_lip", RATIOS * 4)
    nowhere = torch.zeros(1, 0, 3)
    for name, source in (("eye", eyes), ("lip", lips)):
        driving = goldens.tensor(f"ratio/in_driving_{name}").reshape(1, 1)
        combined = keypoints.retargeting_feature(nowhere, torch.from_numpy(source[:1]), driving)
        goldens.near("ratio", combined, f"ratio/out_combined_{name}", RATIOS * 4)


def _retargeting(goldens: Goldens, networks: StitchingNetwork) -> None:
    x_s, points = goldens.tensor("retarget/in_x_s"), goldens.array("ratio/in_lmk203")[:1]
    eyes, lips = (torch.from_numpy(measure(points)) for measure in (landmarks.eye_ratios, landmarks.lip_ratio))
    wanted_eye, wanted_lip = (goldens.tensor(f"ratio/in_driving_{name}").reshape(1, 1) for name in ("eye", "lip"))
    eye_delta = retargeting.eye_delta(networks.retarget_eye, x_s, eyes, wanted_eye)
    goldens.near("retarget", eye_delta, "retarget/out_eye_delta", KEYPOINTS)
    lip_delta = retargeting.lip_delta(networks.retarget_mouth, x_s, lips, wanted_lip)
    goldens.near("retarget", lip_delta, "retarget/out_lip_delta", KEYPOINTS)


def _multiplier(goldens: Goldens) -> None:
    x_s, x_d0 = goldens.tensor("multiplier/in_x_s"), goldens.tensor("multiplier/in_x_d0")
    goldens.near("multiplier", motion_transfer.motion_multiplier(x_s, x_d0), "multiplier/out", 1e-6)


def _crop(goldens: Goldens, case: str) -> None:
    at = f"crop/{case}"
    points = goldens.array(f"{at}/in_lmk")
    layout = crop.layout_of(points)
    square = crop.face_square(points, layout, crop.SOURCE)
    goldens.near("crop", square.centre, f"{at}/rect_center", SHIFT_PX)
    goldens.near("crop", np.full(2, square.side), f"{at}/rect_size", SHIFT_PX)
    goldens.near("crop", square.angle, f"{at}/rect_angle", ANGLE)
    side_px = crop.SOURCE.side_px
    _matrices(goldens, f"{at}/source", crop.turned_matrix(square, side_px), points, "pt_crop")
    _matrices(goldens, f"{at}/source_norot", crop.straight_matrix(square, side_px), points, "pt_crop")
    around = crop.face_square(points, layout, crop.LANDMARK)
    _matrices(goldens, f"{at}/landmark", crop.turned_matrix(around, crop.LANDMARK.side_px), points, "pt_crop")
    box = crop.driving_box([points], layout)
    goldens.near("crop", box, f"{at}/driving/bbox_ltrb", SHIFT_PX)
    _matrices(goldens, f"{at}/driving", crop.box_matrix(box, crop.DRIVING.side_px), points, "lmk_crop")


def _matrices(goldens: Goldens, at: str, o2c: NDArray[np.float64], points: NDArray[Any], moved: str) -> None:
    """Both ways, the moved points, and the pixels where they are stored."""
    for matrix, name in ((o2c, "M_o2c"), (np.linalg.inv(o2c), "M_c2o")):
        goldens.near("crop", matrix, f"{at}/{name}", np.array([[LINEAR, LINEAR, SHIFT_PX]] * 3))
    goldens.near("crop", crop.move(points, o2c)[:FIRST_POINTS], f"{at}/{moved}", SHIFT_PX)
    image = f"{at}/img_crop_u8#every4"
    if image in goldens:
        pixels = crop.sample(goldens.array("crop/in_img_u8"), o2c, crop.SOURCE.side_px)
        goldens.near_bytes("crop_pixels", pixels[::4, ::4], image)
        small = f"{at}/img_256_area_u8#every4"
        if small in goldens:
            goldens.near_bytes("crop_pixels", crop.network_input(pixels)[::4, ::4], small)


def _paste(goldens: Goldens, seed: int) -> None:
    photo = goldens.array("crop/in_img_u8")
    coarse = draw("input/fn/face/lo", (64, 64, 3), seed).repeat(8, 0).repeat(8, 1)
    fine = draw("input/fn/face/hi", (512, 512, 3), seed)
    light = np.float32(0.5) + np.float32(0.25) * coarse + np.float32(0.04) * fine
    face = np.clip(np.floor(light * 255), 0, 255).astype(np.uint8)
    goldens.near("paste", face[::4, ::4], "paste/in_face_u8#every4", 0.5)
    index = np.arange(512)
    edge = np.minimum(np.minimum(index, 511 - index) / 16, 1)
    mask = np.floor(255 * np.outer(edge, edge)).astype(np.uint8)
    goldens.same("paste", np.repeat(mask[16][:, None], 3, axis=1), "paste/in_mask_row16_u8")
    for case in ("up", "cw"):
        o2c = np.linalg.inv(goldens.array(f"paste/{case}/in_M_c2o"))
        weight = paste.warp_mask(mask, o2c, (photo.shape[0], photo.shape[1]))
        goldens.near("paste", weight[::3, ::3], f"paste/{case}/mask#every3", MASK)
        frame = paste.PasteBack(photo, o2c, mask).into_photo(face)
        goldens.near_bytes("paste", frame[::2, ::2], f"paste/{case}/out_u8#every2")


def _sizes(goldens: Goldens) -> None:
    cases = goldens.array("resize_to_limit/in_h_w_max_div")
    ours = [crop.limited_sizes(*(int(value) for value in case))[1] for case in cases]
    goldens.same("resize_to_limit", np.array(ours), "resize_to_limit/out_h_w")
