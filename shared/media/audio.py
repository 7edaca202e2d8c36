"""Speech in: recognise a sound file by its first bytes, decode it, measure its level.

FFmpeg is never left to guess the format of an upload: it also knows playlists that name other files. The container is
recognised here and forced there. Every decoder of one file sees the same packets, so the 16 kHz speech that drives the
lips and the 48 kHz sound of the video stay together even where packets are damaged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from numpy.typing import NDArray

from shared.errors import AudioTooLong, UnsupportedMedia
from shared.timeline import SAMPLE_RATE

HEADER_BYTES = 64
TARGET_LEVEL = 0.2
LEVEL_PERCENTILE = 95
LEVEL_FRAME_SAMPLES = SAMPLE_RATE // 50
MAX_GAIN = 100.0
SILENT_LEVEL = 2e-4
SPEECH_RANGE = 0.01
CLIPPED_VALUE = 32_700
CLIPPED_RATIO = 0.001
SHORT_SAMPLES = SAMPLE_RATE // 25
KNOWN = "wav, mp3, m4a/mp4, aac, ogg, webm/mkv, flac (sound alone or a video with sound)"

# FFmpeg's demuxer for the first bytes of a file: (offset, magic, demuxer, file extension).
SIGNATURES = (
    (8, b"WAVE", "wav", "wav"),
    (8, b"AVI ", "avi", "avi"),
    (0, b"fLaC", "flac", "flac"),
    (0, b"OggS", "ogg", "ogg"),
    (0, b"\x1aE\xdf\xa3", "matroska", "webm"),
    (4, b"ftyp", "mov", "m4a"),
    (4, b"moov", "mov", "m4a"),
    (4, b"mdat", "mov", "m4a"),
    (0, b"ID3", "mp3", "mp3"),
)


@dataclass(frozen=True)
class SoundFormat:
    """What a file claims to be: FFmpeg's demuxer and the extension we store it under."""

    demuxer: str
    extension: str


@dataclass(frozen=True)
class Level:
    """How loud speech is.

    Attributes:
        gain: factor that brings the 95th percentile of 20 ms RMS levels to 0.2.
        is_silent: nothing above -74 dB.
        is_clipped: more than 0.1 % of the samples are at the limit.
    """

    gain: float
    is_silent: bool
    is_clipped: bool


def recognise_sound(header: bytes) -> SoundFormat:
    """Name the container from the first bytes of a file (64 are enough).

    Raises:
        UnsupportedMedia: none we read.
    """
    for offset, magic, demuxer, extension in SIGNATURES:
        if header[offset : offset + len(magic)] == magic:
            return SoundFormat(demuxer, extension)
    if len(header) > 2 and header[0] == 0xFF and header[1] & 0xE0 == 0xE0:
        is_adts = header[1] & 0x06 == 0
        return SoundFormat("aac", "aac") if is_adts else SoundFormat("mp3", "mp3")
    raise UnsupportedMedia(f"sound starting with {header[:8].hex(' ') or 'no bytes at all'}; expected {KNOWN}.")


def probe_sound(file: IO[bytes]) -> SoundFormat:
    """Read the header of a sound file: cheap, decodes nothing.

    Args:
        file: seekable; its position is changed.

    Raises:
        UnsupportedMedia: unknown container, corrupt header, or no sound track.
    """
    file.seek(0)
    found = recognise_sound(file.read(HEADER_BYTES))
    file.seek(0)
    with _opened(file, found) as container:
        _sound_track(container)
    return found


def decode_speech(path: Path, max_duration_s: float) -> NDArray[np.int16]:
    """Decode the sound of a file to 16 kHz mono.

    Args:
        path: a file that `probe_sound` accepts.
        max_duration_s: refuse more than this; nothing beyond it is decoded.

    Returns:
        (n,) int16, n >= 1.

    Raises:
        UnsupportedMedia: most packets, or all of them, cannot be decoded.
        AudioTooLong: it lasts longer.
    """
    limit = round(max_duration_s * SAMPLE_RATE)
    pieces: list[NDArray[np.int16]] = []
    n_samples = 0
    for frame in resampled_sound(path, SAMPLE_RATE, "mono", "s16"):
        piece = frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
        pieces.append(piece)
        n_samples += len(piece)
        if n_samples > limit:
            raise AudioTooLong(
                f"the sound lasts longer than {max_duration_s:g} s, the limit. Cut it into shorter pieces."
            )
    if not n_samples:
        raise UnsupportedMedia("the sound file holds no sample of sound; expected at least one.")
    return np.concatenate(pieces)


def resampled_sound(path: Path, rate_hz: int, layout: str, sample_format: str) -> Iterator[av.AudioFrame]:
    """Decode and convert the first sound track, frame by frame; gaps in time stamps are closed.

    Args:
        path: the file.
        rate_hz: rate of the result.
        layout: "mono" or "stereo".
        sample_format: FFmpeg's name, such as "s16" or "fltp".

    Raises:
        UnsupportedMedia: as `decode_speech`.
    """
    with path.open("rb") as file:
        found = recognise_sound(file.read(HEADER_BYTES))
        file.seek(0)
        with _opened(file, found) as container:
            yield from _resampled(_decoded(container, _sound_track(container)), rate_hz, layout, sample_format)


def channels(path: Path) -> int:
    """Number of channels of the first sound track."""
    with path.open("rb") as file:
        found = recognise_sound(file.read(HEADER_BYTES))
        file.seek(0)
        with _opened(file, found) as container:
            return int(_sound_track(container).codec_context.channels)


def measure_level(speech: NDArray[np.int16]) -> Level:
    """Measure the gain that brings speech to the level the models know, and what deserves a warning.

    The percentile is taken over 20 ms frames within 40 dB of the loudest, so that long pauses do not count as speech.

    Args:
        speech: (n,) int16 at 16 kHz.
    """
    values = speech.astype(np.float32) / 32_768.0
    padded = np.pad(values, (0, -len(values) % LEVEL_FRAME_SAMPLES))
    levels = np.sqrt(np.mean(np.square(padded.reshape(-1, LEVEL_FRAME_SAMPLES)), axis=1, dtype=np.float64))
    loudest = float(levels.max(initial=0.0))
    if loudest < SILENT_LEVEL:
        return Level(gain=1.0, is_silent=True, is_clipped=False)
    speaking = levels[levels > loudest * SPEECH_RANGE]
    gain = min(MAX_GAIN, TARGET_LEVEL / float(np.percentile(speaking, LEVEL_PERCENTILE)))
    clipped = float(np.mean(np.abs(speech.astype(np.int32)) >= CLIPPED_VALUE))
    return Level(gain=gain, is_silent=False, is_clipped=clipped > CLIPPED_RATIO)


def _opened(file: IO[bytes], found: SoundFormat) -> Any:
    try:
        return av.open(file, mode="r", format=found.demuxer, metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise UnsupportedMedia(
            f"a {found.extension} file with a header that cannot be read ({error}); expected {KNOWN}."
        ) from error


def _sound_track(container: Any) -> Any:
    if not container.streams.audio:
        raise UnsupportedMedia("the file has no sound track; expected speech.")
    track = container.streams.audio[0]
    if not track.codec_context or not track.codec_context.sample_rate:
        raise UnsupportedMedia("the sound track has no sample rate, its header is damaged; expected speech.")
    return track


def _decoded(container: Any, track: Any) -> Iterator[av.AudioFrame]:
    """Frames of a track; single damaged packets are dropped, mostly damaged files refused."""
    n_good = n_bad = 0
    for packet in _packets(container, track):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, ValueError):
            n_bad += 1
            continue
        n_good += bool(frames)
        yield from frames
    if n_bad > n_good:
        raise UnsupportedMedia(
            f"{n_bad} of {n_good + n_bad} packets of the sound cannot be decoded; expected an undamaged file."
        )


def _resampled(
    frames: Iterator[av.AudioFrame], rate_hz: int, layout: str, sample_format: str
) -> Iterator[av.AudioFrame]:
    """Convert frames; one whose own rate or layout differs from the one before begins with a new converter."""
    resampler, kind = None, None
    for frame in frames:
        frame.pts = None
        try:
            if resampler is None or kind != (frame.sample_rate, frame.layout.name, frame.format.name):
                yield from resampler.resample(None) if resampler else ()
                resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate_hz)
                kind = (frame.sample_rate, frame.layout.name, frame.format.name)
            yield from resampler.resample(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise UnsupportedMedia(
                f"sound at {frame.sample_rate} Hz with layout {frame.layout.name} cannot be converted ({error}); "
                "expected mono or stereo at 8000 to 192000 Hz."
            ) from error
    yield from resampler.resample(None) if resampler else ()


def _packets(container: Any, track: Any) -> Iterator[Any]:
    try:
        yield from container.demux(track)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, av.error.EOFError):
            return
        raise UnsupportedMedia(f"the sound file breaks off: {error}. Send an undamaged file.") from error
