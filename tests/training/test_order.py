import numpy as np
import pytest
import torch

from tests.training.tiny_training import TinySource
from training.order import MicroBatches, Order, Sources, noise_of, numbers_of_rank


def test_an_epoch_holds_every_window_once_and_the_next_is_another_order() -> None:
    order = Order((7, 13), (), seed=3)
    first, second = order.windows(0, 20), order.windows(20, 20)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first.tolist() != second.tolist()
    assert order.windows(15, 10).tolist() == [*first[15:], *second[:5]]
    assert Order((7, 13), (), seed=4).windows(0, 20).tolist() != first.tolist()


def test_shares_are_kept_and_each_source_is_still_read_without_repeats() -> None:
    order = Order((10, 1000), (0.4, 0.6), seed=0)
    windows = order.windows(0, 1000)
    small = windows[windows < 10]
    assert len(small) == 400
    for epoch in small.reshape(40, 10):
        assert sorted(epoch) == list(range(10))
    assert len(np.unique(windows[windows >= 10])) == 600
    assert np.array_equal(order.windows(250, 100), windows[250:350])


@pytest.mark.parametrize("shares", [(0.001, 0.999), (1.0, 1.0, 3.0)])
def test_every_source_gets_a_place(shares: tuple[float, ...]) -> None:
    order = Order((5,) * len(shares), shares, seed=0)
    owner = order.windows(0, 100) // 5
    assert set(owner) == set(range(len(shares)))
    assert abs(float(np.mean(owner == len(shares) - 1)) - shares[-1] / sum(shares)) <= 0.0101


def test_processes_take_turns() -> None:
    assert list(numbers_of_rank(6, 1, 3)[:3]) == [7, 10, 13]
    taken = [n for rank in range(3) for n in numbers_of_rank(6, rank, 3)[:4]]
    assert sorted(taken) == list(range(6, 18))


def test_noise_differs_between_micro_batches_and_repeats_with_the_seed() -> None:
    one, other, again = (torch.rand(4, generator=noise_of(5, n)) for n in (0, 1, 0))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, torch.rand(4, generator=noise_of(6, 0)))


def test_a_batch_reads_windows_of_all_sources() -> None:
    parts = [TinySource(3, seed=1), TinySource(5, seed=2)]
    sources = Sources(parts)
    batch = sources.batch(np.array([7, 1, 3]), np.random.default_rng(0))
    assert len(sources) == 8
    found = {tuple(row.flatten().tolist()) for row in batch.features}
    expected = {tuple(f.flatten().tolist()) for f in (parts[1].features[4], parts[0].features[1], parts[1].features[0])}
    assert found == expected
    number, first = MicroBatches(sources, Order((3, 5), (), 0), 4)[2]
    assert number == 2
    assert torch.equal(first.tracks, MicroBatches(sources, Order((3, 5), (), 0), 4)[2][1].tracks)
