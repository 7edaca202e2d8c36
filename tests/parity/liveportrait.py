"""Are our LivePortrait networks the official ones? Compare everything with stored reference outputs.

    python -m tests.parity.liveportrait --dir tests/data/parity --seed 0 [--variant reference|optimised]

Reads every ``liveportrait_{goldens,fast,functions,pipeline}_seedN.npz`` of the folder; weights and inputs that are not
stored follow from the seed. The last line of stdout is a JSON object: for each group of tensors the worst error
over its bound (a result that is not finite or has another shape counts as 1e9), and the worst of all. The exit code is
1 if one of them is more than 1, if there is no file of that seed, or if one cannot be read; then the object says why.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from services.renderer.liveportrait.checkpoint import Networks
from services.renderer.liveportrait.config import NetworksConfig
from tests.parity import extraction, functions, pipeline, synthesis
from tests.parity.goldens import NOT_FINITE, UnusableGoldens, read
from tests.parity.networks import synthetic_networks
from tests.parity.variants import VARIANTS, Variant

Npz = Mapping[str, NDArray[Any]]
Group = Callable[[], Mapping[str, float]]

# What each file holds reference results of.
KINDS = {
    "functions": ("functions",),
    "pipeline": ("pipeline",),
    "fast": ("fast",),
    "goldens": ("S", "M", "F", "W", "G", "chain"),
}
GROUPS = tuple(group for groups in KINDS.values() for group in groups)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="folder with npz files of the seed")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--variant", choices=VARIANTS, default="reference")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="compare these groups only")
    options = parser.parse_args(arguments)
    try:
        goldens = read_found(options.dir, options.seed, options.only)
    except UnusableGoldens as error:
        print(json.dumps({"seed": options.seed, "variant": options.variant, "error": str(error)}))
        return 1
    wanted = [group for kind in goldens for group in KINDS[kind] if group in options.only]
    with torch.inference_mode():
        groups = compare(goldens, options.seed, options.variant, wanted)
    worst = max(groups.values())
    print(json.dumps({"seed": options.seed, "variant": options.variant, "groups": groups, "worst": worst}))
    return 0 if worst <= 1 else 1


def read_found(folder: Path, seed: int, wanted: Sequence[str]) -> dict[str, Npz]:
    """The reference results of a seed that a folder has for the wanted groups, by kind.

    Raises:
        UnusableGoldens: there are none, or a file cannot be read.
    """
    kinds = [kind for kind, groups in KINDS.items() if not set(groups).isdisjoint(wanted)]
    paths = {kind: folder / f"liveportrait_{kind}_seed{seed}.npz" for kind in kinds}
    found: dict[str, Npz] = {kind: read(path) for kind, path in paths.items() if path.exists()}
    if not found:
        raise UnusableGoldens(f"{folder} has none of {', '.join(path.name for path in paths.values())}")
    return found


def compare(goldens: Mapping[str, Npz], seed: int, variant: str, wanted: Sequence[str]) -> dict[str, float]:
    """Worst error over its bound of every group; progress goes to stderr."""
    networks = synthetic_networks(seed, NetworksConfig())
    built = VARIANTS[variant](networks)
    results: dict[str, float] = {}
    groups = groups_of(goldens, seed, networks, built)
    for name in wanted:
        start = time.perf_counter()
        try:
            ratios = {key: value if math.isfinite(value) else NOT_FINITE for key, value in groups[name]().items()}
        except (KeyError, AssertionError) as error:  # a golden that we do not have, or do not know
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            ratios = {name: NOT_FINITE}
        results |= ratios
        print(f"{name}: {max(ratios.values()):.3f} in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return results


def groups_of(goldens: Mapping[str, Npz], seed: int, networks: Networks, variant: Variant) -> dict[str, Group]:
    """What to compare, for each of ``GROUPS``; yields ratios by name."""
    stitching = networks.S
    return {
        "functions": lambda: _under("functions", functions.ratios(goldens["functions"], stitching, seed)),
        "pipeline": lambda: _under("pipeline", pipeline.ratios(goldens["pipeline"], stitching, seed)),
        "fast": lambda: _under("fast", fast_ratios(goldens["fast"], seed, networks, variant)),
        "S": lambda: {"S": extraction.stitching_ratio(goldens["goldens"], stitching)},
        "M": lambda: {"M": extraction.motion_ratio(goldens["goldens"], networks.M)},
        "F": lambda: {"F": extraction.appearance_ratio(goldens["goldens"], variant.appearance)},
        "W": lambda: {"W": synthesis.warping_ratio(goldens["goldens"], seed, variant)},
        "G": lambda: {"G": synthesis.generator_ratio(goldens["goldens"], seed, variant)},
        "chain": lambda: chain_ratios(goldens["goldens"], networks, variant),
    }


def fast_ratios(fast: Npz, seed: int, networks: Networks, variant: Variant) -> dict[str, float]:
    """The networks at a reduced size: seconds."""
    return {
        "F": extraction.small_appearance_ratio(fast, seed, variant.appearance),
        "M": extraction.small_motion_ratio(fast, seed, networks.M),
        "W": synthesis.small_warping_ratio(fast, seed, variant),
        "G": synthesis.small_generator_ratio(fast, seed, variant),
    }


def chain_ratios(full: Npz, networks: Networks, variant: Variant) -> dict[str, float]:
    """Three images to one frame, each network fed by the one before."""
    keypoints, chain = extraction.chain_keypoints(full, variant.appearance, networks.M, networks.S)
    return _under("chain", {"keypoints": keypoints, **synthesis.chain_ratios(full, chain, variant)})


def _under(prefix: str, ratios: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in ratios.items()}


if __name__ == "__main__":
    sys.exit(main())
