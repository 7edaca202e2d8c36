"""Small videos made for the tests."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

SOUND_HZ = 48_000


def write_clip(
    path: Path,
    frames: Iterable[tuple[int, NDArray[np.uint8]]],
    time_base: Fraction,
    sound: NDArray[np.int16] | None = None,
    sound_at: int = 0,
    codec: str = "pcm_s16le",
) -> None:
    """Pictures with their time stamps, and 48 kHz mono sound whose first sample has the stamp ``sound_at``."""
    pairs = iter(frames)
    first = next(pairs)
    with av.open(str(path), "w") as out:
        track: Any = out.add_stream(
            "libx264", rate=round(1 / time_base), options={"preset": "ultrafast", "threads": "1"}
        )
        track.height, track.width = first[1].shape[:2]
        track.pix_fmt = "yuv420p"
        track.time_base = track.codec_context.time_base = time_base
        voice: Any = out.add_stream(codec, rate=SOUND_HZ, layout="mono") if sound is not None else None
        for pts, image in (first, *pairs):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = pts, time_base
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
        if voice is not None and sound is not None:
            for begin in range(0, len(sound), SOUND_HZ):
                block = av.AudioFrame.from_ndarray(sound[None, begin : begin + SOUND_HZ], format="s16", layout="mono")
                block.sample_rate, block.pts, block.time_base = SOUND_HZ, sound_at + begin, Fraction(1, SOUND_HZ)
                out.mux(voice.encode(block))
            out.mux(voice.encode(None))


def grey(levels: Sequence[int], side_px: int = 32) -> list[NDArray[np.uint8]]:
    """Flat pictures."""
    return [np.full((side_px, side_px, 3), level, np.uint8) for level in levels]
