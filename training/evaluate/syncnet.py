"""Lip-sync scores of SyncNet, for users who have its weights: LSE-D and LSE-C of any video.

    python -m training.evaluate syncnet --video MP4 --weights syncnet_v2.model

Network and scores: Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016; the names LSE-D and LSE-C:
Prajwal et al., "A lip sync expert is all you need", 2020. What of this is proven without the official weights, and what
is not: docs/evaluation.md.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.motion_dit.strict_state import check_state, expected_shapes, read_pickle
from shared.errors import InputError, WeightsMismatch
from shared.timeline import FPS, SAMPLES_PER_FRAME
from training.evaluate.face_motion import stretches
from training.evaluate.report import print_values
from training.evaluate.syncnet_inputs import FaceBoxes, crop_face, face_boxes, mfcc
from training.landmarks import TrackedVideo, read_frames, sound_of_video, track_video

Bytes = NDArray[np.uint8]

LONGEST_S = 3600.0
WINDOW_FRAMES, CEPSTRA_PER_FRAME = 5, 4
MAX_SHIFT = 15
BATCH_WINDOWS = 16
EMBEDDING, HIDDEN = 1024, 512
LONGEST_GAP_FRAMES = 25  # without a face, bridged as published
LEAST_FRAMES = 100
COUNTER = "num_batches_tracked"  # of batch norms; files written by old versions of torch lack it
REMEDY = "Take syncnet_v2.model as its authors published it."


@dataclass(frozen=True)
class Scores:
    """How well lips and sound fit.

    Attributes:
        lse_d: smallest mean distance over all shifts; smaller is better.
        lse_c: median of the mean distances minus the smallest; larger is better.
        offset_frames: where the smallest is, as published: positive when the sound is ahead of the lips.
        n_windows: windows of five frames compared.
    """

    lse_d: float
    lse_c: float
    offset_frames: int
    n_windows: int


class SyncNet(nn.Module):
    """Two towers, five face crops and 200 ms of MFCCs to 1024 numbers each; the published names of all tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(  # (B, 1, 13, 20)
            *_block(nn.Conv2d(1, 64, 3, padding=1), nn.BatchNorm2d(64)),
            nn.MaxPool2d(1, stride=1),
            *_block(nn.Conv2d(64, 192, 3, padding=1), nn.BatchNorm2d(192)),
            nn.MaxPool2d(3, stride=(1, 2)),  # (B, 192, 11, 9)
            *_block(nn.Conv2d(192, 384, 3, padding=1), nn.BatchNorm2d(384)),
            *_block(nn.Conv2d(384, 256, 3, padding=1), nn.BatchNorm2d(256)),
            *_block(nn.Conv2d(256, 256, 3, padding=1), nn.BatchNorm2d(256)),
            nn.MaxPool2d(3, stride=2),  # (B, 256, 5, 4)
            *_block(nn.Conv2d(256, HIDDEN, (5, 4)), nn.BatchNorm2d(HIDDEN)),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(  # (B, 3, 5, 224, 224)
            *_block(nn.Conv3d(3, 96, (5, 7, 7), stride=(1, 2, 2)), nn.BatchNorm3d(96)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_block(nn.Conv3d(96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)), nn.BatchNorm3d(256)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(256)),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(256)),
            *_block(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(256)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),  # (B, 256, 1, 6, 6)
            *_block(nn.Conv3d(256, HIDDEN, (1, 6, 6)), nn.BatchNorm3d(HIDDEN)),
        )

    def sound(self, cepstra: Tensor) -> Tensor:
        """(B, 1, 13, 20) MFCCs to (B, 1024)."""
        embedding: Tensor = self.netfcaud(self.netcnnaud(cepstra).flatten(1))
        return embedding

    def lips(self, faces: Tensor) -> Tensor:
        """(B, 3, 5, 224, 224) faces, BGR 0..255, to (B, 1024)."""
        embedding: Tensor = self.netfclip(self.netcnnlip(faces).flatten(1))
        return embedding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="syncnet_v2.model, as published")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Score one video.

    Raises:
        WeightsMismatch: the weights are missing or belong to another network.
        UnsupportedMedia: the video cannot be read, or has no sound.
        InputError: no face is in view for four seconds.
    """
    network = load_syncnet(args.weights)
    scores = score_video(network, args.video)
    print_values(args.video.name, asdict(scores))
    return {"video": args.video.name, **asdict(scores)}


def load_syncnet(path: Path) -> SyncNet:
    """Load the published weights, float32 on the CPU, in evaluation mode.

    Raises:
        WeightsMismatch: the file is missing, is no checkpoint, or does not hold exactly the expected finite tensors.
    """
    content = read_pickle(path, REMEDY)
    if not isinstance(content, Mapping):
        raise WeightsMismatch(f"{path} holds a {type(content).__name__}; expected SyncNet's tensors by name. {REMEDY}")
    with torch.device("meta"):
        network = SyncNet()
    state = {key: value for key, value in content.items() if not str(key).endswith(COUNTER)}
    expected = {key: shape for key, shape in expected_shapes(network).items() if not key.endswith(COUNTER)}
    check_state(path, state, expected, REMEDY)
    counters = {key: torch.zeros((), dtype=torch.int64) for key in network.state_dict() if key.endswith(COUNTER)}
    tensors = {key: tensor.float() for key, tensor in state.items()}
    network.load_state_dict({**tensors, **counters}, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def score_video(network: SyncNet, path: Path) -> Scores:
    """Score the longest stretch of a video with a face.

    Raises:
        UnsupportedMedia, InputError: see `run`.
    """
    pcm = sound_of_video(path, LONGEST_S)
    video = track_video(path)
    begin, end = face_stretch(video)
    boxes = face_boxes(video.landmarks)
    shown = pictures_on_clock(video)[begin:end]
    faces = _faces(path, boxes, shown)
    return compare(network, faces, pcm[begin * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME])


def pictures_on_clock(video: TrackedVideo) -> NDArray[np.int64]:
    """Which picture is shown in the middle of every frame of 1/25 s."""
    n_frames = round((video.times_s[-1] + 1.0 / video.fps) * FPS)
    middles = (np.arange(n_frames) + 0.5) / FPS
    return np.searchsorted(video.times_s, middles, side="right") - 1


def face_stretch(video: TrackedVideo) -> tuple[int, int]:
    """Longest run of frames at 25 fps [begin, end) with a face in view, gaps of up to a second bridged.

    Raises:
        InputError: it lasts less than four seconds.
    """
    found = video.is_found[pictures_on_clock(video)]
    runs: list[tuple[int, int]] = []
    for begin, end in stretches(found):
        if runs and begin - runs[-1][1] <= LONGEST_GAP_FRAMES:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((begin, end))
    longest = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
    if longest[1] - longest[0] < LEAST_FRAMES:
        raise InputError(
            f"a face is in view for {(longest[1] - longest[0]) / FPS:.1f} s at most; SyncNet's evaluation wants "
            f"{LEAST_FRAMES / FPS:g} s without a gap above a second. Use a longer video, with a larger face."
        )
    return longest


def compare(network: SyncNet, faces: Iterable[Bytes], pcm: NDArray[np.int16]) -> Scores:
    """Embed faces and sound, and search the shift.

    Args:
        network: loaded.
        faces: (224, 224, 3) uint8 BGR crops at 25 fps.
        pcm: (n,) int16 of the same time.

    Raises:
        InputError: there are fewer than six frames with sound.
    """
    cepstra = torch.from_numpy(mfcc(pcm).T.astype(np.float32))  # (13, T)
    lips = torch.cat(list(_lip_embeddings(network, faces)))
    # As published: the last window is left out, and sound counts in whole frames.
    n_windows = min(len(lips) + WINDOW_FRAMES - 1, len(pcm) // SAMPLES_PER_FRAME) - WINDOW_FRAMES
    if n_windows < 1:
        raise InputError(f"{len(lips)} windows of five faces with sound; expected at least one. Use a longer video.")
    length = WINDOW_FRAMES * CEPSTRA_PER_FRAME
    windows = torch.stack([cepstra[None, :, at : at + length] for at in range(0, 4 * n_windows, CEPSTRA_PER_FRAME)])
    with torch.inference_mode():
        sound = torch.cat([network.sound(part) for part in torch.split(windows, BATCH_WINDOWS)])
    return search(lips[:n_windows], sound)


def search(lips: Tensor, sound: Tensor, max_shift: int = MAX_SHIFT) -> Scores:
    """Mean distance of lips at i and sound at i + k over all i, for k from -15 to 15; zeros beyond the ends.

    d(k) = mean_i |lips_i - sound_(i+k) + 1e-6|;  LSE-D = min d;  LSE-C = median d - min d;  offset = -argmin.

    Args:
        lips: (N, D).
        sound: (N, D).
        max_shift: largest shift to either side.
    """
    padded = nn.functional.pad(sound, (0, 0, max_shift, max_shift))
    shifts = range(2 * max_shift + 1)
    distances = torch.stack([nn.functional.pairwise_distance(lips, padded[k : k + len(lips)]).mean() for k in shifts])
    best = int(distances.argmin())
    least = float(distances[best])
    return Scores(least, float(distances.median()) - least, max_shift - best, len(lips))


def _faces(path: Path, boxes: FaceBoxes, shown: NDArray[np.int64]) -> Iterator[Bytes]:
    """Crops, BGR, of the pictures that are shown, as often as each is."""
    repeats = np.bincount(shown, minlength=len(boxes.x))
    for index, frame in enumerate(read_frames(path)):
        if repeats[index]:
            crop = crop_face(frame.image, boxes.x[index], boxes.y[index], boxes.half[index])
            yield from [np.ascontiguousarray(crop[..., ::-1])] * int(repeats[index])


def _lip_embeddings(network: SyncNet, faces: Iterable[Bytes]) -> Iterator[Tensor]:
    """Embeddings of all windows of five faces, in batches: (B, 1024) each."""
    held: list[Bytes] = []
    for face in faces:
        held.append(face)
        if len(held) == BATCH_WINDOWS + WINDOW_FRAMES - 1:
            yield _lip_batch(network, held)
            held = held[BATCH_WINDOWS:]
    yield _lip_batch(network, held)


@torch.inference_mode()
def _lip_batch(network: SyncNet, faces: list[Bytes]) -> Tensor:
    if len(faces) < WINDOW_FRAMES:
        return torch.empty(0, EMBEDDING)
    pictures = torch.from_numpy(np.stack(faces)).permute(3, 0, 1, 2)  # (3, F, 224, 224)
    windows = pictures.unfold(1, WINDOW_FRAMES, 1).permute(1, 0, 4, 2, 3)  # (B, 3, 5, 224, 224)
    return network.lips(windows.float())


def _block(convolution: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    return convolution, norm, nn.ReLU()


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EMBEDDING))
