import shutil

import pytest
import torch
from torch import Tensor

from services.renderer.liveportrait.graphs import GraphPerSize, Launcher, LaunchOptions, batch_sizes
from shared.errors import ShapeError

CPU = torch.device("cpu")


def add(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """What is launched."""
    return a + b, a.sum(1)


class Recorder:
    """The same, remembering its batch sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(a))
        return add(a, b)


def _inputs(n_rows: int, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    a = torch.arange(3.0 * n_rows, device=device).reshape(n_rows, 3)
    return a, 10 * a


def _is_right(results: tuple[Tensor, ...], n_rows: int) -> bool:
    a, b = _inputs(n_rows, results[0].device)
    return torch.equal(results[0], a + b) and torch.equal(results[1], a.sum(1))


def test_sizes_double_up_to_the_largest() -> None:
    assert [batch_sizes(n) for n in (1, 2, 3, 8, 12)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4, 8), (1, 2, 4, 8, 12)]


def test_an_eager_launch_takes_any_size_as_it_is() -> None:
    run = Recorder()
    launch = Launcher(run, LaunchOptions(max_batch_frames=4, graphs=True), CPU)
    assert all(_is_right(launch(*_inputs(n)), n) for n in (3, 1, 9))
    assert run.sizes == [3, 1, 9]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
def test_compiled_code_is_made_in_the_warm_up() -> None:
    launch = Launcher(add, LaunchOptions(max_batch_frames=1, compile=True), CPU)
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError, match="recompile"):
        launch(*_inputs(1))
    launch.warm_up(*_inputs(1))
    with torch.compiler.set_stance("fail_on_recompile"):
        assert _is_right(launch(*_inputs(1)), 1)


def test_a_batch_is_padded_to_the_next_size_and_cut_again() -> None:
    run = Recorder()
    launch = Launcher(run, LaunchOptions(max_batch_frames=8), CPU)
    launch.sizes = (1, 2, 4, 8)
    assert all(_is_right(launch(*_inputs(n)), n) for n in (1, 3, 5, 8))
    assert run.sizes == [1, 4, 8, 8]


def test_a_shape_that_was_not_captured_is_refused_with_what_to_do() -> None:
    graphs = GraphPerSize(Recorder(), CPU)
    with pytest.raises(ShapeError, match=r"float32\(2, 3\).*TH_RENDERER_GRAPHS=off"):
        graphs(*_inputs(2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_graphs_replay_what_was_captured_for_every_size() -> None:
    device = torch.device("cuda", 0)
    launch = Launcher(add, LaunchOptions(max_batch_frames=4, graphs=True), device)
    launch.warm_up(*_inputs(1, device))
    results = [(n, launch(*_inputs(n, device))) for n in (1, 3, 4, 2)]
    torch.cuda.synchronize()
    assert all(_is_right(result, n) for n, result in results)
    with pytest.raises(ShapeError, match="TH_RENDERER_GRAPHS=off"):
        launch(*(rows.double() for rows in _inputs(2, device)))
