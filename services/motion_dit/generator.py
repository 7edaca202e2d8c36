"""MotionGenerator: features and a WindowState in, motion and the next WindowState out.

Draws noise and events from the job's seed, runs the sampler over the network, applies the caller's options to what
leaves the window. On a CPU each window is its own forward pass, so that a window's bytes never depend on what else was
in the batch. Knows nothing of queues.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from services.motion_dit.controls import apply_controls
from services.motion_dit.events import EventState, draw_events
from services.motion_dit.interface import Generated, Request
from services.motion_dit.joint import without_jump
from services.motion_dit.model import MotionDiT
from services.motion_dit.sampler import EVENT_STREAM, Steps, denoise_in, noise, philox, smoothing
from services.motion_dit.window import WindowState, first_state, read_state
from shared.errors import NonFiniteOutput, ShapeError
from shared.timeline import Geometry

FloatArray = NDArray[np.float32]

# Fitted so that a Gaussian of any width comes out as wide as it is (decision 0016).
STEPS = Steps(times=(0.0, 0.199, 0.582, 0.889), lean=(0.0, 0.559, 0.355, 0.879))

# Sound says what the mouth does; full noise makes closures uncertain and adds nothing that is wanted (decision 0016).
EXPRESSION_TEMPERATURE = 0.15


class MotionGenerator:
    """A network on a device with the steps of its sampler; immutable, shared by all jobs."""

    def __init__(self, model: MotionDiT, device: str = "cpu", steps: Steps = STEPS) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.device = torch.device(device)
        self.steps = steps
        self.context, self.lookahead = model.config.context, model.config.lookahead
        self._is_pose = model.normaliser.is_pose.cpu().numpy()

    def read_state(self, data: bytes, window: int) -> WindowState:
        """Decode the state for a window; empty bytes are the state of window 0.

        Raises:
            BadMessage: malformed, or the state of another window, context or look-ahead.
            VersionMismatch: written by another version.
        """
        return read_state(data, window, self.context, self.lookahead)

    def generate(self, requests: Sequence[Request[WindowState]]) -> list[Generated[WindowState]]:
        """Generate windows of any jobs; windows of equal length share a batch on a GPU, never on a CPU.

        Raises:
            ShapeError: features of the wrong shape.
            NonFiniteOutput: the network produced NaN or infinity.
        """
        for request in requests:
            self._check(request.features)
        if self.device.type == "cpu":
            return [generated for request in requests for generated in self._generate([request])]
        done: dict[int, Generated[WindowState]] = {}
        for length in {len(request.features) for request in requests}:
            indices = [i for i, request in enumerate(requests) if len(request.features) == length]
            done.update(zip(indices, self._generate([requests[i] for i in indices]), strict=True))
        return [done[index] for index in range(len(requests))]

    def warm_up(self, geometry: Geometry) -> None:
        """Run one window, so that the first job does not pay for lazy initialisation."""
        features = np.zeros((geometry.length, self.model.config.feature_size), np.float32)
        self.generate([Request(features, first_state(self.context), seed=0)])

    def _generate(self, requests: Sequence[Request[WindowState]]) -> list[Generated[WindowState]]:
        events = [self._events(request) for request in requests]
        tracks = np.stack([tracks for tracks, _ in events])  # (B, N, 3), N = context + hop + look-ahead
        features = np.stack([request.features for request in requests])  # (B, N, D)
        context = np.stack([request.state.rows for request in requests])  # (B, context, 70)
        n_drawn = features.shape[1] - self.context  # new frames and those looked ahead at
        hop, shape = n_drawn - self.lookahead, (n_drawn, self.model.config.latent_size)
        white = np.stack([noise(r.seed, r.state.window, shape) for r in requests])  # (B, drawn, L)
        x_0 = np.where(
            self._is_pose, smoothing(n_drawn, self.model.config.pose_noise_s) @ white, EXPRESSION_TEMPERATURE * white
        ).astype(np.float32)
        rows = self._sample(features, tracks, context, x_0)[:, :hop]  # (B, hop, 70)
        if not np.isfinite(rows).all():
            raise NonFiniteOutput("the motion network produced NaN or infinity; check its weights and the features")
        return [
            Generated(
                apply_controls(row, request.controls, request.state.window * len(row)),
                WindowState(
                    request.state.window + 1,
                    np.concatenate([request.state.rows, row])[-self.context :],
                    track[hop:],
                    next_events,
                ),
            )
            for request, row, track, (_, next_events) in zip(requests, rows, tracks, events, strict=True)
        ]

    def _events(self, request: Request[WindowState]) -> tuple[FloatArray, EventState]:
        state, hop = request.state, len(request.features) - self.context - self.lookahead
        n_known = len(state.tracks)
        first_frame = state.window * hop + n_known - self.context
        rng = philox(request.seed, state.window, EVENT_STREAM)
        tracks, next_events = draw_events(
            state.events, first_frame, request.features[n_known:, -1], rng, request.controls.blinks_per_minute
        )
        return np.concatenate([state.tracks, tracks]), next_events

    @torch.inference_mode()
    def _sample(self, features: FloatArray, tracks: FloatArray, context: FloatArray, x_0: FloatArray) -> FloatArray:
        model, n_batch = self.model, len(features)
        past = model.normaliser.encode(self._tensor(context))  # (B, context, L)
        condition = model.condition(self._tensor(features), self._tensor(tracks))

        def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
            window = torch.cat([past, x], dim=1)  # (B, N, L)
            predicted: torch.Tensor = model(window, window.new_full((n_batch,), t), condition)
            return predicted[:, self.context :]

        is_pose = model.normaliser.is_pose
        latent = denoise_in(self.steps, denoise, self._tensor(x_0), is_pose.float())  # (B, drawn, L)
        latent = without_jump(past, latent, is_pose)
        rows: FloatArray = model.normaliser.decode(latent).cpu().numpy()
        return rows

    def _tensor(self, array: FloatArray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _check(self, features: FloatArray) -> None:
        expected = self.model.config.feature_size
        n_least = self.context + self.lookahead + 1
        if features.ndim != 2 or len(features) < n_least or features.shape[1] != expected:
            raise ShapeError(
                f"features of shape {features.shape}; expected ({n_least} or more, {expected}). "
                "The motion model was trained for another audio encoder or bundle."
            )
