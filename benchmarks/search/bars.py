"""Tuner runs that BARS kept, as tables: one for each model and data set with enough of them.

The file has the columns `dataset, model, exp_id, source, val_auc, val_logloss, …`, and `hp_…` for
each hyper-parameter, empty where a model has no such. Objective: the validation log loss.
"""

from __future__ import annotations

import ast
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search.task import LOSS, Task, fingerprint
from codesign.contracts import Design, Observation, Value
from codesign.designs import as_columns
from codesign.errors import DataError
from codesign.table import Row, TableSet

FEWEST_RUNS = 24
FAMILY = "BARS"
PREFIX = "hp_"
# How runs were made and named, and how data were loaded: nothing that decides a result.
NO_KNOBS = ("model_id", "seed", "num_workers", "partition_block_size", "exp_id", "gpu")
LOSS_COLUMN = "val_logloss"


def bars_tasks(path: Path) -> list[Task]:
    """Make a task of each data set's models that have enough runs.

    Raises:
        DataError: there is no such file, or it lacks a column.
    """
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), hint="name bars_hpo.csv")
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if missing := {"dataset", "model", LOSS_COLUMN} - line.keys():
                raise DataError(f"has no column {', '.join(sorted(missing))}", where=str(path))
            groups[line["dataset"], line["model"]].append(line)
    large = {name: runs for name, runs in groups.items() if len(runs) >= FEWEST_RUNS}
    return [table_task("-".join(name), runs) for name, runs in sorted(large.items())]


def table_task(name: str, runs: Sequence[Mapping[str, str]]) -> Task:
    """Make a task of runs: those of equal settings are one row, with their mean loss."""
    losses: dict[tuple[Value | None, ...], list[float]] = defaultdict(list)
    columns = knobs(runs)
    for settings, run in zip(zip(*columns.values(), strict=True), runs, strict=True):
        losses[settings].append(float(run[LOSS_COLUMN]))
    rows: list[Row] = [dict(zip(columns, settings, strict=True)) for settings in losses]
    loss_R = np.array([np.mean(found) for found in losses.values()])
    table = TableSet(rows)

    def answer(design: Design) -> Observation:
        (row,) = table.rows_of(as_columns([design]))
        return Observation(design=design, metrics={"log_loss": float(loss_R[row])})

    return Task(
        name=name,
        family=FAMILY,
        objectives=(LOSS,),
        feasible=table,
        designs=as_columns(table.designs),
        values_RO=loss_R[:, None],
        answer=answer,
        trials=-(-len(rows) // 3),
        fingerprint=fingerprint(rows, loss_R.tolist()),
    )


def knobs(runs: Sequence[Mapping[str, str]]) -> dict[str, list[Value | None]]:
    """Read the hyper-parameters that differ between runs, each (runs,); None: it has none."""
    found: dict[str, list[Value | None]] = {}
    for column in runs[0]:
        name = column.removeprefix(PREFIX)
        if column != name and name not in NO_KNOBS:
            found |= read_knob(name, [run[column] for run in runs])
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def read_knob(name: str, texts: Sequence[str]) -> dict[str, list[Value | None]]:
    """Read one hyper-parameter: as numbers, as depth and width where all are [x] * n, or as words.

    No layers are a depth of 0, with the least width of the others.
    """
    values = [_literal(text) for text in texts]
    given = [value for value in values if value is not None]
    if given and all(isinstance(v, list) and len(set(v)) <= 1 for v in given):
        stacks = [value if isinstance(value, list) else [] for value in values]
        least = min((stack[0] for stack in stacks if stack), default=0)
        return {
            f"{name}_depth": [len(stack) for stack in stacks],
            f"{name}_width": [stack[0] if stack else least for stack in stacks],
        }
    kinds = {float if type(value) is int else type(value) for value in given}
    if kinds in ({float}, {bool}):
        return {name: values}
    return {name: [text or None for text in texts]}


def _literal(text: str) -> Any:
    """Read a number, a flag or a list; anything else is a word; empty: None."""
    if not text:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
