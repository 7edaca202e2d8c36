"""MFCCs against the published program's numbers and against slow sums; crops against their geometry."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.evaluate.syncnet_inputs import crop_face, face_boxes, mel_filters, mfcc

REFERENCE = Path(__file__).parents[2] / "data" / "parity" / "python_speech_features_mfcc.npy"


def chirp(n_samples: int) -> NDArray[np.int16]:
    """What the reference was made of: a rising tone, and noise from the third tenth on."""
    rng = np.random.default_rng(5)
    times = np.arange(n_samples) / 16_000
    noise = 1500 * rng.standard_normal(n_samples) * (times > 0.3 * times[-1])
    tone = 3000 * np.sin(2 * np.pi * (200 * times + 900 * times * times))
    return np.asarray(np.round(tone + noise), np.int16)


def test_cepstra_are_those_of_the_published_program() -> None:
    wanted = np.load(REFERENCE)
    assert wanted.shape == (49, 13)
    assert np.allclose(mfcc(chirp(8_013)), wanted, rtol=0, atol=1e-9)


def test_cepstra_are_what_the_formulas_say() -> None:
    pcm = chirp(720)
    found = mfcc(pcm)
    emphasised = [float(pcm[0])] + [float(pcm[t]) - 0.97 * float(pcm[t - 1]) for t in range(1, 720)]
    frame = np.array(emphasised[160:560])
    power = [abs(sum(frame * np.exp(-2j * np.pi * k * np.arange(400) / 512))) ** 2 / 512 for k in range(257)]
    logs = np.log(mel_filters() @ power)
    for order in range(1, 13):
        cepstrum = np.sqrt(2 / 26) * sum(logs[j] * np.cos(np.pi * order * (j + 0.5) / 26) for j in range(26))
        assert found[1, order] == pytest.approx((1 + 11 * np.sin(np.pi * order / 22)) * cepstrum, abs=1e-8)
    assert found[1, 0] == pytest.approx(np.log(sum(power)))


@pytest.mark.parametrize(("n_samples", "n_frames"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16_000, 99)])
def test_the_last_window_is_filled_with_zeros(n_samples: int, n_frames: int) -> None:
    assert mfcc(chirp(16_000)[:n_samples]).shape == (n_frames, 13)


def test_silence_is_finite() -> None:
    assert np.isfinite(mfcc(np.zeros(1_000, np.int16))).all()


def test_filters_are_triangles_that_overlap_by_half() -> None:
    filters = mel_filters()
    assert filters.shape == (26, 257)
    assert filters.max() <= 1.0
    assert filters.min() >= 0.0
    inside = filters[:, 4:250].sum(axis=0)
    assert np.allclose(inside[inside > 0.99], 1.0)


def plane(height: int = 300, width: int = 400) -> NDArray[np.uint8]:
    """A picture whose first channel is half its column, and whose second is half its row."""
    y, x = np.mgrid[0:height, 0:width]
    return np.asarray(np.stack([x // 2, y // 2, np.zeros_like(x)], axis=2), np.uint8)


def test_the_crop_has_the_published_margins() -> None:
    crop = crop_face(plane(), x=200.0, y=120.0, half=50.0).astype(int)
    assert crop.shape == (224, 224, 3)
    assert abs(2 * crop[112, 0, 0] - (200 - 70)) <= 3, "1.4 halves to the left"
    assert abs(2 * crop[112, 223, 0] - (200 + 70)) <= 3, "1.4 halves to the right"
    assert abs(2 * crop[0, 112, 1] - (120 - 50)) <= 3, "one half above"
    assert abs(2 * crop[223, 112, 1] - (120 + 90)) <= 3, "1.8 halves below"


def test_outside_the_picture_is_grey() -> None:
    crop = crop_face(plane(), x=20.0, y=40.0, half=60.0)
    assert (crop[112, :60] == 110).all()
    assert (crop[:20, 112] == 110).all()


def landmarks_of(boxes: list[tuple[float, float, float]]) -> NDArray[np.float32]:
    """Landmarks that fill squares (x, y, half)."""
    points = np.zeros((len(boxes), 478, 3), np.float32)
    for row, (x, y, half) in zip(points, boxes, strict=True):
        row[:, :2] = (x, y)
        row[0, :2], row[1, :2] = (x - 0.8 * half, y - half), (x + 0.8 * half, y + half)
    return points


def test_boxes_are_the_middle_and_half_of_the_longer_side() -> None:
    boxes = face_boxes(landmarks_of([(100.0, 80.0, 30.0)] * 20))
    assert np.allclose(boxes.x, 100.0)
    assert np.allclose(boxes.y, 80.0)
    assert np.allclose(boxes.half, 30.0), "at the ends too"


def test_a_stray_box_and_a_gap_leave_no_trace() -> None:
    points = landmarks_of([(100.0 + i, 80.0, 30.0) for i in range(60)])
    points[20] += 50.0
    points[40:45] = np.nan
    boxes = face_boxes(points)
    assert np.all(np.abs(boxes.x[6:-6] - (100 + np.arange(6, 54))) <= 1.0)
    assert np.allclose(boxes.y, 80.0)
