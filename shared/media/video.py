"""Video out: JPEG frames to one H.264 segment, segments and sound to the final mp4.

A segment starts with the only IDR frame it has and has no B-frames, so time stamps of joined segments are frame
numbers. JPEG planes go to the encoder without a detour over RGB: both are BT.601 4:2:0, only full range (0..255)
becomes limited range (16..235, 16..240). Equal frames and options give equal bytes.
"""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from shared.errors import BadMessage, ShapeError
from shared.media.audio import channels, resampled_sound
from shared.timeline import FPS, exact_div

CRF = "20"
TICKS_PER_FRAME = 512
VIDEO_TIME_BASE = Fraction(1, FPS * TICKS_PER_FRAME)
SOUND_RATE_HZ = 48_000
SOUND_BIT_RATE = 128_000
SOUND_SAMPLES_PER_FRAME = exact_div(SOUND_RATE_HZ, FPS)
AAC_FRAME_SAMPLES = 1024
BT601, SRGB_TRANSFER, BT709_PRIMARIES = 6, 13, 1
LIMITED_RANGE = 1
# The muxer's version string would make equal segments differ between releases.
EXACT = {"fflags": "+bitexact"}

_LEVELS = np.arange(256, dtype=np.float64)
LUMA = np.rint(16 + _LEVELS * 219 / 255).astype(np.uint8)
CHROMA = np.rint(128 + (_LEVELS - 128) * 224 / 255).astype(np.uint8)


@dataclass(frozen=True)
class EncoderOptions:
    """What decides a segment's bytes besides its frames."""

    preset: str = "veryfast"
    crf: str = CRF


def encode_segment(jpegs: Sequence[bytes], path: Path, options: EncoderOptions) -> None:
    """Encode frames as one closed group of pictures.

    Args:
        jpegs: the frames in order, equal sizes.
        path: mp4 file to write.
        options: x264 preset and quality.

    Raises:
        BadMessage: a frame is not a JPEG.
        ShapeError: no frames, or frames of different sizes.
    """
    if not jpegs:
        raise ShapeError("a segment without frames; expected at least one")
    frames = (limited_range_frame(jpeg) for jpeg in jpegs)
    first = next(frames)
    with av.open(
        str(path), "w", format="mp4", options={**EXACT, "video_track_timescale": str(FPS * TICKS_PER_FRAME)}
    ) as out:
        stream = _h264_stream(out, first, options)
        for index, frame in enumerate(itertools.chain([first], frames)):
            if (frame.width, frame.height) != (first.width, first.height):
                raise ShapeError(
                    f"frame {index} has {frame.width}x{frame.height} pixels, the first {first.width}x{first.height}"
                )
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def blank_jpeg(side_px: int) -> bytes:
    """A black square, for warming encoders up."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width = encoder.height = side_px
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, FPS)
    frame = av.VideoFrame(side_px, side_px, "yuvj420p")
    for plane, level in zip(frame.planes, (0, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def limited_range_frame(jpeg: bytes) -> av.VideoFrame:
    """Decode a JPEG to the limited-range 4:2:0 planes of the encoder.

    Raises:
        BadMessage: not a JPEG.
    """
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    try:
        decoded = [*decoder.decode(av.Packet(jpeg)), *decoder.decode(None)]
    except (av.error.FFmpegError, ValueError) as error:
        raise BadMessage(f"a frame of {len(jpeg)} bytes is not a JPEG: {error}") from error
    if len(decoded) != 1:
        raise BadMessage(f"a frame of {len(jpeg)} bytes holds {len(decoded)} pictures; expected one JPEG")
    picture = decoded[0]
    width, height = picture.width & ~1, picture.height & ~1
    if picture.format.name != "yuvj420p" or (width, height) != (picture.width, picture.height):
        picture = picture.reformat(width=width, height=height, format="yuvj420p")
    return av.VideoFrame.from_ndarray(
        _to_limited(np.asarray(picture.to_ndarray(), dtype=np.uint8), height), format="yuv420p"
    )


def assemble(segments: Iterable[Path], sound: Path, n_frames: int, path: Path) -> None:
    """Join segments without re-encoding and add the original sound, padded or cut to the length of the video.

    Args:
        segments: segment files in order.
        sound: the uploaded sound file.
        n_frames: frames of all segments together.
        path: mp4 file to write; its index stands at the front.

    Raises:
        ShapeError: the segments do not hold ``n_frames`` frames, or were encoded with different options.
    """
    ordered = list(segments)
    with av.open(str(ordered[0])) as first:
        template = first.streams.video[0]
        with av.open(str(path), "w", format="mp4", options={**EXACT, "movflags": "+faststart"}) as out:
            video = out.add_stream_from_template(template)
            video.time_base = VIDEO_TIME_BASE
            track = _aac_stream(out, sound)
            header = bytes(template.codec_context.extradata or b"")
            pictures = _joined(ordered, video, header, n_frames)
            for _, _, packet in heapq.merge(pictures, _sound_packets(track, sound, n_frames), key=_order):
                out.mux(packet)


def _h264_stream(out: Any, first: av.VideoFrame, options: EncoderOptions) -> Any:
    stream = out.add_stream("libx264", rate=FPS)
    stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, FPS)
    context.thread_count = 1
    context.color_range = LIMITED_RANGE
    context.colorspace, context.color_trc, context.color_primaries = BT601, SRGB_TRANSFER, BT709_PRIMARIES
    context.options = {
        "preset": options.preset,
        "crf": options.crf,
        "bf": "0",
        "g": "10000",
        "x264-params": "scenecut=0:open-gop=0:threads=1:sliced-threads=0:force-cfr=1",
    }
    return stream


def _to_limited(planes: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Scale planes (height * 3 / 2, width) from full to limited range."""
    limited = np.empty_like(planes)
    np.take(LUMA, planes[:height], out=limited[:height], mode="clip")
    np.take(CHROMA, planes[height:], out=limited[height:], mode="clip")
    return limited


def _aac_stream(out: Any, sound: Path) -> Any:
    layout = "mono" if channels(sound) == 1 else "stereo"
    track = out.add_stream("aac", rate=SOUND_RATE_HZ, layout=layout)
    track.bit_rate = SOUND_BIT_RATE
    track.codec_context.time_base = Fraction(1, SOUND_RATE_HZ)
    return track


def _order(item: tuple[float, int, Any]) -> tuple[float, int]:
    return item[0], item[1]


def _joined(segments: Sequence[Path], video: Any, header: bytes, n_frames: int) -> Iterator[tuple[float, int, Any]]:
    """Packets of all segments, numbered through: (seconds, 0, packet)."""
    index = 0
    for path in segments:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if bytes(stream.codec_context.extradata or b"") != header:
                raise ShapeError(f"segment {path.name} was encoded with other options than the first; use one preset")
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                packet.stream = video
                packet.time_base = VIDEO_TIME_BASE
                packet.pts = packet.dts = index * TICKS_PER_FRAME
                packet.duration = TICKS_PER_FRAME
                yield index / FPS, 0, packet
                index += 1
    if index != n_frames:
        raise ShapeError(f"{len(segments)} segments hold {index} frames; expected {n_frames}")


def _sound_packets(track: Any, sound: Path, n_frames: int) -> Iterator[tuple[float, int, Any]]:
    """The sound as AAC, exactly ``n_frames`` long: (seconds, 1, packet)."""
    layout = track.codec_context.layout.name
    position = 0
    for block in _blocks(sound, layout, n_frames * SOUND_SAMPLES_PER_FRAME):
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, position, Fraction(1, SOUND_RATE_HZ)
        position += block.shape[1]
        for packet in track.encode(frame):
            yield position / SOUND_RATE_HZ, 1, packet
    for packet in track.encode(None):
        yield position / SOUND_RATE_HZ, 1, packet


def _blocks(sound: Path, layout: str, n_samples: int) -> Iterator[NDArray[np.float32]]:
    """Blocks (channels, <= 1024) of sound, exactly ``n_samples`` in all; silence where the file is shorter."""
    left = n_samples
    held: NDArray[np.float32] = np.zeros((1 if layout == "mono" else 2, 0), dtype=np.float32)
    for frame in resampled_sound(sound, SOUND_RATE_HZ, layout, "fltp"):
        held = np.concatenate([held, frame.to_ndarray()], axis=1)
        while held.shape[1] >= AAC_FRAME_SAMPLES and left:
            size = min(AAC_FRAME_SAMPLES, left)
            yield np.ascontiguousarray(held[:, :size])
            held, left = held[:, size:], left - size
        if not left:
            return
    while left:
        size = min(AAC_FRAME_SAMPLES, left)
        missing = max(0, size - held.shape[1])
        yield np.ascontiguousarray(np.pad(held, ((0, 0), (0, missing)))[:, :size])
        held, left = held[:, size:], left - size
