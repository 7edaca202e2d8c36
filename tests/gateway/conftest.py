"""The gateway in this process on a real Redis; control tasks are run by hand."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from gateway.app import create_app
from gateway.dependencies import Services
from gateway.ingest import ControlContext
from gateway.muxer import Muxer
from gateway.settings import GatewaySettings
from shared.media.video import EncoderOptions
from tests.gateway.hands import Hands
from tests.shared.test_media_audio import tone, write_sound


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> GatewaySettings:
    return GatewaySettings(
        redis_url=redis_url,
        artifacts_url=str(tmp_path / "artifacts"),
        gateway_heartbeat_s=0.2,
        task_lease_s=1.0,
        log_level="warning",
    )


@pytest.fixture
async def app(settings: GatewaySettings) -> AsyncIterator[FastAPI]:
    made = create_app(settings)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


@pytest.fixture
def services(app: FastAPI) -> Services:
    found = app.state.services
    assert isinstance(found, Services)
    return found


@pytest.fixture
def context(services: Services) -> ControlContext:
    return ControlContext(services.jobs, services.artifacts, services.records, max_audio_s=600.0, max_tries=5)


@pytest.fixture
def hands(services: Services) -> Hands:
    options = EncoderOptions(preset="ultrafast")
    muxer = Muxer(services.jobs, services.artifacts, services.control, options, deadline_s=1.0)
    return Hands(services.jobs, services.bundle, muxer)


@pytest.fixture(scope="session")
def portrait() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((96, 96, 3), 120, np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three seconds: 75 frames, two windows."""
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    return write_sound(path, "wav", "pcm_s16le", "s16", tone(3.0)).read_bytes()


@pytest.fixture
def upload(portrait: bytes, speech: bytes) -> dict[str, tuple[str, bytes]]:
    return {"portrait": ("me.jpg", portrait), "audio": ("me.wav", speech)}
