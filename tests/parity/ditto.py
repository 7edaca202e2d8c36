"""Is our Ditto motion network the official one? Compare everything with stored reference outputs.

    python -m tests.parity.ditto --dir tests/data/parity --seed 0

Reads ``ditto_lmdm_goldens_seedN.npz``: inputs, noise and results; weights follow from the seed. The last line of stdout
is a JSON object: for each group the worst error over its bound (a result that is not finite counts as 1e9), and the
worst of all. The exit code is 1 if one of them is more than 1, or if the file is missing or cannot be read, or holds
what nobody compares; the reason is on stderr.
"""

import json
import sys
from collections.abc import Sequence

import numpy as np
import torch

from services.motion_dit.ditto.checkpoint import empty_lmdm, with_frequencies
from services.motion_dit.ditto.ddim import Step, cosine_alphas, ddim_steps, implied_noise, sample
from services.motion_dit.ditto.guidance import GuidedClip
from services.motion_dit.ditto.network import Lmdm, LmdmConfig
from services.motion_dit.strict_state import expected_shapes
from tests.parity.goldens import Goldens
from tests.parity.motion_runner import Npz, run
from tests.parity.normal_fill import Floats, differing, normal_weights

NETWORK = "ditto_lmdm"
STEPS = (999, 500, 19, 0)

SCHEDULE_BOUND = 1e-6
PASS_BOUND = 5e-4
CLEAN_BOUND = 1e-3  # of motion whose standard deviation is about 10
NOISE_BOUND = 1e-3  # times the root mean square: near step 0 the noise is the difference of nearly equal numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit code."""
    return run(f"{NETWORK}_goldens", ratios, __doc__ or "", arguments)


def synthetic_weights(seed: int, config: LmdmConfig) -> dict[str, Floats]:
    """Weights of every parameter of a network of any size."""
    parameters = {key: tuple(tensor.shape) for key, tensor in empty_lmdm(config).named_parameters()}
    return normal_weights(NETWORK, parameters, seed)


def synthetic_lmdm(weights: dict[str, Floats], config: LmdmConfig) -> Lmdm:
    """A network with given parameters, ready to run."""
    network = empty_lmdm(config)
    state = {key: torch.from_numpy(array) for key, array in weights.items()}
    state = with_frequencies(state, expected_shapes(network), config.hidden)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def ratios(npz: Npz, seed: int) -> dict[str, float]:
    """Worst error over its bound of every group; every array is read or compared, else AssertionError."""
    goldens = Goldens(npz)
    meta = json.loads(str(goldens.array("meta")))
    if (meta["network"], meta["seed"]) != (NETWORK, seed):
        raise AssertionError(f"goldens of {meta['network']}, seed {meta['seed']}; expected {NETWORK}, seed {seed}")
    weights = synthetic_weights(seed, LmdmConfig())
    if wrong := differing(weights, meta["weights_crc"]):
        print(f"weights that are not those of the goldens: {wrong[:4]} and {len(wrong)} in all", file=sys.stderr)
    network = synthetic_lmdm(weights, LmdmConfig())
    compare_schedule(goldens)
    compare_passes(goldens, network)
    compare_guided(goldens, network)
    return {"weights": np.inf if wrong else 0.0, **goldens.finish()}


def compare_schedule(goldens: Goldens) -> None:
    """The noise schedule and the numbers of the ten steps, each but the last."""
    steps = ddim_steps(cosine_alphas())
    goldens.near("schedule", cosine_alphas(), "sched/alphas_cumprod", SCHEDULE_BOUND)
    goldens.same("schedule", np.array([(step.t, step.t_next) for step in steps]), "ddim10/time_pairs")
    goldens.near("schedule", _numbers(steps, "sigma"), "ddim10/sigma", SCHEDULE_BOUND)
    goldens.near("schedule", _numbers(steps, "c"), "ddim10/c", SCHEDULE_BOUND)
    goldens.near("schedule", np.sqrt(_numbers(steps, "alpha_next")), "ddim10/alpha_next_sqrt", SCHEDULE_BOUND)


def compare_passes(goldens: Goldens, network: Lmdm) -> None:
    """The network with and without conditions, each alone."""
    x, cond_frame = goldens.tensor("in/x"), goldens.tensor("in/cond_frame")
    passes = {"cond_pass": network.encode(goldens.tensor("in/cond")), "null_pass": network.no_condition(len(x))}
    for t in STEPS:
        for name, condition in passes.items():
            predicted = network(x, cond_frame, torch.tensor([t]), condition)
            goldens.near(name, predicted, f"{name}/t{t}", PASS_BOUND)


def compare_guided(goldens: Goldens, network: Lmdm) -> None:
    """The guided prediction, the noise it implies, and the whole sampler."""
    x = goldens.tensor("in/x")
    predict = GuidedClip(network, goldens.tensor("in/cond"), goldens.tensor("in/cond_frame"))
    alphas = cosine_alphas()
    for t in STEPS:
        x_0 = predict(x, t)
        goldens.near("x_start", x_0, f"x_start/t{t}", CLEAN_BOUND)
        key = f"pred_noise/t{t}"
        level = float(np.sqrt(np.mean(goldens.array(key).astype(np.float64) ** 2)))
        goldens.near("pred_noise", implied_noise(x, x_0, float(alphas[t])), key, NOISE_BOUND * level)
    final = sample(predict, goldens.tensor("in/x_T"), goldens.tensor("in/noise"), ddim_steps(alphas))
    goldens.near("ddim10", final, "ddim10/final", CLEAN_BOUND)


def _numbers(steps: Sequence[Step], name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([getattr(step, name) for step in steps[:-1]], np.float64)


if __name__ == "__main__":
    sys.exit(main())
