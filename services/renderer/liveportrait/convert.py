"""Official ``.pth`` checkpoints to safetensors: ``python -m services.renderer.liveportrait.convert SOURCE TARGET``.

Both are folders. Unpickling happens here once, in a process of its own and restricted to tensors; from then on workers
read safetensors, which hold nothing else. Everything that loading checks is checked before anything is written.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from services.renderer.liveportrait.checkpoint import (
    NAMES,
    check_state,
    empty_networks,
    expected_shapes,
    find_checkpoint,
    read_state,
)
from services.renderer.liveportrait.config import CONFIG_FILE, read_config, write_config
from shared.errors import TalkingHeadError

WRONG_USAGE, REFUSED = 2, 3


def convert(source: Path, target: Path) -> None:
    """Write ``NAME.safetensors`` for each network, and the sizes if the source states them.

    Args:
        source: folder with ``NAME.pth`` for each network, and ``config.json`` unless the sizes are the official ones.
        target: folder that exists.

    Raises:
        WeightsMismatch: a file is missing, is no checkpoint, or does not hold exactly the expected finite tensors.
    """
    config = read_config(source)
    networks = empty_networks(config)
    parts = (networks.F, networks.M, networks.W, networks.G, networks.S)
    for name, network in zip(NAMES, parts, strict=True):
        path = find_checkpoint(source, name)
        state = read_state(path)
        check_state(path, state, expected_shapes(network))
        written = target / f"{name}.safetensors"
        save_file({key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}, written)
        written.chmod(0o644)  # safetensors leaves it readable by the owner only
    if (source / CONFIG_FILE).exists():
        write_config(target, config)


def main(arguments: Sequence[str]) -> int:
    """Convert; exit code 3 and a message on stderr when the files are refused."""
    try:
        source, target = map(Path, arguments)
    except ValueError:
        sys.stderr.write("usage: python -m services.renderer.liveportrait.convert SOURCE TARGET\n")
        return WRONG_USAGE
    try:
        convert(source, target)
    except TalkingHeadError as error:
        sys.stderr.write(f"{error.message}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
