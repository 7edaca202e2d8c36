"""What a finished mp4 holds: stream facts and decoded frames."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Facts:
    """Facts of a file, as its decoder reports them."""

    width: int
    height: int
    rate: Fraction
    video_codec: str
    pixel_format: str
    audio_codec: str
    audio_rate: int
    n_frames: int
    video_s: float
    audio_s: float


def facts(mp4: bytes) -> Facts:
    """Read the facts; counts frames and sound by decoding all of them."""
    with av.open(io.BytesIO(mp4), mode="r") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        times = [frame.time for frame in container.decode(video)]
        assert times == sorted(times), "frames are in order"
        container.seek(0)
        n_samples = sum(int(frame.samples) for frame in container.decode(audio))
        rate = video.average_rate
        assert rate is not None
        return Facts(
            video.codec_context.width,
            video.codec_context.height,
            Fraction(rate),
            video.codec_context.name,
            str(video.codec_context.pix_fmt),
            audio.codec_context.name,
            audio.codec_context.sample_rate,
            len(times),
            float(video.duration * video.time_base),  # type: ignore[operator]
            n_samples / audio.codec_context.sample_rate,
        )


def frames(mp4: bytes) -> Iterator[NDArray[np.uint8]]:
    """Decoded frames: (h, w, 3) uint8 RGB."""
    with av.open(io.BytesIO(mp4), mode="r") as container:
        for frame in container.decode(container.streams.video[0]):
            yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def frame_hashes(mp4: bytes) -> list[str]:
    """SHA-256 of every decoded frame (its YUV planes, before any conversion)."""
    with av.open(io.BytesIO(mp4), mode="r") as container:
        return [
            hashlib.sha256(frame.to_ndarray(format="yuv420p").tobytes()).hexdigest()
            for frame in container.decode(container.streams.video[0])
        ]
