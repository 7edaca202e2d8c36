"""The command line that the comparisons of motion networks share: one file of goldens in, one JSON line out."""

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

from tests.parity.goldens import NOT_FINITE, UnusableGoldens, read

Npz = Mapping[str, NDArray[Any]]
Ratios = Callable[[Npz, int], Mapping[str, float]]


def run(prefix: str, ratios: Ratios, description: str, arguments: Sequence[str] | None) -> int:
    """Compare, print, and return the exit code.

    Args:
        prefix: the goldens are in ``PREFIX_seedN.npz`` of the folder.
        ratios: worst error over its bound of every group, from goldens and seed.
        description: for ``--help``.
        arguments: of the command line; None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help=f"folder with {prefix}_seedN.npz")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        with torch.inference_mode():
            found = ratios(read(options.dir / f"{prefix}_seed{options.seed}.npz"), options.seed)
    except UnusableGoldens as error:
        print(json.dumps({"seed": options.seed, "error": str(error)}))
        return 1
    except (KeyError, AssertionError) as error:  # a golden that we do not have, or do not know
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        found = {"goldens": math.inf}
    groups = {name: value if math.isfinite(value) else NOT_FINITE for name, value in found.items()}
    worst = max(groups.values())
    print(f"compared in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    print(json.dumps({"seed": options.seed, "groups": groups, "worst": worst}))
    return 0 if worst <= 1 else 1
