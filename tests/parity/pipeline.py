"""Parity of the motion transfer: the key points that the official pipeline hands to its renderer, in 24 configurations.

A configuration's name says which official options were on (``rel_pose_stitch_normlip``); `plan` turns it into a target
and a sequence of steps of `services.renderer.liveportrait.motion_transfer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from services.renderer.liveportrait import motion_transfer as transfer
from services.renderer.liveportrait.keypoints import Motion, place_keypoints, rotation_matrix
from services.renderer.liveportrait.landmarks import eye_ratios, lip_ratio
from services.renderer.liveportrait.retargeting import closing_delta, eye_delta, lip_delta
from services.renderer.liveportrait.stitching import StitchingNetwork
from tests.parity.goldens import Goldens

KEYPOINTS = 5e-6
LIP_THRESHOLD = 0.03
MULTIPLIER = 1.3
N_CONFIGURATIONS = 24


@dataclass(frozen=True)
class Clip:
    """What every configuration starts from."""

    x_c: Tensor
    x_s: Tensor
    source: Motion
    driving: Motion
    source_eyes: Tensor
    source_lips: Tensor
    driving_eyes: Tensor
    driving_lips: Tensor


def ratios(npz: Mapping[str, NDArray[Any]], stitching: StitchingNetwork, seed: int) -> dict[str, float]:
    """Worst difference over its bound: one entry per configuration, one for the source points.

    Args:
        npz: the goldens of the pipeline.
        stitching: filled with the seed's weights.
        seed: unused; every input is stored.

    Raises:
        AssertionError: a golden key was not compared.
    """
    goldens = Goldens(npz)
    with torch.no_grad():
        clip = _clip(goldens)
        goldens.near("x_s", clip.x_s, "out/x_s", KEYPOINTS)
        goldens.near("lip_array", transfer.closed_lips(), "in/lip_array", 1e-9)
        for name in configurations(npz):
            goldens.near(name, _driving_points(name, clip, stitching), f"out/{name}/x_d", KEYPOINTS)
    return goldens.finish()


def configurations(npz: Mapping[str, NDArray[Any]]) -> list[str]:
    """Names of all configurations with a result."""
    return [key.split("/")[1] for key in npz if key.startswith("out/") and key.endswith("/x_d")]


def _clip(goldens: Goldens) -> Clip:
    source, driving = (_motion(goldens, f"in/{who}") for who in ("source", "driving"))
    # The canonical points of the driving head are stored too; motion transfer never uses them.
    x_c, _ = goldens.tensor("in/source/kp"), goldens.tensor("in/driving/kp")
    points = goldens.array("in/source_lmk203")[None]
    return Clip(
        x_c=x_c,
        x_s=place_keypoints(x_c, source),
        source=source,
        driving=driving,
        source_eyes=torch.from_numpy(eye_ratios(points)),
        source_lips=torch.from_numpy(lip_ratio(points)),
        driving_eyes=goldens.tensor("in/driving_c_eyes")[:, 0, :1],
        driving_lips=goldens.tensor("in/driving_c_lip")[:, 0],
    )


def _motion(goldens: Goldens, at: str) -> Motion:
    return Motion(
        R=rotation_matrix(*goldens.tensor(f"{at}/pitch_yaw_roll_deg").unbind(1)),
        delta=goldens.tensor(f"{at}/exp"),
        t=goldens.tensor(f"{at}/t"),
        s=goldens.tensor(f"{at}/scale"),
    )


def take(motion: Motion, index: Tensor | slice) -> Motion:
    """Rows of a batch of motion."""
    return Motion(R=motion.R[index], delta=motion.delta[index], t=motion.t[index], s=motion.s[index])


def _driving_points(name: str, clip: Clip, networks: StitchingNetwork) -> Tensor:
    words = name.split("_")
    target = _target(words, clip)
    return transfer.transfer(clip.x_c, clip.source, target, _steps(words, clip, networks))


def _target(words: list[str], clip: Clip) -> Motion:
    region_name = words[words.index("region") + 1] if "region" in words else "all"
    region = transfer.REGIONS[region_name]
    if words[0] == "abs":
        return transfer.absolute_target(clip.source, clip.driving, region)
    if "singledriving" not in words:
        return transfer.relative_target(clip.source, clip.driving, take(clip.driving, slice(0, 1)), region)
    image = take(clip.driving, slice(0, 1))
    at_rest = torch.zeros(1, 21, 3) if region_name == "eyes" else transfer.closed_lips()
    return transfer.relative_target(clip.source, image, transfer.image_reference(image, at_rest), region)


def _steps(words: list[str], clip: Clip, networks: StitchingNetwork) -> list[transfer.Step]:
    steps: list[transfer.Step] = []
    if words[:2] == ["rel", "expr"] and "singledriving" not in words:
        steps.append(transfer.expression_friendly)
    offset = _retargeting(words, clip, networks)
    if offset is not None:
        steps.append(transfer.Instead(offset) if words[0] == "rel" else transfer.Offset(offset))
    if "stitch" in words:
        steps.append(transfer.Stitch(networks.retarget_shoulder))
    if "normlip" in words:
        closing = closing_delta(networks.retarget_mouth, clip.x_s, clip.source_lips, LIP_THRESHOLD)
        steps.append(transfer.Offset(closing))
    if "mult1p3" in words:
        steps.append(transfer.Amplify(MULTIPLIER))
    return steps


def _retargeting(words: list[str], clip: Clip, networks: StitchingNetwork) -> Tensor | None:
    """Offset of the eyes and lips that follow the driving ratios, where the configuration asks for it."""
    if "eyelip" not in words and words[-1] != "lip":
        return None
    if "region" in words:
        return None
    lips = lip_delta(networks.retarget_mouth, clip.x_s, clip.source_lips, clip.driving_lips)
    if "eyelip" not in words:
        return lips
    return lips + eye_delta(networks.retarget_eye, clip.x_s, clip.source_eyes, clip.driving_eyes)
