"""How a batch is launched: eagerly, through torch.compile, or as a CUDA graph, each of which can be switched off.

Compiled code and graphs exist for a few batch sizes, made in the warm-up; other batches are padded to the next one. A
function here takes tensors and returns tensors, all of them with the batch first. On a CPU there are no graphs. Knows
nothing of what is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shared.errors import ShapeError

Run = Callable[..., tuple[Tensor, ...]]
WARM_UP_RUNS = 3  # libraries choose their kernels and allocate workspaces before anything is captured


def batch_sizes(max_frames: int) -> tuple[int, ...]:
    """Powers of two below the largest size, and that size."""
    return (*(1 << power for power in range(max_frames.bit_length()) if 1 << power < max_frames), max_frames)


@dataclass(frozen=True)
class LaunchOptions:
    """How to launch.

    Attributes:
        max_batch_frames: largest batch.
        compile: through torch.compile.
        graphs: as CUDA graphs; without meaning on a CPU.
    """

    max_batch_frames: int
    compile: bool = False
    graphs: bool = False


class Launcher:
    """Launches one function in the way the options say.

    Args:
        run: what to launch; neither waits for the device nor moves anything between host and device.
        options: how.
        device: where its tensors are.
    """

    def __init__(self, run: Run, options: LaunchOptions, device: torch.device) -> None:
        self._run: Run = torch.compile(run, dynamic=False) if options.compile else run
        self._graphs = GraphPerSize(self._run, device) if options.graphs and device.type == "cuda" else None
        has_fixed_sizes = options.compile or self._graphs is not None
        self.sizes = batch_sizes(options.max_batch_frames) if has_fixed_sizes else ()

    def warm_up(self, *row: Tensor) -> tuple[Tensor, ...]:
        """Compile and capture every size.

        Args:
            row: inputs of one frame, as they will look.

        Returns:
            What became of them.
        """
        for size in self.sizes:
            inputs = tuple(rows[:1].expand(size, *rows.shape[1:]).contiguous() for rows in row)
            if self._graphs is None:
                self._run(*inputs)
            else:
                self._graphs.capture(*inputs)
        return self(*row)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Launch a batch.

        Raises:
            ShapeError: more rows than the largest size, or other shapes than those of the warm-up.
        """
        n_rows = len(inputs[0])
        run = self._graphs or self._run
        size = next((size for size in self.sizes if size >= n_rows), n_rows)
        if size == n_rows:
            return run(*inputs)
        padded = (torch.cat([rows, rows[-1:].expand(size - n_rows, *rows.shape[1:])]) for rows in inputs)
        return tuple(result[:n_rows] for result in run(*padded))


class GraphPerSize:
    """Replays one CUDA graph per batch size, captured in the warm-up.

    Inputs are copied into the buffers of the graph, results out of them, so several batches may be under way. All calls
    must be queued on one stream.

    Args:
        run: launches the work; neither waits for the device nor moves anything between host and device.
        device: a CUDA device.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self._run = run
        self._device = device
        self._graphs: dict[int, _Graph] = {}

    def capture(self, *inputs: Tensor) -> None:
        """Capture the batch size of these inputs; all sizes share memory, for they are never replayed together."""
        pool = next(iter(self._graphs.values())).graph.pool() if self._graphs else None
        self._graphs[len(inputs[0])] = _Graph(self._run, inputs, self._device, pool)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Replay the graph of this batch size.

        Raises:
            ShapeError: inputs of a shape or dtype that was not captured.
        """
        graph = self._graphs.get(len(inputs[0]))
        seen, expected = _shapes(inputs), None if graph is None else _shapes(graph.inputs)
        if graph is None or seen != expected:
            raise ShapeError(
                f"inputs {seen}; the CUDA graphs were captured for batches of {sorted(self._graphs)} frames, this one "
                f"for {expected}. Start the renderer again so that it captures the new shapes, or set "
                "TH_RENDERER_GRAPHS=off."
            )
        return graph.replay(inputs)


class _Graph:
    """One captured size: its buffers and the graph that reads and writes them."""

    def __init__(self, run: Run, inputs: tuple[Tensor, ...], device: torch.device, pool: Any) -> None:
        self.inputs = tuple(rows.detach().clone() for rows in inputs)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types for it
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                run(*self.inputs)
        side.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            self.results = run(*self.inputs)

    def replay(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for buffer, rows in zip(self.inputs, inputs, strict=True):
            buffer.copy_(rows)
        self.graph.replay()
        return tuple(result.clone() for result in self.results)


def _shapes(tensors: tuple[Tensor, ...]) -> list[str]:
    return [f"{str(rows.dtype).removeprefix('torch.')}{tuple(rows.shape)}" for rows in tensors]
