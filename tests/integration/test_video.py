"""The sample video, measured: a face in every frame, lips that follow their command, a background that stays."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.renderer.embedded.prepare import prepare
from services.renderer.embedded.renderer import Puppet
from shared.media.portrait import decode_portrait
from shared.motion import EXP, lip_opening
from tests.integration import measures
from tests.integration.conftest import Run
from tests.integration.speech import samples
from tests.integration.stack import PORTRAIT, SPEECH
from tests.integration.video import frames

pytestmark = [pytest.mark.stack, pytest.mark.redis, pytest.mark.slow]

LEAST_CORRELATION = 0.85
LEAST_FRAMES = 8 * 25
OPEN_SHARE, OPEN_RATIO = 0.25, 0.25
CLOSED_SHARE, CLOSED_RATIO = 0.95, 0.15
BACKGROUND_DB = 40.0
BACKGROUND_WEIGHT, BACKGROUND_SHARE = 0.02, 0.15


@pytest.fixture(scope="module")
def apertures(reference: Run) -> NDArray[np.float64]:
    """Measured lip aperture of every frame of the sample video; NaN where no face was found."""
    return measures.lip_apertures(frames(reference.mp4))


def test_face_in_every_frame(apertures: NDArray[np.float64], reference: Run) -> None:
    assert len(apertures) == reference.n_frames
    assert not np.isnan(apertures).any()


def test_lips_follow_the_command(apertures: NDArray[np.float64], reference: Run) -> None:
    assert reference.rows is not None, "every motion row was seen in Redis"
    commanded = lip_opening(reference.rows[:, EXP])
    assert len(apertures) >= LEAST_FRAMES
    assert np.mean(apertures > OPEN_RATIO * np.percentile(apertures, 95)) >= OPEN_SHARE
    assert np.mean(commanded > OPEN_RATIO * np.percentile(commanded, 95)) >= OPEN_SHARE
    found = measures.correlation(apertures, commanded.astype(np.float64))
    print(f"correlation of aperture and command: {found:.3f} over {len(apertures)} frames")
    assert found >= LEAST_CORRELATION


def test_mouth_is_closed_in_silence(apertures: NDArray[np.float64]) -> None:
    silent = measures.is_silent(samples(SPEECH), len(apertures))
    assert silent.sum() >= 10, "the sample holds silence"
    closed = apertures[silent] < CLOSED_RATIO * np.percentile(apertures, 95)
    print(f"closed in {closed.mean():.1%} of {silent.sum()} silent frames")
    assert closed.mean() >= CLOSED_SHARE


def test_background_stays_as_in_the_photo(reference: Run) -> None:
    assert reference.rows is not None
    appearance = prepare(decode_portrait(PORTRAIT.read_bytes()), "square")
    puppet = Puppet(appearance)
    height, width = appearance.texture.shape[:2]
    weight = cv2.resize(puppet.pose.weight, (width, height), interpolation=cv2.INTER_LINEAR)
    background = weight < BACKGROUND_WEIGHT
    assert background.mean() >= BACKGROUND_SHARE
    every_fifth = puppet.frames(np.ascontiguousarray(reference.rows[::5]))
    worst = min(measures.psnr_db(frame, appearance.texture, background) for frame in every_fifth)
    print(f"background: {worst:.1f} dB over {background.mean():.0%} of the crop")
    assert worst > BACKGROUND_DB
