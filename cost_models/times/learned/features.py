"""What decides how long a matrix product takes: dims, tiles, waves, arithmetic intensity. U shapes.

A GPU cuts the result of (m × k) · (k × n) into tiles, each computed by one multiprocessor; as many
as there are run at once, a wave. A last wave that is not full, and tiles that reach beyond the
result, cost time without work (NVIDIA, "Matrix Multiplication Background User's Guide"). Which tile
a library chooses is unknown, so there are features for each usual one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cost_models.exact import Array
from cost_models.hardware import Hardware

TILES = ((128, 128), (256, 128), (128, 256), (128, 64), (64, 128), (64, 64), (32, 128), (128, 32))
DECIMALS = 5  # features are rounded, so that thresholds between them can be written down
_ITEM_BYTES = 4.0
_MOST_WAVES = 64.0  # beyond, another wave changes nothing
_DIMS = (
    "is bmm",
    *(f"log2 {dim}" for dim in ("batch", "m", "n", "k")),
    *("log2 flop", "log2 bytes / cache", "log2 bytes of one / cache"),
    *("log2 flop / byte", "log2 results", "log2 results of one"),
    *("log2 m / n", "log2 m / k", "log2 n / k", "log2 shorter side", "log2 longer side"),
    *("log2 left factor", "log2 right factor"),
    *(f"log2 power of 2 in {dim}" for dim in ("m", "n", "k")),
)
_OF_TILES = ("log2 tiles", "waves", "last wave's share", "tiles' share", "both shares")
NAMES = _DIMS + tuple(f"{name}, {a} × {b}" for a, b in TILES for name in _OF_TILES)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Dims of U products, each field (U,), float64 whole numbers ≥ 1.

    Attributes:
        batched: bool: whether it is a `bmm`; a `gemm` has batch 1.
        batch, m, n, k: as in `cost_models.operations.ops.Op`.
    """

    batched: Array
    batch: Array
    m: Array
    n: Array
    k: Array

    def __getitem__(self, rows: Any) -> Shapes:
        return Shapes(
            batched=self.batched[rows],
            batch=self.batch[rows],
            m=self.m[rows],
            n=self.n[rows],
            k=self.k[rows],
        )

    @property
    def dims(self) -> Array:
        """batch, m, n, k, (U, 4)."""
        return np.column_stack([self.batch, self.m, self.n, self.k])

    @property
    def flop(self) -> Array:
        """2 for each multiply-add, (U,)."""
        return 2 * self.batch * self.m * self.n * self.k

    @property
    def bytes(self) -> Array:
        """Of both factors and the result in FP32, nothing shared, (U,)."""
        one = self.m * self.k + self.k * self.n + self.m * self.n
        return _ITEM_BYTES * self.batch * one


def features(shapes: Shapes, hardware: Hardware) -> Array:
    """Return what `NAMES` names, (U, F) float64."""
    batch, m, n, k = shapes.dims.T
    size, cache = shapes.bytes, hardware.cache_bytes.value
    columns = [
        shapes.batched.astype(float),
        *np.log2([batch, m, n, k]),
        *np.log2([shapes.flop, size / cache, size / batch / cache]),
        *np.log2([shapes.flop / size, batch * m * n, m * n]),
        *np.log2([m / n, m / k, n / k, np.minimum(m, n), np.maximum(m, n)]),
        *np.log2([batch * m * k, batch * k * n]),
        *(np.log2(_power_of_2(dim)) for dim in (m, n, k)),
    ]
    for a, b in TILES:
        tiles = batch * np.ceil(m / a) * np.ceil(n / b)
        waves = tiles / hardware.multiprocessors.value
        full = np.ceil(waves)
        last, used = waves / full, batch * m * n / (tiles * a * b)
        columns += [np.log2(tiles), np.minimum(full, _MOST_WAVES), last, used, last * used]
    return np.round(np.column_stack(columns), DECIMALS)


def _power_of_2(dim: Array) -> Array:
    """The largest power of two, up to 512, that divides each whole number."""
    whole = dim.astype(np.int64)
    return np.minimum(whole & -whole, 512)
