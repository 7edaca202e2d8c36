"""Scattered values to a dense field: radial basis functions with the linear kernel.

f(x) = c + sum_i w_i (-|x - x_i|), with (K + smoothing 1) w + c = values and sum w = 0 (the biharmonic spline of the
line, conditionally positive definite of order 1). One LU factorisation serves any number of right-hand sides.
"""

import numpy as np
from numpy.typing import NDArray

from services.renderer.embedded.geometry import Floats


def fit_and_evaluate(points: Floats, values: Floats, axis_x: Floats, axis_y: Floats, smoothing: float) -> Floats:
    """Fit scattered values and evaluate them on a regular grid.

    Args:
        points: (n, 2) places, pixels.
        values: (n, k) values there.
        axis_x: (gx,) x of the grid's columns.
        axis_y: (gy,) y of the grid's rows.
        smoothing: added to the kernel's diagonal, pixels.

    Returns:
        (k, gy, gx) float32.
    """
    weights, constant = _fit(points.astype(np.float64), values.astype(np.float64), smoothing)
    weights32 = -weights.astype(np.float32)
    square_x = (axis_x[:, None] - points[None, :, 0]).astype(np.float32) ** 2
    square_y = (axis_y[:, None] - points[None, :, 1]).astype(np.float32) ** 2
    field = np.empty((len(axis_y), len(axis_x), values.shape[1]), np.float32)
    distance = np.empty_like(square_x)
    # Row by row: the distances of one row stay in the cache.
    for row in range(len(axis_y)):
        np.add(square_x, square_y[row], out=distance)
        np.sqrt(distance, out=distance)
        np.matmul(distance, weights32, out=field[row])
    field += constant.astype(np.float32)
    return np.ascontiguousarray(field.transpose(2, 0, 1))


def _fit(
    points: NDArray[np.float64], values: NDArray[np.float64], smoothing: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = len(points)
    offsets = points[:, None, :] - points[None, :, :]
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = -np.sqrt((offsets**2).sum(axis=2))
    system[np.arange(n), np.arange(n)] += smoothing
    system[:n, n] = system[n, :n] = 1.0
    right = np.zeros((n + 1, values.shape[1]))
    right[:n] = values
    solution = np.linalg.solve(system, right)
    return solution[:n], solution[n]
