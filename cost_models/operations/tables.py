"""Tables of operations: a CSV file of names and dims, one's own or measured, as operations.

Columns op, B, M, N, K; if there, count (how often, default 1), dtype (default fp32) and latency_ms
(measured, of one execution). What the dims of each kind of operation mean is in `DIMS`; a blank one
is 1. What an operation reads and writes follows `cost_models.operations.ops`; biases are left out.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codesign.errors import ConfigError
from cost_models.exact import Array
from cost_models.hardware import Precision
from cost_models.operations.names import NamedOp, find
from cost_models.operations.ops import ITEM_BYTES, OpColumns

SIZES = ("B", "M", "N", "K")
REQUIRED = ("op", *SIZES)
OPTIONAL = ("count", "dtype", "latency_ms")
MOST, MOST_TOGETHER = 2.0**40, 2.0**60  # of a dim, and of all dims multiplied
_SHOWN = 20
DIMS = {
    "gemm": "one product of B·M rows: (B·M × K) · (K × N)",
    "bmm": "B products (M × K) · (K × N)",
    "layer_norm": "B·M·K rows of N",
    "batch_norm": "B·M·K rows of N channels",
    "softmax": "B·M·K rows of N",
    "elementwise": "B·M·N·K elements written",
    "copy": "B·M·N·K elements written",
    "reduction": "B·M·N results of K elements each",
    "embedding_bag": "B·M bags of K ids each (blank: 1), N wide",
    "optimizer": "B·M·N·K parameters, each with two moments (Adam)",
}
_NEEDED = {"gemm": "MNK", "bmm": "MNK", "reduction": "K", "embedding_bag": "N"}


class Dtype(NamedTuple):
    """What a dtype of a table stands for: tensors by torch's name, and the products' precision."""

    tensors: str
    precision: Precision


DTYPES: Mapping[str, Dtype] = {
    **dict.fromkeys(("fp32", "float32", "float"), Dtype("float32", "fp32")),
    "tf32": Dtype("float32", "tf32"),
    **dict.fromkeys(("bf16", "bfloat16"), Dtype("bfloat16", "bf16")),
    **dict.fromkeys(("fp16", "float16", "half"), Dtype("float16", "bf16")),  # the same peak rate
}


@dataclass(frozen=True, kw_only=True)
class OpRow:
    """One row of a table.

    Attributes:
        line: of the file, from 1.
        name: as the file has it.
        sizes: B, M, N, K, whole numbers in [1, `MOST`).
        count: how often the operation comes, a whole number ≥ 0.
        latency_s: measured, of one execution, finite and > 0; None where the table has none.
    """

    line: int
    name: str
    op: NamedOp
    dtype: Dtype
    sizes: tuple[float, float, float, float]
    count: float = 1.0
    latency_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class OpTable:
    """A table of operations.

    Attributes:
        rows: at least one.
        ignored: names of columns that mean nothing here.
    """

    path: Path
    rows: tuple[OpRow, ...]
    ignored: tuple[str, ...] = ()

    @property
    def count(self) -> Array:
        """How often each row's operation comes, (R,)."""
        return np.array([row.count for row in self.rows])

    @property
    def latency_s(self) -> Array:
        """Measured seconds of one execution, (R,); NaN where the table has none."""
        found = [math.nan if row.latency_s is None else row.latency_s for row in self.rows]
        return np.array(found)

    @property
    def is_measured(self) -> Array:
        """Which rows have a latency, bool, (R,)."""
        return np.isfinite(self.latency_s)

    @property
    def is_product(self) -> Array:
        """Which rows are matrix products, bool, (R,)."""
        return np.array([row.op.is_product for row in self.rows])

    def groups(self) -> list[OpGroup]:
        """Sort the rows into operations that one set of columns holds, by first appearance."""
        places: dict[tuple[NamedOp, Dtype], list[int]] = {}
        for place, row in enumerate(self.rows):
            places.setdefault((row.op, row.dtype), []).append(place)
        return [
            OpGroup(
                rows=np.array(own),
                precision=dtype.precision,
                op=_columns(op, dtype, [self.rows[place] for place in own]),
            )
            for (op, dtype), own in places.items()
        ]


@dataclass(frozen=True, kw_only=True)
class OpGroup:
    """Rows of a table that are of one kind, phase, layout and dtype.

    Attributes:
        rows: their places in `OpTable.rows`, (R,).
        precision: of the cost model that predicts them.
        op: each field (R,) or (1,); `count` as in the table.
    """

    rows: Array
    precision: Precision
    op: OpColumns


def _columns(named: NamedOp, dtype: Dtype, rows: Sequence[OpRow]) -> OpColumns:
    b, m, n, k = np.array([row.sizes for row in rows]).T
    name = "float32" if named.kind == "optimizer" else dtype.tensors
    item_bytes, elements = ITEM_BYTES[name], b * m * n * k
    dims: dict[str, Array]
    match named.kind:
        case "gemm":
            dims = {"m": b * m, "n": n, "k": k}
            moved = b * m * k + k * n + b * m * n
        case "bmm":
            dims = {"batch": b, "m": m, "n": n, "k": k}
            moved = b * (m * k + k * n + named.tensors * m * n)
        case "layer_norm" | "batch_norm":
            dims = {"m": b * m * k, "n": n}
            moved = named.tensors * (elements + n)  # as many weights, or their gradients
        case "softmax":
            dims = {"m": b * m * k, "n": n}
            moved = named.tensors * elements
        case "reduction":
            dims = {"m": b * m * n, "k": k}
            moved = b * m * n * (k + 1)
        case "embedding_bag":
            ids = b * m * k  # the table is not said: as many rows as ids
            dims = {"batch": ids, "m": b * m, "n": n, "k": k}
            moved = ids * n + b * m * n + ids * ITEM_BYTES["int64"] / item_bytes
        case _:
            dims = {"m": elements}
            moved = elements * (named.tensors + named.mask_bytes / item_bytes)
    return OpColumns(
        kind=named.kind,
        phase=named.phase,
        dtype=name,
        layout=named.layout,
        count=np.array([row.count for row in rows]),
        bytes=item_bytes * moved,
        **dims,
    )


def read_table(path: Path) -> OpTable:
    """Read a table of operations.

    Args:
        path: CSV in UTF-8, comma-separated, its columns in any order; see the module. Columns of
            other names are ignored, unless a name looks like a slip.

    Raises:
        ConfigError: the file cannot be read; or every mistake in it, one a line.
    """
    lines = _lines(path)
    first, names = lines[0] if lines else (1, [])
    header = [name.strip() for name in names]
    mistakes = [f"{path}:{first}: {what}" for what in _header_mistakes(header)]
    if mistakes:
        raise ConfigError("\n".join(mistakes), hint=_HINT)
    known = {name: header.index(name) for name in (*REQUIRED, *OPTIONAL) if name in header}
    rows, wrong = [], []
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            wrong.append(f"{path}:{line}: has {len(cells)} fields; must have {len(header)}")
            continue
        cell = {name: cells[place].strip() for name, place in known.items()}
        found = list(_mistakes(cell))
        wrong += [f"{path}:{line}: {what}" for what in found]
        if not found:
            rows.append(_row(line, cell))
    if wrong:
        more = [f"{path}: {len(wrong) - _SHOWN} more mistakes"] if len(wrong) > _SHOWN else []
        raise ConfigError("\n".join([*wrong[:_SHOWN], *more]), hint=_HINT)
    if not rows:
        raise ConfigError("has no row; must have one operation or more", where=str(path))
    ignored = tuple(name for name in header if name and name not in known)
    return OpTable(path=path, rows=tuple(rows), ignored=ignored)


_HINT = (
    f"columns {','.join(REQUIRED)}, and if you like {','.join(OPTIONAL)}, such as\n"
    "    op,B,M,N,K,count,dtype\n    linear,1,4096,1024,1024,24,fp32"
)


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the number and the fields of each line that is not blank."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is no UTF-8 text: byte {error.start} is {raw[error.start]:#04x}",
            where=str(path),
            hint="save it as CSV in UTF-8",
        ) from error
    if "\0" in text:
        raise ConfigError(
            "has NUL characters; must be text", where=str(path), hint="save it as CSV in UTF-8"
        )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise ConfigError(f"is no CSV: {error}", where=f"{path}:{reader.line_num}") from error


def _header_mistakes(header: Sequence[str]) -> Iterator[str]:
    known = (*REQUIRED, *OPTIONAL)
    if not header:
        yield f"is empty; must have columns {', '.join(REQUIRED)}"
        return
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        yield f"its columns are not separated by commas: {header[0][:60]!r}"
        return
    for name in dict.fromkeys(header):
        if name in known and header.count(name) > 1:
            yield f"column {name} is there {header.count(name)} times; must be there once"
        close = _near(name, known) if name and name not in known else None
        if close is not None:
            yield f"column {name!r} is unknown; did you mean {close!r}?"
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        yield f"has no column {', '.join(missing)}; must have {', '.join(REQUIRED)}"


def _near(name: str, known: Sequence[str]) -> str | None:
    spelled = {one.casefold(): one for one in known}
    long = [one for one in spelled if len(one) > 1]
    if name.casefold() in spelled:
        return spelled[name.casefold()]
    close = difflib.get_close_matches(name.casefold(), long, n=1, cutoff=0.75)
    return spelled[close[0]] if close else None


def _mistakes(cell: Mapping[str, str]) -> Iterator[str]:
    kind = ""
    try:
        kind = find(cell["op"]).kind
    except ConfigError as error:
        yield error.what
    if cell.get("dtype") and cell["dtype"].casefold().removeprefix("torch.") not in DTYPES:
        yield f"dtype is {cell['dtype'][:20]!r}; must be one of {', '.join(DTYPES)}, or blank"
    for name in SIZES:
        if not cell[name] and name in _NEEDED.get(kind, ""):
            yield f"{name} is blank; {cell['op']} needs it: {DIMS[kind]}"
        elif cell[name] and not _is_whole(cell[name], least=1):
            yield (
                f"{name} is {cell[name][:20]!r}; must be a whole number ≥ 1 and < {MOST:.3g}, "
                "or blank where the operation has no such dim"
            )
    sizes = [_number(cell[name] or "1") or 0.0 for name in SIZES]
    if all(1 <= size < MOST for size in sizes) and math.prod(sizes) >= MOST_TOGETHER:
        yield f"B·M·N·K is {math.prod(sizes):.3g}; must be < {MOST_TOGETHER:.3g}"
    if not any(cell[name] for name in SIZES):
        yield f"{', '.join(SIZES)} are all blank; one must say how large the operation is"
    if cell.get("count") and not _is_whole(cell["count"], least=0):
        yield (
            f"count is {cell['count'][:20]!r}; must be a whole number ≥ 0 and < {MOST:.3g}, "
            "or blank for 1"
        )
    latency_ms = _number(cell.get("latency_ms") or "1")
    if latency_ms is None or not 0 < latency_ms < math.inf:
        yield (
            f"latency_ms is {cell['latency_ms'][:20]!r}; must be finite and > 0, or blank where "
            "nothing was measured"
        )


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _is_whole(text: str, *, least: int) -> bool:
    number = _number(text)
    return number is not None and least <= number < MOST and number == int(number)


def _row(line: int, cell: Mapping[str, str]) -> OpRow:
    b, m, n, k = (float(cell[name] or 1) for name in SIZES)
    latency_ms = cell.get("latency_ms")
    return OpRow(
        line=line,
        name=cell["op"],
        op=find(cell["op"]),
        dtype=DTYPES[(cell.get("dtype") or "fp32").casefold().removeprefix("torch.")],
        sizes=(b, m, n, k),
        count=float(cell.get("count") or 1),
        latency_s=float(latency_ms) / 1e3 if latency_ms else None,
    )
