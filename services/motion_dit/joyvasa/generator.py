"""JoyVasaGenerator: the sound of a window to absolute motion, behind the interface that every generator has.

Noise follows from the job's seed and the window, so that work repeated is work identical; unlike the official program
each window has noise of its own, which the official one repeats in all windows. Knows nothing of queues and files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from services.motion_dit.controls import BROW_KEYPOINTS, MOUTH_KEYPOINTS, add_lasting
from services.motion_dit.interface import Generated, Request
from services.motion_dit.joyvasa.guidance import Guidance, Past, predictor, project_frames, start_of
from services.motion_dit.joyvasa.network import JoyVasaNetwork
from services.motion_dit.joyvasa.samplers import ddpm_states, dpm_solver, solver_steps
from services.motion_dit.joyvasa.state import JoyVasaState, NoState, read_state
from services.motion_dit.joyvasa.template import POSE, FloatArray, Template, smooth_pose
from services.motion_dit.sampler import noise
from shared.controls import Controls
from shared.errors import NonFiniteOutput, ShapeError
from shared.motion import EXP
from shared.timeline import Geometry

State = JoyVasaState | NoState

SPOKEN = [3 * keypoint + axis for keypoint in (*MOUTH_KEYPOINTS, *BROW_KEYPOINTS) for axis in range(3)]


@dataclass(frozen=True)
class Options:
    """How windows are sampled.

    Attributes:
        n_evaluations: of DPM-Solver++; 0 for every diffusion step by DDPM, as the official program.
        guidance: of the sound.
        pose_smoothing: weight of a new value in a moving average of the pose, officially 0.01; None for none.
    """

    n_evaluations: int = 8
    guidance: Guidance = field(default_factory=Guidance)
    pose_smoothing: float | None = None


class JoyVasaGenerator:
    """A checkpoint on a device; immutable, shared by all jobs."""

    def __init__(
        self, network: JoyVasaNetwork, template: Template, device: str = "cpu", options: Options | None = None
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        self.template = template
        self.device = torch.device(device)
        self.options = options or Options()

    def read_state(self, data: bytes, window: int) -> State:
        """Decode the state for a window; empty bytes are the state of window 0.

        Raises:
            BadMessage: malformed, of another checkpoint, or the state of another window.
            VersionMismatch: written by another version.
        """
        return read_state(data, window, self.network.config)

    def generate(self, requests: Sequence[Request[State]]) -> list[Generated[State]]:
        """Generate windows of any jobs, a batch on a GPU, one after another on a CPU.

        Raises:
            ShapeError: features of the wrong shape.
            NonFiniteOutput: the network produced NaN or infinity.
        """
        for request in requests:
            self._check(request.features)
        batches = [[request] for request in requests] if self.device.type == "cpu" else [list(requests)]
        return [generated for batch in batches for generated in self._generate(batch)]

    def warm_up(self, geometry: Geometry) -> None:
        """Run one window of silence."""
        features = np.zeros((geometry.length, self.network.config.encoder_size + 1), np.float32)
        self.generate([Request(features, NoState(), seed=0)])

    def _generate(self, batch: Sequence[Request[State]]) -> list[Generated[State]]:
        latents, sounds = self._sample(batch)  # (B, N, D), (B, N, F)
        if not np.isfinite(latents).all():
            raise NonFiniteOutput("JoyVASA's network produced NaN or infinity; check its weights and the features")
        return [
            self._result(request, latent, sound) for request, latent, sound in zip(batch, latents, sounds, strict=True)
        ]

    def _result(self, request: Request[State], latent: FloatArray, sound: FloatArray) -> Generated[State]:
        state, context = request.state, self.network.config.context
        rows = self.template.rows(latent)
        if self.options.pose_smoothing is not None:
            before = state.last if isinstance(state, JoyVasaState) else None
            rows = smooth_pose(rows, self.options.pose_smoothing, before)
        reference = state.reference if isinstance(state, JoyVasaState) else rows[0].copy()
        next_state = JoyVasaState(state.window + 1, latent[-context:], sound[-context:], reference, rows[-1])
        out = scale_motion(rows, reference, request.controls)
        seen = out[:, EXP] - reference[EXP]  # what the portrait shows of it
        out[:, EXP] += add_lasting(seen, request.controls, state.window * len(rows)) - seen
        return Generated(out, next_state, reference)

    @torch.inference_mode()
    def _sample(self, batch: Sequence[Request[State]]) -> tuple[FloatArray, FloatArray]:
        network, config, options = self.network, self.network.config, self.options
        frames = self._tensor(np.stack([request.features[:, :-1] for request in batch]))  # (B, N, H)
        sound = project_frames(network, frames)
        predict = predictor(network, self._past(batch), sound, options.guidance)
        n_drawn = 1 if options.n_evaluations else config.n_steps
        shape = (n_drawn, config.window, config.motion_size)
        drawn = self._tensor(np.stack([noise(r.seed, r.state.window, shape) for r in batch], axis=1))  # (n, B, N, D)
        if options.n_evaluations:
            steps = solver_steps(config.n_steps, options.n_evaluations)
            latent = dpm_solver(predict, network.diffusion_sched, drawn[0], steps)
        else:
            *_, latent = ddpm_states(predict, network.diffusion_sched, drawn[0], drawn[1:].unbind())
        return latent.cpu().numpy(), sound.cpu().numpy()

    def _past(self, batch: Sequence[Request[State]]) -> Past:
        start = start_of(self.network, 1)
        pasts = [
            Past(self._tensor(r.state.latent[None]), self._tensor(r.state.sound[None]))
            if isinstance(r.state, JoyVasaState)
            else start
            for r in batch
        ]
        return Past(torch.cat([past.motion for past in pasts]), torch.cat([past.sound for past in pasts]))

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)  # a copy: what comes from the queue is read-only

    def _check(self, features: FloatArray) -> None:
        expected = (self.network.config.window, self.network.config.encoder_size + 1)
        if features.shape != expected:
            raise ShapeError(
                f"features of shape {features.shape}; expected {expected}. JoyVASA's checkpoint fixes its window "
                "and audio encoder."
            )


def scale_motion(rows: FloatArray, reference: FloatArray, controls: Controls) -> FloatArray:
    """A caller's options: pose, and mouth and brows, brought nearer to the row that shows the portrait, or farther.

    Args:
        rows: (N, 70) absolute motion.
        reference: (70,) row that shows the portrait.
        controls: head_motion scales pose, translation and scale, expressiveness mouth and brows.

    Returns:
        (N, 70) float32, new; rows themselves where both are 1.
    """
    gain = np.ones_like(reference)
    gain[POSE] = controls.head_motion
    gain[SPOKEN] = controls.expressiveness
    scaled = np.where(gain == 1.0, rows, reference + gain * (rows - reference))
    return np.asarray(scaled, np.float32)
