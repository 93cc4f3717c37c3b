"""Operations of the user's own, from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from codesign.errors import ConfigError
from cost_models.profile.device import PRECISIONS
from cost_models.profile.record import Case

OPERATIONS = {
    "linear": ("gemm", "", "nt"),
    "gemm": ("gemm", "", "nn"),
    "bmm": ("bmm", "", "nn"),
    "layer_norm": ("layer_norm", "forward", ""),
    "layer_norm_backward": ("layer_norm", "backward", ""),
    "reduction": ("reduction", "", ""),
}
MOST = 1 << 40
REQUIRED = ("op", "B", "M", "N", "K")


def read_operations(path: Path, precisions: Sequence[str] = tuple(PRECISIONS)) -> list[Case]:
    """Read operations to measure.

    Args:
        path: CSV with columns op (of `OPERATIONS`), B, M, N, K (sizes ≥ 1) and, if not FP32, dtype
            (of `precisions`); other columns are ignored. B products; B times M rows of a norm; a
            reduction, M sums of K, has B and N 1.
        precisions: that the device has.

    Raises:
        ConfigError: the file cannot be read; or every mistake in it, one a line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise ConfigError(
            f"has no column {', '.join(missing)}; must have {', '.join(REQUIRED)}",
            where=f"{path}:1",
        )
    mistakes = [
        f"{path}:{line}: {what}" for line, row in rows for what in _mistakes(row, precisions)
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return [_case(row) for _, row in rows]


def _mistakes(row: dict[str, str], precisions: Sequence[str]) -> Iterator[str]:
    if row["op"] not in OPERATIONS:
        yield f"op is {row['op']!r}; must be one of {', '.join(OPERATIONS)}"
    if (row.get("dtype") or "fp32") not in precisions:
        yield f"dtype is {row['dtype']!r}; must be one of {', '.join(precisions)} here"
    for name in REQUIRED[1:]:
        text = row[name] or ""
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < MOST):
            yield f"{name} is {text[:20]!r}; must be an integer ≥ 1 and < {MOST:.2g}"
        elif row["op"] == "reduction" and name in "BN" and int(text) != 1:
            yield f"{name} is {text}; must be 1 for a reduction"


def _case(row: dict[str, str]) -> Case:
    kind, phase, layout = OPERATIONS[row["op"]]
    batch, m, n, k = (int(row[name]) for name in REQUIRED[1:])
    return Case(
        section="op",
        kind=kind,
        phase=phase,
        precision=row.get("dtype") or "fp32",
        layout=layout,
        batch=batch if kind == "bmm" else 1,
        m=m if kind == "bmm" else batch * m,
        n=n,
        k=k,
    )
