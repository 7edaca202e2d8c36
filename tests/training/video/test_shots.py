import numpy as np
from numpy.typing import NDArray

from training.video.shots import CutDetector


def scene(seed: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 255, (9, 16, 3)).astype(np.uint8)
    large: NDArray[np.uint8] = np.kron(small, np.ones((20, 20, 1), np.uint8))
    return large


def cuts(images: list[NDArray[np.uint8]]) -> list[int]:
    detector = CutDetector()
    return [i for i, image in enumerate(images) if detector.is_cut(image)]


def test_a_new_scene_is_a_cut() -> None:
    noise = np.random.default_rng(0)
    grain = [noise.integers(0, 12, (180, 320, 3), np.uint8) for _ in range(60)]
    images = [np.asarray(scene(i // 20) // 2 + grain[i], np.uint8) for i in range(60)]
    assert cuts(images) == [20, 40]


def test_a_moving_camera_is_no_cut() -> None:
    wide = np.concatenate([scene(1), scene(2), scene(3)], axis=1)
    images = [wide[:, 8 * i : 8 * i + 320] for i in range(70)]
    assert cuts(images)[1:] == []


def test_a_fade_is_no_cut() -> None:
    one, other = scene(1).astype(float), scene(2).astype(float)
    assert cuts([np.rint(one + (other - one) * i / 30).astype(np.uint8) for i in range(31)]) in ([], [1])
