"""The time base: 25 frames per second, 640 samples per frame, windows and slices.

Everything here is integer arithmetic on frame and sample indices; seconds exist only at the edges of the system.
Knows nothing of audio data, models or Redis.
"""

from dataclasses import dataclass

FPS = 25
SAMPLE_RATE = 16_000


def exact_div(numerator: int, denominator: int) -> int:
    """Divide integers that must divide without remainder.

    Raises:
        ValueError: there is a remainder.
    """
    quotient, remainder = divmod(numerator, denominator)
    if remainder:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return quotient


SAMPLES_PER_FRAME = exact_div(SAMPLE_RATE, FPS)
FEATURES_PER_FRAME = 2
FEATURE_STRIDE_SAMPLES = exact_div(SAMPLES_PER_FRAME, FEATURES_PER_FRAME)

FIRST_WINDOW_SLICE_FRAMES = 5
SLICE_FRAMES = 13


@dataclass(frozen=True)
class Geometry:
    """How a bundle cuts time, in frames.

    Attributes:
        context: past frames given to the motion model as condition.
        hop: new frames per window.
        margin: extra frames of sound on each side of a window, heard by the audio encoder.
        lookahead: frames of the right margin whose features the motion model is given too: it draws motion for them
            and gives none of it away, so that a window ends with the next sound in view. No latency is added.

    Raises:
        ValueError: the look-ahead is negative or longer than the margin.
    """

    context: int = 10
    hop: int = 65
    margin: int = 10
    lookahead: int = 0

    def __post_init__(self) -> None:
        """Refuse a look-ahead that was not heard."""
        if not 0 <= self.lookahead <= self.margin:
            raise ValueError(f"look-ahead of {self.lookahead} frames; expected 0 to the margin, {self.margin}")

    @property
    def length(self) -> int:
        """Frames the motion model sees in one turn, and feature rows of a window: context + new + look-ahead."""
        return self.context + self.hop + self.lookahead

    @property
    def heard(self) -> int:
        """Frames the audio encoder hears for a window: context + new and a margin on each side."""
        return self.context + self.hop + 2 * self.margin


@dataclass(frozen=True)
class Window:
    """One turn of the motion model: new frames [first_frame, first_frame + n_new) of the video."""

    index: int
    first_frame: int
    n_new: int


@dataclass(frozen=True)
class Slice:
    """Frames [first_frame, first_frame + n_frames) rendered by one message."""

    first_frame: int
    n_frames: int


def frame_count(n_samples: int) -> int:
    """Frames that a clip of ``n_samples`` at 16 kHz lasts; never less than one."""
    if n_samples < 0:
        raise ValueError(f"expected a sample count >= 0, got {n_samples}")
    return max(1, -(-n_samples // SAMPLES_PER_FRAME))


def window_count(n_frames: int, geometry: Geometry) -> int:
    """Windows needed for ``n_frames`` (at least one)."""
    return max(1, -(-n_frames // geometry.hop))


def window_at(index: int, n_frames: int, geometry: Geometry) -> Window:
    """The window ``index`` of a video of ``n_frames``; the last one is cut.

    Raises:
        ValueError: the video has no such window.
    """
    if not 0 <= index < window_count(n_frames, geometry):
        raise ValueError(f"window {index} of a video with {window_count(n_frames, geometry)} windows")
    first = index * geometry.hop
    return Window(index, first, min(geometry.hop, n_frames - first))


def slices_of(window: Window) -> list[Slice]:
    """Cut a window into slices: short ones in window 0, so that the first frame comes soon."""
    size = FIRST_WINDOW_SLICE_FRAMES if window.index == 0 else SLICE_FRAMES
    end = window.first_frame + window.n_new
    return [Slice(first, min(size, end - first)) for first in range(window.first_frame, end, size)]


def encoder_span(window: Window, geometry: Geometry, receptive_field: int) -> tuple[int, int]:
    """Samples [start, stop) the encoder hears for a window; may reach outside the file, where there is silence.

    The span holds context, new frames and a margin on both sides, and is widened by half the receptive field so that
    convolutions with ``receptive_field`` and a stride of 320 samples give exactly two features per frame.

    Args:
        window: the window; only its first frame matters, the length is always full.
        geometry: the bundle's geometry.
        receptive_field: samples seen by one feature (720 for the log-mel front end, 400 for stock wav2vec2).
    """
    first = window.first_frame - geometry.context - geometry.margin
    widen = exact_div(receptive_field, 2) - FEATURE_STRIDE_SAMPLES // 2
    start = first * SAMPLES_PER_FRAME - widen
    return start, start + geometry.heard * SAMPLES_PER_FRAME + 2 * widen
