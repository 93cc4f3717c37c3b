"""Canonical operations: what a training step asks of a machine, apart from any model.

`cost_models.operations.trace` finds them in a running module, `cost_models.operations.wukong_ops`
in closed form. An operation reads its inputs from memory and writes its outputs to it once: the
bytes of a tensor are its distinct elements (a dim of stride 0 counts once) times the size of one.
Views, `detach` and allocations are not operations.

Layout, of `gemm` and `bmm` only: one letter for each factor, `n` for row-major and `t` for the
transposed view of a row-major matrix. A factor with a dim of size 1 is both, and is called `n`.
A forward linear map is `nt`, its input's gradient `nn`, its weight's gradient `tn`. A capital marks
a factor that a batch of two products or more shares: its bytes count once.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
_ONE = np.ones(1)

# What the dims of each kind mean. A dim that is not named is 1.
KINDS = {
    "gemm": "(m × k) · (k × n), a bias added or not",
    "bmm": "batch products (m × k) · (k × n)",
    "layer_norm": "m rows of n; statistics for each row are not in the bytes",
    "batch_norm": "m rows of n channels; statistics for each channel are not in the bytes",
    "softmax": "over m rows of n, or its logarithm",
    "elementwise": "m elements written",
    "copy": "m elements written: data is moved, nothing computed; picked rows count, not the rest",
    "reduction": "m results of k elements each",
    "embedding_bag": "m bags of k rows on average, each n wide, from a table of `batch` rows. "
    "Forward: ids and picked rows read, bags written. Backward: ids and the bags' gradients read, "
    "the gradient of the whole table written",
    "optimizer": "m parameters in n tensors updated by one fused kernel: parameters and state read "
    "and written, gradients read",
    "other": "m elements written by anything else; its flop are those of torch's registry",
}
PRODUCTS = ("gemm", "bmm")
PHASES = ("forward", "backward", "optimizer")
ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "bool": 1}


class Op(NamedTuple):
    """One canonical operation.

    Attributes:
        kind: of `KINDS`, which says what the dims mean.
        phase: of `PHASES`; what backward computes again is backward.
        dtype: of what it writes, by torch's name.
        layout: of the factors of a product; empty for other kinds.
        batch, m, n, k: dims; whole numbers but for the average k of `embedding_bag`.
        bytes: read and written.
        formula_flop: what torch's registry counts for kind `other`; 0 for the rest.
    """

    kind: str
    phase: str
    dtype: str
    layout: str
    batch: int
    m: int
    n: int
    k: float
    bytes: int
    formula_flop: int = 0

    @property
    def flop(self) -> int:
        """2 for each multiply-add of a product; 0 for what memory bounds."""
        if self.kind in PRODUCTS:
            return int(2 * self.batch * self.m * self.n * self.k)
        return self.formula_flop


@dataclass(frozen=True, kw_only=True)
class OpColumns:
    """One canonical operation over N designs.

    Attributes:
        kind, phase, dtype, layout: as in `Op`.
        count: how often each design has it, float64 (N,) or (1,); 0 where it has none.
        batch, m, n, k, bytes: as in `Op`, float64 (N,) or (1,); of no meaning where `count` is 0.
    """

    kind: str
    phase: str
    dtype: str
    layout: str = ""
    count: Array
    batch: Array = field(default_factory=lambda: np.ones(1))
    m: Array
    n: Array = field(default_factory=lambda: np.ones(1))
    k: Array = field(default_factory=lambda: np.ones(1))
    bytes: Array

    @property
    def flop(self) -> Array:
        """Of one such operation, (N,) or (1,)."""
        if self.kind in PRODUCTS:
            return 2 * self.batch * self.m * self.n * self.k
        return np.zeros(1)


class OpList:
    """Collects columns of operations of one dtype.

    Dims and `count`, how often each design has the operation, are (N,) or (1,). What no design has
    is left out. A method without a `phase` adds the operations of both passes.

    Attributes:
        found: the operations so far.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.item_bytes = ITEM_BYTES[dtype]
        self.found: list[OpColumns] = []

    def add(
        self, kind: str, phase: str, count: Array, m: Array, elements: Array, **dims: Any
    ) -> None:
        """Add one operation that reads and writes `elements` of the step's dtype."""
        if np.any(count):
            size = elements * self.item_bytes
            self.found.append(
                OpColumns(
                    kind=kind, phase=phase, dtype=self.dtype, count=count, m=m, bytes=size, **dims
                )
            )

    def product(
        self,
        layout: str,
        phase: str,
        count: Array,
        dims: tuple[Array, Array, Array],
        *,
        batch: Array | None = None,
        bias: Array | float = 0.0,
    ) -> None:
        """Add (m × k) · (k × n) for dims (m, n, k): `bmm` where there is a batch, else `gemm`."""
        if not np.any(count):
            return
        m, n, k = dims
        factors = [(layout[0], m, k), (layout[1], k, n)]
        times = _ONE if batch is None else batch
        elements = times * m * n + bias
        for letter, rows, inner in factors:
            elements = elements + rows * inner * (_ONE if letter.isupper() else times)
        letters = [_letters(letter, rows, inner, times) for letter, rows, inner in factors]
        kind = "gemm" if batch is None else "bmm"
        for (first, is_first), (second, is_second) in itertools.product(*letters):
            having = count * is_first * is_second
            names = {"layout": first + second, "batch": times, "n": n, "k": k}
            self.add(kind, phase, having, m, elements, **names)

    def elementwise(self, phase: str, count: Array, m: Array, tensors: int) -> None:
        """Add an operation on `tensors` tensors, the result among them, of m elements each."""
        self.add("elementwise", phase, count, m, tensors * m)

    def copy(self, phase: str, count: Array, m: Array) -> None:
        """Add a copy of m elements."""
        self.add("copy", phase, count, m, 2 * m)

    def sum(self, count: Array, m: Array, k: Array) -> None:
        """Add the gradient of what k places share: m sums, backward."""
        self.add("reduction", "backward", count, m, m * k + m, k=k)

    def norm(self, kind: str, count: Array, m: Array, n: Array) -> None:
        """Add a norm over m rows of n with weight and bias."""
        self.add(kind, "forward", count, m, 2 * m * n + 2 * n, n=n)
        self.add(kind, "backward", count, m, 3 * m * n + 3 * n, n=n)

    def relu(self, count: Array, m: Array) -> None:
        """Add a ReLU of m elements."""
        self.elementwise("forward", count, m, 2)
        self.elementwise("backward", count, m, 3)

    def drop(self, count: Array, m: Array) -> None:
        """Add dropout of m elements: a mask is drawn, scaled, and multiplied."""
        for tensors in (1, 2, 3):
            self.elementwise("forward", count, m, tensors)
        self.elementwise("backward", count, m, 3)

    def batch_norm(self, count: Array, m: Array, n: Array) -> None:
        """Add a batch norm, which counts its batches, over m rows of n channels."""
        self.norm("batch_norm", count, m, n)
        if np.any(count):
            size = np.array([2.0 * ITEM_BYTES["int64"]])
            counter: dict[str, Any] = {"count": count, "m": _ONE, "bytes": size}
            self.found.append(
                OpColumns(kind="elementwise", phase="forward", dtype="int64", **counter)
            )

    def lookup(self, bags: Array, n: Array, ids_per_bag: float, table_rows: float) -> None:
        """Add the lookup of `bags` bags in one table, and its dense gradient."""
        dims = {"n": n, "k": np.array([ids_per_bag]), "batch": np.array([table_rows])}
        ids = bags * ids_per_bag
        id_elements = ids * ITEM_BYTES["int64"] / self.item_bytes
        read = id_elements + ids * n + bags * n
        self.add("embedding_bag", "forward", _ONE, bags, read, **dims)
        grad = id_elements + bags * n + table_rows * n
        self.add("embedding_bag", "backward", _ONE, bags, grad, **dims)


def total_flop(operations: Iterable[OpColumns]) -> Array:
    """Return the flop of all operations together, (N,), or (1,) where no column is longer."""
    total = np.zeros(1)
    for op in operations:
        if op.kind in PRODUCTS:
            total = total + op.count * op.flop
    return total


def operations_of(operations: Iterable[OpColumns], design: int) -> Counter[Op]:
    """Return the operations of one design and how often it has each.

    Args:
        design: its row in the columns, from 0.

    Raises:
        IndexError: a column has fewer rows.
    """
    found: Counter[Op] = Counter()
    for op in operations:
        count = int(_entry(op.count, design))
        if count:
            batch, m, n, size = (
                int(_entry(column, design)) for column in (op.batch, op.m, op.n, op.bytes)
            )
            k = _entry(op.k, design)
            one = Op(op.kind, op.phase, op.dtype, op.layout, batch, m, n, k, size)
            found[one] += count
    return found


def _entry(column: Array, design: int) -> float:
    return float(column[0] if len(column) == 1 else column[design])


def _letters(letter: str, rows: Array, inner: Array, batch: Array) -> list[tuple[str, Array]]:
    """The letters that a factor has in some designs, and where."""
    vector = (rows == 1) | (inner == 1)
    alone = batch == 1
    options = [(letter, np.ones(1, dtype=bool))]
    if letter in "tT" and vector.any():
        options = [(letter, ~vector), ("N" if letter == "T" else "n", vector)]
    if letter.isupper() and alone.any():
        shared = [(name, on & ~alone) for name, on in options]
        options = shared + [(name.lower(), on & alone) for name, on in options]
    return options
