"""Turned and measured again: the contract's signs and degrees."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer import detect
from services.renderer.embedded.controls import rotations
from shared.media.portrait import decode_portrait
from training.video.geometry import coarse_pose, head_path

PORTRAIT = Path(__file__).parents[2] / "data" / "portrait.jpg"


@pytest.fixture(scope="module")
def face() -> NDArray[np.float64]:
    points = detect.find_faces(decode_portrait(PORTRAIT.read_bytes()))[0]
    return np.asarray(points, np.float64)


def turned(face: NDArray[np.float64], pyr: NDArray[np.float64], scale: float = 1.0) -> NDArray[np.float32]:
    middle = face.mean(axis=0)
    frames = [scale * (face - middle) @ turn.T + middle for turn in rotations(pyr)]
    return np.asarray(frames, np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_angles_of_a_solid_head_are_found(face: NDArray[np.float64], axis: int) -> None:
    pyr = np.zeros((41, 3))
    pyr[:, axis] = np.linspace(-12, 12, 41)
    path = head_path(turned(face, pyr))
    assert np.abs(path.pyr - pyr).max() < 0.05
    assert np.abs(path.scale - 1).max() < 1e-3
    assert np.ptp(path.still, axis=0).max() < 1e-3


def test_coarse_pose_follows(face: NDArray[np.float64]) -> None:
    pyr = np.array([[0.0, 0, 0], [20, 0, 0], [0, 25, 0], [0, 0, 30]])
    found = coarse_pose(turned(face, pyr))
    assert np.abs((found - found[0])[1:] - pyr[1:]).max() < 4


def test_signs_are_the_contracts(face: NDArray[np.float64]) -> None:
    nose, chin, left, right = 1, 152, 234, 454
    rest, down, to_left, clockwise = turned(face, np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]]))
    assert down[nose, 1] > rest[nose, 1]
    assert to_left[nose, 0] < rest[nose, 0]
    assert clockwise[left, 1] - clockwise[right, 1] < rest[left, 1] - rest[right, 1]
    assert clockwise[chin, 0] < rest[chin, 0]
