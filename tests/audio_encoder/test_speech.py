from pathlib import Path

import numpy as np
import pytest

from services.audio_encoder.speech import read_span
from shared.artifacts import ArtifactStore, open_store
from shared.errors import TalkingHeadError

PATH = "jobs/0-A/speech.pcm"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    store = open_store(str(tmp_path))
    store.write(PATH, np.arange(1, 101).astype("<i2").tobytes())
    return store


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 100), (-30, 40), (60, 160), (-50, 250), (20, 21), (-9, -3), (150, 160)]
)
def test_a_span_is_the_file_with_zeros_around_it(store: ArtifactStore, start: int, stop: int) -> None:
    padded = np.zeros(1000, np.float32)
    padded[500:600] = np.arange(1, 101) / 32768.0
    np.testing.assert_array_equal(read_span(store, PATH, start, stop), padded[500 + start : 500 + stop])


def test_a_missing_file_is_our_error(store: ArtifactStore) -> None:
    with pytest.raises(TalkingHeadError):
        read_span(store, "jobs/0-B/speech.pcm", 0, 10)
