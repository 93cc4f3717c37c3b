"""From finished searches to figures: medians, bands, intervals and ranks, as plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.search.replay import Finished, Planned
from benchmarks.search.scores import (
    Volume,
    area_under_regret,
    mean_ranks,
    median_interval,
    padded,
    regret,
)
from benchmarks.search.task import Array, Task

MARKS = (15, 30, 60, 150)
SMALL_ROWS = 50
DISTINCT_TRIALS = 30
AXES = {"log10": (False, True), "linear": (False, False)}
Searches = Mapping[str, Sequence[Array]]  # method → the values of each seed's search, (T, O)


def summarize(planned: Sequence[Planned], known: Mapping[str, Finished]) -> dict[str, Any]:
    """Score every search that has finished, and say how many of those planned have."""
    tasks: dict[str, Task] = {}
    searches: dict[str, dict[str, list[Array]]] = defaultdict(lambda: defaultdict(list))
    for search in planned:
        tasks[search.task.name] = search.task
        if (found := known.get(search.key)) is not None:
            values = np.array(found.values, dtype=float)
            searches[search.task.name][search.method.name].append(values)
    single = {name: task for name, task in tasks.items() if len(task.objectives) == 1}
    several = {name: task for name, task in tasks.items() if name not in single}
    return {
        "searches_planned": len(planned),
        "searches_finished": sum(search.key in known for search in planned),
        "fronts": {name: front_scores(task, searches[name]) for name, task in several.items()},
        "ranks": rank_scores(single, searches),
    }


def front_scores(task: Task, searches: Searches) -> dict[str, Any]:
    """Shares of the whole hypervolume, on both kinds of axis, and regret of the first objective."""
    scores: dict[str, Any] = {
        "designs": len(task.values_RO),
        "data": task.fingerprint,
        "distinct_searches": {m: distinct(found) for m, found in searches.items()},
    }
    for axis, log10 in AXES.items():
        volume = Volume(task.values_RO, log10)
        scores[f"hypervolume_share_{axis}"] = {
            "reference": volume.reference_O().tolist(),
            **{m: bands([volume.share(v) for v in found]) for m, found in searches.items()},
        }
    best_R = task.values_RO[:, 0]
    scores[f"regret_{task.objectives[0].metric}"] = {
        m: bands([regret(v[:, 0], best_R) for v in found]) for m, found in searches.items()
    }
    return scores


def distinct(values: Sequence[Array]) -> int:
    """Count the searches that differ: a method that uses its seed little has narrow bands."""
    return len({search[:DISTINCT_TRIALS].tobytes() for search in values})


def bands(curves: Sequence[Array]) -> dict[str, Any]:
    """Medians and quartiles over seeds, trial by trial, and intervals of medians at the marks."""
    rng = np.random.default_rng(0)
    curves_ST = np.stack(curves)
    low_T, median_T, high_T = np.quantile(curves_ST, [0.25, 0.5, 0.75], axis=0)
    marks = {}
    for trials in MARKS:
        if trials <= curves_ST.shape[1]:
            at_S = curves_ST[:, trials - 1]
            marks[str(trials)] = {
                "median": rounded(median_T[trials - 1]),
                "median_95": [rounded(end) for end in median_interval(at_S, rng)],
                "quartiles": [rounded(low_T[trials - 1]), rounded(high_T[trials - 1])],
            }
    return {
        "seeds": len(curves),
        "at": marks,
        "curve": {
            "q25": [rounded(value) for value in low_T],
            "median": [rounded(value) for value in median_T],
            "q75": [rounded(value) for value in high_T],
        },
    }


def rank_scores(tasks: Mapping[str, Task], searches: Mapping[str, Searches]) -> dict[str, Any]:
    """Mean ranks by the area under the regret, over tables; those of few rows count half.

    Methods without a finished search of every table are left out.
    """
    begun = dict.fromkeys(method for name in tasks for method in searches[name])
    methods = [m for m in begun if all(m in searches[name] for name in tasks)]
    if not methods:
        return {}
    areas, weights = [], []
    for name, task in tasks.items():
        values_R = task.values_RO[:, 0]
        found = {
            method: [
                area_under_regret(v[: task.trials, 0], values_R) for v in searches[name][method]
            ]
            for method in methods
        }
        areas.append(padded(found))
        weights.append(0.5 if len(values_R) < SMALL_ROWS else 1.0)
    mean_M, ends_2M = mean_ranks(areas, weights, np.random.default_rng(0))
    return {
        "tables": {name: len(task.values_RO) for name, task in tasks.items()},
        "left_out": [method for method in begun if method not in methods],
        "methods": {
            method: {
                "mean_rank": rounded(mean_M[m]),
                "interval_95": [rounded(end) for end in ends_2M[:, m]],
                "fewest_seeds": min(int((~np.isnan(table[m])).sum()) for table in areas),
                "median_area": {
                    name: rounded(np.nanmedian(table[m]))
                    for name, table in zip(tasks, areas, strict=True)
                },
            }
            for m, method in enumerate(methods)
        },
    }


def rounded(value: float) -> float:
    """Keep five decimals."""
    return round(float(value), 5)
