"""Is our JoyVASA the official one? Compare everything with stored reference outputs.

    python -m tests.parity.joyvasa --dir tests/data/parity --seed 0

Reads ``joyvasa_goldens_seedN.npz`` from the folder; weights follow from the seed. The last line of stdout is a JSON
object: for each group the worst error over its bound (a result that is not finite or has another shape counts as 1e9),
and the worst of all. The exit code is 1 if one of them is more than 1, or if the file is missing or cannot be read, or
holds something that is not compared; the reason is on stderr.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.audio_encoder.edges import mirror_ends
from services.motion_dit.joyvasa.guidance import (
    DynamicThreshold,
    Guidance,
    Past,
    predictor,
    project,
    start_of,
)  # fmt: skip
from services.motion_dit.joyvasa.network import JoyVasaConfig, JoyVasaNetwork, Positions
from services.motion_dit.joyvasa.samplers import ddpm_states
from services.motion_dit.joyvasa.schedule import Curve, DiffusionSchedule
from services.motion_dit.joyvasa.template import OFFICIAL_SMOOTHING, Template, smooth_pose
from services.motion_dit.joyvasa.template_file import template_of
from services.renderer.liveportrait.keypoints import rotation_matrix
from shared.motion import EXP, PYR, SCALE
from shared.motion import T as TRANSLATION
from shared.timeline import SAMPLES_PER_FRAME
from tests.parity.goldens import Goldens
from tests.parity.motion_runner import Npz, run
from tests.parity.normal_fill import Floats, differing, normal_weights

NETWORK = "joyvasa_motion"
SCHEDULE, SOUND, DENOISER, TRAJECTORY = 1e-6, 2e-6, 2e-5, 5e-5
EXPRESSION, POSE, DEGREES, ROTATION = 1e-5, 5e-5, 2e-3, 5e-5
LEAD_SAMPLES = 1280 + 640  # silence that the official program puts around a file
DENOISER_STEPS = ((1, 1), (2, 49), (10, 25), (50, 50))
TABLES = ("betas", "alphas", "alpha_bars", "sigmas_flex", "sigmas_inflex")
STORED_STEPS = (50, 49, 40, 25, 10, 1, 0)
FINALS = {
    "default_cfg2.8_incremental": (Guidance(2.8), 0.0),
    "cfg2.8_independent": (Guidance(2.8), 0.0),  # the same formula where sound is the only condition
    "cond_only": (Guidance(None), 0.0),
    "cfg1.0": (Guidance(1.0), 0.0),
    "cfg1.15_flex0.5": (Guidance(1.15), 0.5),
    "cfg2.0_dynthr": (Guidance(2.0, DynamicThreshold(0.95, 0.2, 2.0)), 0.0),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit code."""
    return run("joyvasa_goldens", ratios, __doc__ or "", arguments)


def ratios(npz: Npz, seed: int) -> dict[str, float]:
    """Worst error over its bound, by group.

    Raises:
        KeyError: a golden is missing.
        AssertionError: one was not compared, or has another shape than our result.
    """
    goldens = Goldens(npz)
    meta = json.loads(str(goldens.array("meta")))
    schedules(goldens)
    padding(goldens, npz)
    worst = 0.0
    for name, sizes in meta["configs"].items():
        for positions in Positions:
            network, weights = filled(sizes, positions, seed)
            worst = math.inf if differing(weights, meta["weights_crc"][name]) else worst
            parts(goldens, name, network, positions)
    return {"weights": worst, **goldens.finish()}


def filled(sizes: Mapping[str, int], positions: Positions, seed: int) -> tuple[JoyVasaNetwork, dict[str, Floats]]:
    """A network of the stored sizes with synthetic weights, and those."""
    config = JoyVasaConfig(
        motion_size=sizes["motion_feat_dim"],
        context=sizes["n_prev"],
        feature_size=sizes["feature_dim"],
        n_steps=sizes["n_diff_steps"],
        positions=positions,
    )
    network = JoyVasaNetwork(config).eval()
    shapes = {key: tuple(parameter.shape) for key, parameter in network.named_parameters()}
    weights = normal_weights(NETWORK, shapes, seed)
    network.load_state_dict({key: torch.from_numpy(weight) for key, weight in weights.items()}, strict=False)
    return network, weights


def parts(goldens: Goldens, name: str, network: JoyVasaNetwork, positions: Positions) -> None:
    """Everything stored of one configuration in one mode of positions."""
    if name == "c70w":
        if positions is Positions.SLICE:
            window_loop(goldens, network)
        return
    sound = project(network, goldens.tensor("hidden"))
    goldens.near("audio_feat", sound, f"{name}/audio_feat", SOUND)
    denoiser(goldens, name, network, positions)
    if name == "c73":
        trajectory(goldens, network, positions)
        if positions is Positions.SLICE:
            finals(goldens, network)
            second_window(goldens, network)


def schedules(goldens: Goldens) -> None:
    """Tables of every curve."""
    stored = [(Curve.COSINE, 50), (Curve.COSINE, 8), (Curve.LINEAR, 50), (Curve.QUADRATIC, 50), (Curve.SIGMOID, 50)]
    for curve, n_steps in stored:
        schedule = DiffusionSchedule(n_steps, curve)
        for table in TABLES if curve is Curve.COSINE else ("alpha_bars", "sigmas_inflex"):
            goldens.near("schedule", getattr(schedule, table), f"sched/{curve}{n_steps}/{table}", SCHEDULE)


def padding(goldens: Goldens, npz: Npz) -> None:
    """Which sample stands where: counting waves are padded."""
    for length in sorted({int(key.split("/")[1]) for key in npz if key.startswith("pad_audio/")}):
        padded = mirror_ends(np.arange(length, dtype=np.float32))
        key = f"pad_audio/{length}"
        goldens.same("padding", np.array([length, len(padded)], np.float64), f"{key}/len")
        goldens.same("padding", padded[:96], f"{key}/head")
        goldens.same("padding", padded[-96:], f"{key}/tail")


def denoiser(goldens: Goldens, name: str, network: JoyVasaNetwork, positions: Positions) -> None:
    """The network alone: row 0 hears the sound, row 1 the null token, each at its own step."""
    sound = goldens.tensor(f"{name}/audio_feat")
    heard = torch.cat([sound, network.null_audio_feat.expand_as(sound)])
    past = Past(goldens.tensor(f"{name}/in/prev_motion"), goldens.tensor(f"{name}/in/prev_audio"))
    motion = torch.cat([past.motion, goldens.tensor(f"{name}/in/motion_t")], dim=1)
    layers = network.denoising_net.hear(torch.cat([past.sound, heard], dim=1))
    for first, second in DENOISER_STEPS:
        ours = network.denoising_net(motion, layers, torch.tensor([first, second]))
        goldens.near("denoiser", ours, f"{name}/denoiser/{positions}/t{first}_{second}", DENOISER)


def trajectory(goldens: Goldens, network: JoyVasaNetwork, positions: Positions) -> None:
    """Fifty guided steps from the start tokens."""
    sound, noise = goldens.tensor("c73/audio_feat"), goldens.tensor("c73/in/noise")
    predict = predictor(network, start_of(network, 1), sound, Guidance(2.8))
    states = [noise[:1], *ddpm_states(predict, network.diffusion_sched, noise[:1], noise[1:, None].unbind())]
    for t in STORED_STEPS:
        goldens.near("trajectory", states[50 - t][0], f"c73/traj/{positions}/cfg2.8/t{t}", TRAJECTORY)


def finals(goldens: Goldens, network: JoyVasaNetwork) -> None:
    """The same noise with other options of the sampler."""
    sound, noise = goldens.tensor("c73/audio_feat"), goldens.tensor("c73/in/noise")
    for name, (guidance, flexibility) in FINALS.items():
        ours = sample(network, start_of(network, 1), sound, noise, guidance, flexibility)
        goldens.near("samplers", ours[0], f"c73/final/{name}", TRAJECTORY)


def second_window(goldens: Goldens, network: JoyVasaNetwork) -> None:
    """The window after: the last frames of motion and sound are its past, its first noise is the same."""
    context = network.config.context
    past = Past(
        goldens.tensor("c73/final/default_cfg2.8_incremental")[None, -context:],
        goldens.tensor("c73/audio_feat")[:, -context:],
    )
    noise = goldens.tensor("c73/in/noise")
    ours = sample(network, past, goldens.tensor("c73/in/audio_feat_w2"), noise, Guidance(2.8))
    goldens.near("second_window", ours[0], "c73/window2/cfg2.8", TRAJECTORY)


def window_loop(goldens: Goldens, network: JoyVasaNetwork) -> None:
    """A whole file: windows one after another, cut to its length, as motion, raw and smoothed."""
    sounds, noise = goldens.tensor("c70w/in/audio_feat"), goldens.tensor("c70w/in/noise")
    context, n_z = network.config.context, network.config.n_steps - 1
    past = start_of(network, 1)
    windows = []
    for index, sound in enumerate(sounds[:, None]):
        z = noise[1 + index * n_z : 1 + (index + 1) * n_z]
        windows.append(sample(network, past, sound, torch.cat([noise[:1], z]), Guidance(2.8)))
        past = Past(windows[-1][:, -context:], sound[:, -context:])
    n_frames = (int(goldens.array("c70w/in/audio_len")[0]) + LEAD_SAMPLES) // SAMPLES_PER_FRAME
    rows = stored_template(goldens).rows(torch.cat(windows, dim=1)[0, :n_frames].numpy())
    _motion(goldens, "c70w/out_raw", rows)
    _motion(goldens, "c70w/out_ema", smooth_pose(rows, OFFICIAL_SMOOTHING, None))


def sample(
    network: JoyVasaNetwork, past: Past, sound: Tensor, noise: Tensor, guidance: Guidance, flexibility: float = 0.0
) -> Tensor:
    """One window by DDPM: noise is x_T and the noise of steps T..2, (T, N, D); gives (1, N, D)."""
    predict = predictor(network, past, sound, guidance)
    schedule = network.diffusion_sched
    return list(ddpm_states(predict, schedule, noise[:1], noise[1:, None].unbind(), flexibility))[-1]


def stored_template(goldens: Goldens) -> Template:
    """The synthetic statistics, all of them read, as from the published file."""
    fields = {"scale": 1, "R": 9, "t": 3, "exp": 63, "pitch": 1, "yaw": 1, "roll": 1, "lip": 1, "eyes": 2}
    keys = [f"{kind}_{field}" for kind in ("mean", "std", "max", "min", "abs_max") for field in fields]
    return template_of({key: goldens.array(f"c70w/template/{key}") for key in keys})


def _motion(goldens: Goldens, prefix: str, rows: NDArray[np.float32]) -> None:
    pitch, yaw, roll = torch.from_numpy(rows[:, PYR, None]).unbind(1)  # (F, 1) each
    goldens.near("motion/exp", rows[:, EXP].reshape(-1, 21, 3), f"{prefix}/exp", EXPRESSION)
    goldens.near("motion/scale", rows[:, SCALE, None], f"{prefix}/scale", POSE)
    goldens.near("motion/t", rows[:, TRANSLATION], f"{prefix}/t", POSE)
    for name, angle in (("pitch", pitch), ("yaw", yaw), ("roll", roll)):
        goldens.near("motion/degrees", angle, f"{prefix}/{name}", DEGREES)
    goldens.near("motion/R", rotation_matrix(pitch, yaw, roll), f"{prefix}/R", ROTATION)


if __name__ == "__main__":
    sys.exit(main())
