"""Two processes on one CPU, started by torchrun, against one process that accumulates the same micro-batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from tests.training.tiny_training import tiny_config, tiny_data
from tests.training.two_ranks import N_STEPS
from training.start import start_model
from training.trainer import Trainer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_two_processes_split_the_data_and_do_what_one_does_with_twice_the_batch(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
    subprocess.run(
        [sys.executable, *command, "-m", "tests.training.two_ranks", str(tmp_path)],
        check=True, cwd=ROOT, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    ranks = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert [rank["n_processes"] for rank in ranks] == [2, 2]

    seen = np.array([rank["windows"] for rank in ranks])  # (ranks, steps, batch)
    assert seen.size == len(tiny_data()[0])  # three steps of two times four: one epoch
    assert len(np.unique(seen)) == seen.size
    assert not np.isclose(ranks[0]["losses"], ranks[1]["losses"]).any()  # other windows, other noise

    one = Trainer(config := tiny_config(tmp_path, accumulation=2), start_model(config, tiny_data()[0]), tiny_data(),
                  Accelerator(gradient_accumulation_steps=2))  # fmt: skip
    losses = [float(one.step(0.25 * i)["total"]) for i in range(N_STEPS)]
    assert losses == pytest.approx(np.mean([rank["losses"] for rank in ranks], axis=0), rel=1e-5)
    assert one.place.number == ranks[0]["number"] == 2 * N_STEPS
    for name, value in one.model.state_dict().items():
        assert torch.equal(ranks[0]["model"][name], ranks[1]["model"][name])
        assert torch.allclose(value, ranks[0]["model"][name], atol=2e-5), name
    assert ranks[0]["validation"] == ranks[1]["validation"]
    assert one.validate()["total"] == pytest.approx(ranks[0]["validation"]["total"], rel=1e-3)
