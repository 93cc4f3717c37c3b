"""Names of metrics: `auc`, and where the data have several tasks, `auc.ctr` for one of them.

The plain name is then the mean over the tasks. `test_auc.ctr` is the same on the test split, and
`auc_sd.ctr` the standard deviation of its sampling noise.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codesign.contracts import Metric


def split_name(name: str) -> tuple[str, str]:
    """Return a name without its task, and the task, empty where there is none."""
    metric, _, task = name.partition(".")
    return metric, task


def deviation_name(name: str) -> str:
    """Return the name of a metric's standard deviation: `auc.ctr` has `auc_sd.ctr`."""
    metric, task = split_name(name)
    return f"{metric}_sd.{task}" if task else f"{metric}_sd"


def metric_named(name: str, table: Mapping[str, Metric]) -> Metric | None:
    """Look up a metric by a name with or without a task; None where there is no such metric.

    Only what is learned differs from task to task.
    """
    plain, task = split_name(name)
    metric = table.get(plain)
    if metric is None or name == plain:
        return metric
    if metric.source != "learned" or not task:
        return None
    return dataclasses.replace(metric, name=name, meaning=f"{metric.meaning}, of the task {task}")
