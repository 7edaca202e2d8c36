from collections.abc import Iterator

import pytest
import torch

from services.audio_encoder.model import AudioEncoder, load_encoder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def embedded() -> AudioEncoder:
    return load_encoder()
