"""Command line of all measures: a table for people, then one JSON line.

    python -m training.evaluate lips --audio CLIP --reference VIDEO_OR_NPZ
    python -m training.evaluate motion
    python -m training.evaluate speech
    python -m training.evaluate video --video MP4
    python -m training.evaluate syncnet --video MP4 --weights FILE

Exit status 0 after a measurement, whatever it says; 2 where the input or the command line is wrong.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from importlib import import_module

import torch

from shared.errors import TalkingHeadError

PROGRAM = "python -m training.evaluate"
COMMANDS = ("lips", "motion", "speech", "video", "syncnet")
BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one measure; returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args(given[:1]).command
    module = import_module(f"training.evaluate.{command}")
    options = argparse.ArgumentParser(
        prog=f"{PROGRAM} {command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(options)
    args = options.parse_args(given[1:])
    torch.set_num_threads(1)
    try:
        result = module.run(args)
    except TalkingHeadError as error:
        print(f"{command}: {error.message}", file=sys.stderr)
        return BAD_INPUT
    print(json.dumps(_finite({"measure": command, **result})))
    return 0


def _finite(value: object) -> object:
    """The value with null in the place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
