"""What one of two processes does in test_train_processes.py: three steps; started by torchrun.

python -m tests.training.two_ranks FOLDER
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from tests.training.tiny_training import tiny_config, tiny_data
from training.order import numbers_of_rank
from training.start import start_model
from training.trainer import Trainer

N_STEPS = 3


def main(folder: Path) -> None:
    """Train, then write what this process saw and has."""
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    config = tiny_config(folder)
    data = tiny_data()
    trainer = Trainer(config, start_model(config, data[0]), data, accelerator)
    losses = [float(trainer.step(0.25 * i)["total"]) for i in range(N_STEPS)]
    numbers = numbers_of_rank(0, accelerator.process_index, accelerator.num_processes)[:N_STEPS]
    found = {
        "losses": losses,
        "windows": [trainer.data.order.windows(n * config.batch_size, config.batch_size).tolist() for n in numbers],
        "model": trainer.model.state_dict(),
        "validation": trainer.validate(),
        "n_processes": accelerator.num_processes,
        "number": trainer.place.number,
    }
    torch.save(found, folder / f"rank-{accelerator.process_index}.pt")
    accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
