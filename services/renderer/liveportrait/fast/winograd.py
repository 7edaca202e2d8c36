"""3x3 convolution by Winograd's minimal filtering F(2x2, 3x3): 16 products per 2x2 results instead of 36.

Lavin and Gray, arXiv:1509.09308, Eq. 8 and 9: Y = A^T ((G g G^T) (B^T d B)) A for every 4x4 tile d of the input, where
the products in the middle are 16 matrix products over all tiles. Worth it where both channel counts are large: on a
CPU, whose convolution kernels are direct. cuDNN chooses such algorithms by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILTER = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))  # G
STRIP_TILES = 256  # as many tiles at a time as stay in the cache


class WinogradConvolution(nn.Module):
    """3x3 convolution with a border of zeros; float32, channels last."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        g = torch.tensor(FILTER, dtype=torch.float64, device=weight.device)
        products = torch.einsum("ay,bx,oiyx->abio", g, g, weight.detach().double())  # (4, 4, in, out)
        self.register_buffer("weight", products.flatten(0, 1).float().contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        batch, _, height, width = x.shape
        bordered = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + width % 2, 1, 1 + height % 2))
        rows, columns = (height + 1) // 2, (width + 1) // 2  # of tiles
        out = x.new_empty(batch, rows, 2, columns, 2, self.weight.shape[2])
        step = max(1, STRIP_TILES // (batch * columns))
        for first in range(0, rows, step):
            last = min(rows, first + step)
            self._strip(bordered[:, 2 * first : 2 * last + 2], out[:, first:last])
        if self.bias is not None:
            out += self.bias
        return out.reshape(batch, 2 * rows, 2 * columns, -1)[:, :height, :width].permute(0, 3, 1, 2)

    def _strip(self, x: Tensor, out: Tensor) -> None:
        """Rows (B, 2n + 2, 2m + 2, in) to results (B, n, 2, m, 2, out)."""
        batch, n, _, m, _, _ = out.shape
        tiles = x.new_empty(4, 4, batch, n, m, x.shape[-1])  # B^T d B
        for a, row in enumerate(input_transform(x, 1, n)):
            torch.stack(input_transform(row, 2, m), out=tiles[a])
        products = (tiles.reshape(16, -1, x.shape[-1]) @ self.weight).reshape(4, 4, batch, n, m, -1)
        for i, row in enumerate(output_transform(products)):
            for j, result in enumerate(output_transform(row)):
                out[:, :, i, :, j] = result


def input_transform(x: Tensor, axis: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """B^T d along an axis of 2 count + 2: four tensors of ``count``."""
    d0, d1, d2, d3 = (
        x.narrow(axis, j, 2 * count - 1)[(slice(None),) * axis + (slice(None, None, 2),)] for j in range(4)
    )
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


def output_transform(m: Tensor) -> tuple[Tensor, Tensor]:
    """A^T m along the first axis of four."""
    return (m[0] + m[1]).add_(m[2]), (m[1] - m[2]).sub_(m[3])
