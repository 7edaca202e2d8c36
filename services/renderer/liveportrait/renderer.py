"""START HERE. The LivePortrait networks behind the renderers' interface: prepare a portrait once, draw many frames.

Three lanes of the device work on different batches at once; only `finish` waits. Motion becomes key points on the host
(`portrait`), W and G run in the chosen precision (`precision`), frames come back as uint8.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from services.renderer.device import Lanes, PinnedRing, Slot
from services.renderer.interface import Drawn, FrameBatch
from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.crop import SOURCE
from services.renderer.liveportrait.fast.fold import fold_appearance
from services.renderer.liveportrait.fast.options import FastOptions
from services.renderer.liveportrait.fast.synthesis import FastSynthesis
from services.renderer.liveportrait.gpu_jpeg import GpuJpeg
from services.renderer.liveportrait.graphs import LaunchOptions
from services.renderer.liveportrait.portrait import Portrait, driving_points, paste_of, pose_of
from services.renderer.liveportrait.precision import GuardedSynthesis, choose_dtype
from services.renderer.liveportrait.prepare import Crop, cut_out, drawn_crop, extract
from services.renderer.liveportrait.source import LivePortraitAppearance
from services.renderer.liveportrait.stages import Computed, Downloaded, Uploaded
from shared import metrics
from shared.errors import NonFiniteOutput, ShapeError, WeightsMismatch
from shared.motion import neutral_rows
from shared.protocol import Output

Bytes = NDArray[np.uint8]

NOT_FINITE = (
    "a frame came out as NaN or infinite, in fp32 too. Expected pixels; check the weights with "
    "`talkinghead weights verify liveportrait`."
)
N_SLOTS = 3  # batches between the device and the last look at their pixels


@dataclass(frozen=True)
class RendererOptions:
    """How frames are computed.

    Attributes:
        precision: "auto", "fp32", "fp16" or "bf16" for W and G.
        compile: through torch.compile.
        graphs: as CUDA graphs.
        max_batch_frames: frames computed at once.
        jpeg: compresses square frames on the device, or None.
    """

    precision: str = "auto"
    compile: bool = False
    graphs: bool = False
    max_batch_frames: int = 1
    jpeg: GpuJpeg | None = None


class LivePortraitRenderer:
    """Official LivePortrait, rearranged for speed.

    Args:
        networks: with weights; moved to the device, but for the small stitching networks.
        device: where F, M, W and G run.
        options: how.
    """

    def __init__(self, networks: Networks, device: torch.device, options: RendererOptions) -> None:
        self.max_batch_frames = options.max_batch_frames
        self._device = device
        self._networks = replace(networks, F=fold_appearance(networks.F)).to(device)
        self._stitching = networks.S.cpu()
        self._jpeg = options.jpeg
        self._lanes = Lanes.of(device)
        launch = LaunchOptions(options.max_batch_frames, compile=options.compile, graphs=options.graphs)
        dtype = choose_dtype(options.precision, device)
        self._synthesis = GuardedSynthesis(self._synthesis_in, dtype, device, launch)
        side_px = SOURCE.side_px
        frames = ((options.max_batch_frames, side_px, side_px, 3), torch.uint8)
        self._ring = PinnedRing(N_SLOTS, [frames, ((options.max_batch_frames,), torch.bool)], device)

    def warm_up(self) -> None:
        """Prepare a drawn face, run every batch size, and send one frame through all stages.

        Raises:
            WeightsMismatch: the networks give NaN or infinity.
        """
        try:
            self._warm_up(self.build(self._extracted(drawn_crop(), "square")))
        except NonFiniteOutput as error:
            raise WeightsMismatch(
                "the networks give NaN or infinity for a drawn face; expected a picture. Run "
                "`talkinghead weights verify liveportrait`, or pull the weights again."
            ) from error

    def prepare(self, portrait: Bytes, output: Output) -> LivePortraitAppearance:
        """Cut out the face and extract features and motion; see `prepare.cut_out` and `prepare.extract`."""
        return self._extracted(cut_out(portrait), output)

    def load(self, data: bytes) -> LivePortraitAppearance:
        """See `LivePortraitAppearance.from_bytes`.

        Raises:
            ShapeError: features of networks of another size.
        """
        appearance = LivePortraitAppearance.from_bytes(data)
        config = self._networks.F.config
        expected = (config.volume_channels, config.volume_depth)
        if appearance.f_s.shape[:2] != expected:
            raise ShapeError(
                f"appearance with features {appearance.f_s.shape}; this renderer's networks take {expected} channels "
                "and depth. Prepare the portrait again."
            )
        return appearance

    @torch.inference_mode()
    def build(self, appearance: LivePortraitAppearance) -> Portrait:
        """Put a portrait on the device; waits for it."""
        pose = pose_of(appearance, self._stitching)
        f_s = torch.from_numpy(appearance.f_s.astype(np.float32))[None].to(self._device)
        source = self._synthesis.source(f_s, pose.x_s.to(self._device))
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        return Portrait(source, pose, paste_of(appearance), appearance.frame_shape)

    @torch.inference_mode()
    def upload(self, batch: FrameBatch[Portrait]) -> Uploaded:
        """Turn motion into driving key points and queue their way to the device; see `portrait.driving_points`."""
        poses = [portrait.pose for portrait in batch.subjects]
        x_d = driving_points(poses, batch.motion, batch.references, self._stitching)
        lane = self._lanes.upload
        begun = lane.mark()
        return Uploaded(batch.subjects, lane.send(x_d.numpy()), begun, lane.mark())

    def compute(self, uploaded: Uploaded) -> Computed:
        """Queue W and G."""
        lane = self._lanes.compute
        lane.follow(uploaded.done)
        begun = lane.mark()
        with lane.active():
            made = self._synthesis.frames([portrait.source for portrait in uploaded.portraits], uploaded.x_d)
        return Computed(uploaded, made, begun, lane.mark())

    @torch.inference_mode()
    def download(self, computed: Computed) -> Downloaded:
        """Queue the copy into a slot of the ring; waits only while every slot is in use."""
        lane = self._lanes.download
        slot = self._ring.acquire()
        try:
            lane.follow(computed.done)
            begun = lane.mark()
            with lane.active():
                self._copy(computed, slot)
            return Downloaded(computed, slot, begun, lane.mark())
        except BaseException:
            slot.release()
            raise

    @torch.inference_mode()
    def finish(self, downloaded: Downloaded) -> Sequence[Drawn]:
        """Wait for the copy, look at the flags, paste back or compress where that is wanted."""
        try:
            downloaded.done.wait()
            self._observe(downloaded)
            return self._finished(downloaded.computed, downloaded.slot)
        finally:
            downloaded.slot.release()

    def _warm_up(self, portrait: Portrait) -> None:
        with self._lanes.compute.active():
            self._synthesis.warm_up(portrait.source, portrait.pose.x_s.to(self._device))
        self._lanes.compute.drain()
        batch = FrameBatch((portrait,), neutral_rows(1), (None,))
        for drawn in self.finish(self.download(self.compute(self.upload(batch)))):
            if isinstance(drawn, NonFiniteOutput):
                raise drawn

    def _extracted(self, crop: Crop, output: Output) -> LivePortraitAppearance:
        features = torch.float32 if self._synthesis.dtype == torch.float32 else torch.float16
        return extract(self._networks, crop, output, features)

    def _synthesis_in(self, dtype: torch.dtype) -> FastSynthesis:
        options = FastOptions.for_device(self._device, dtype)
        return FastSynthesis.from_networks(self._networks.W, self._networks.G, options)

    def _copy(self, computed: Computed, slot: Slot) -> None:
        n_frames = len(computed.uploaded.portraits)
        frames, is_sound = slot.buffers
        is_sound[:n_frames].copy_(computed.made.is_sound, non_blocking=True)
        stays = self._jpeg is not None and all(portrait.paste is None for portrait in computed.uploaded.portraits)
        if not stays:
            frames[:n_frames].copy_(computed.made.frames, non_blocking=True)

    def _finished(self, computed: Computed, slot: Slot) -> list[Drawn]:
        portraits, made = computed.uploaded.portraits, computed.made
        host, flags = (buffer[: len(portraits)].numpy() for buffer in slot.buffers)
        frames, is_sound = self._synthesis.settle(made, host, flags)
        drawn: list[Drawn] = []
        for portrait, frame, sound in zip(portraits, frames, is_sound, strict=True):
            if not sound:
                drawn.append(NonFiniteOutput(NOT_FINITE))
            else:
                drawn.append(frame.copy() if portrait.paste is None else portrait.paste.into_photo(frame))
        if self._jpeg is not None and frames is host:
            self._compress(self._jpeg, computed, drawn)
        return drawn

    def _compress(self, jpeg: GpuJpeg, computed: Computed, drawn: list[Drawn]) -> None:
        """Put JPEG in the place of the square frames, made on the device from what stands there."""
        square = [
            index
            for index, (portrait, frame) in enumerate(zip(computed.uploaded.portraits, drawn, strict=True))
            if portrait.paste is None and isinstance(frame, np.ndarray)
        ]
        with self._lanes.download.active():
            encoded = jpeg.encode(computed.made.frames[square])
        for index, data in zip(square, encoded, strict=True):
            drawn[index] = data

    def _observe(self, downloaded: Downloaded) -> None:
        computed, uploaded = downloaded.computed, downloaded.computed.uploaded
        steps = {
            "upload": uploaded.done.seconds_since(uploaded.begun),
            "compute": computed.done.seconds_since(computed.begun),
            "copy": downloaded.done.seconds_since(downloaded.begun),
        }
        for step, duration_s in steps.items():
            metrics.render_step_duration_seconds.labels(step).observe(duration_s)
