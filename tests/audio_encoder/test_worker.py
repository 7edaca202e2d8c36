import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from services.audio_encoder.checkpoint import EMBEDDED_WEIGHTS
from services.audio_encoder.model import AudioEncoder
from services.audio_encoder.speech import read_span
from services.audio_encoder.worker import EncodeHandler, EncoderSettings, load_for_bundle, main
from shared.artifacts import ArtifactStore, open_store
from shared.bundles import load_bundle
from shared.codec import unpack
from shared.errors import ConfigurationError
from shared.jobs import JobStore
from shared.protocol import artifact_path, job_key
from shared.timeline import encoder_span, window_at
from shared.worker import serve
from tests.fakes import submit
from tests.polling import eventually

pytestmark = pytest.mark.redis
BUNDLE = load_bundle("embedded")
N_FRAMES = 100


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return open_store(str(tmp_path))


@pytest.fixture
def running(
    redis_url: str, store: JobStore, artifacts: ArtifactStore, embedded: AudioEncoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A worker in a thread of this process."""
    monkeypatch.setenv("TH_REDIS_URL", redis_url)
    handler = EncodeHandler(store, artifacts, embedded, BUNDLE, deadline_s=30.0)
    stop = threading.Event()
    thread = threading.Thread(target=serve, args=(handler, store, EncoderSettings(), "audio_encoder", stop))
    thread.start()
    yield
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.mark.usefixtures("running")
def test_a_job_gets_the_features_of_its_first_two_windows(
    store: JobStore, artifacts: ArtifactStore, embedded: AudioEncoder, redis_client: "Redis"
) -> None:
    speech = artifact_path("0-voice", "speech.pcm")
    pcm = (np.random.default_rng(0).standard_normal(N_FRAMES * 640 - 77) * 3000).astype("<i2")
    artifacts.write(speech, pcm.tobytes())
    job_id = submit(store, "voice", N_FRAMES)
    key = job_key(job_id, "features")
    eventually(lambda: redis_client.hlen(key) == 2, 20.0)
    for index in range(2):
        window = window_at(index, N_FRAMES, BUNDLE.geometry)
        wave = read_span(artifacts, speech, *encoder_span(window, BUNDLE.geometry, embedded.receptive_field))
        stored = unpack(bytes_of(redis_client.hget(key, str(index))))
        np.testing.assert_array_equal(stored, embedded.encode(wave, 1.0, BUNDLE.geometry))


@pytest.mark.usefixtures("running")
def test_a_job_without_its_speech_fails_with_a_reason(store: JobStore) -> None:
    job_id = submit(store, "mute", N_FRAMES)
    eventually(lambda: store.get(job_id).state.is_final, 20.0)
    assert store.get(job_id).error


def bytes_of(reply: object) -> bytes:
    assert isinstance(reply, bytes)
    return reply


def test_the_shipped_encoder_fits_the_shipped_bundle() -> None:
    assert load_for_bundle(EncoderSettings(), BUNDLE).feature_size == BUNDLE.feature_size


def test_an_encoder_of_another_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.wav2vec2.configuration_wav2vec2 import Wav2Vec2Config
    from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Model

    assert EMBEDDED_WEIGHTS.stat().st_size < 4_000_000
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path)
    monkeypatch.setenv("TH_ENCODER_PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"\(16, 400\)"):
        load_for_bundle(EncoderSettings(), BUNDLE)


def test_a_worker_without_weights_refuses_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TH_ENCODER_PATH", str(tmp_path / "nowhere"))
    assert main() == 2
