"""A talking clip whose motion is known, and the shards made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter1d

from services.renderer.embedded.prepare import prepare as prepare_portrait
from services.renderer.embedded.renderer import Puppet
from services.renderer.liveportrait.config import write_config
from shared.media.portrait import decode_portrait
from shared.motion import EXP, PYR, SLIDER_INDEX, SLIDERS, exp_from_sliders, neutral_rows
from shared.timeline import FPS, Geometry
from tests.parity.networks import synthetic_networks
from tests.renderer.liveportrait.conftest import SMALL as SMALL_NETWORKS
from tests.training.video.clips import SOUND_HZ, write_clip
from training.video.prepare import plan, prepare
from training.video.process import Recipe
from training.video.quality import Limits

PORTRAIT = Path(__file__).parents[2] / "data" / "portrait.jpg"
N_FRAMES = 130
SMALL = Geometry(context=10, hop=40, margin=10, lookahead=4)


@dataclass(frozen=True)
class Talk:
    """A video file, the rows it was drawn from, and when the eyes were shut (frames)."""

    path: Path
    rows: NDArray[np.float32]
    blinks: tuple[int, ...]


def known_motion() -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[int, ...]]:
    """Syllables, two blinks and a moving head: rows, jaw (N,), frames of the blinks."""
    rng = np.random.default_rng(5)
    jaw = np.zeros(N_FRAMES)
    at = 6
    while at < N_FRAMES - 8:
        jaw[at : at + 3] = rng.uniform(0.4, 0.8)
        at += int(rng.integers(9, 15))
    jaw = gaussian_filter1d(jaw, 1.2)
    sliders = np.zeros((N_FRAMES, len(SLIDERS)))
    sliders[:, SLIDER_INDEX["jaw_open"]] = jaw
    blinks = (35, 95)
    for blink in blinks:
        for lid in ("blink_left", "blink_right"):
            sliders[blink - 1 : blink + 3, SLIDER_INDEX[lid]] = (0.5, 1.0, 0.9, 0.4)
    rows = neutral_rows(N_FRAMES)
    rows[:, EXP] = exp_from_sliders(sliders)
    t = np.arange(N_FRAMES) / FPS
    rows[:, PYR] = np.stack([3 * np.sin(2.2 * t), 4 * np.sin(1.4 * t + 1), 2 * np.sin(1.8 * t + 2)], axis=1)
    return rows, jaw, blinks


def voice(jaw: NDArray[np.float64]) -> NDArray[np.int16]:
    """Noise as loud as the jaw is open, 48 kHz."""
    step = SOUND_HZ // FPS
    envelope = np.repeat(jaw, step) ** 1.5
    noise = np.random.default_rng(1).normal(0, 4000, len(envelope))
    return np.clip(noise * envelope, -32768, 32767).astype(np.int16)


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    cv2.setNumThreads(1)
    rows, jaw, blinks = known_motion()
    puppet = Puppet(prepare_portrait(decode_portrait(PORTRAIT.read_bytes())))
    path = tmp_path_factory.mktemp("videos") / "held" / "talk.mp4"
    path.parent.mkdir()
    write_clip(path, enumerate(puppet.frames(rows)), Fraction(1, FPS), voice(jaw), codec="aac")
    return Talk(path, rows, blinks)


@pytest.fixture(scope="session")
def recipe_for() -> Callable[[Path], Recipe]:
    return lambda out: Recipe(out, "sliders", None, None, SMALL, Limits())


@pytest.fixture(scope="session")
def shards(
    talk: Talk, recipe_for: Callable[[Path], Recipe], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """The folder of shards of the talk, and the summary; beside the talk lay a copy of it and a damaged file."""
    videos, out = talk.path.parents[1], tmp_path_factory.mktemp("shards")
    (videos / "train").mkdir()
    (videos / "train" / "copy.mp4").write_bytes(talk.path.read_bytes())
    (videos / "train" / "damaged.mp4").write_bytes(talk.path.read_bytes()[:3000])
    tasks, duplicates = plan(videos, 0.1, None)
    return out, prepare(tasks, recipe_for(out), 1, duplicates)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small motion extractor of drawn weights."""
    folder = tmp_path_factory.mktemp("weights")
    state = synthetic_networks(3, SMALL_NETWORKS).M.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "motion_extractor.safetensors")
    write_config(folder, SMALL_NETWORKS)
    return folder
