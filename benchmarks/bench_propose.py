"""Seconds a proposal, by the number of trials seen: our search and stock Ax in one run.

Seven mixed knobs (whole numbers, a width on a logarithmic scale, a learning rate, a word, and a
knob that one word alone wakes) within a budget of compute; two objectives, a log loss that is
learned and the exact GFLOP of an example. The log losses come from a formula with noise: nothing
is trained. At each size the search is asked again and again, one trial more each time, as a study
asks it; the first answer, which a new process also has to rebuild its caches for, is shown apart.

    python benchmarks/bench_propose.py
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codesign import api
from codesign.contracts import Design, Feasible, Observation, Proposer
from codesign.designs import as_columns, as_designs
from codesign.provenance import provenance
from codesign.spec.problem import load_problem

SPEC = """
data: {source: movielens-100k}
model: {name: wukong, n_L: 16, head_depth: 1}
space:
  layers: {low: 1, high: 8}
  n_F: {low: 4, high: 64, step: 4}
  k: {low: 4, high: 64, step: 4}
  mlp_width: {low: 32, high: 2048, log: true}
  mlp_norm: [none, batch, layer]
  dense_lr: {low: 1.0e-4, high: 3.0e-2, log: true}
  dropout: {low: 0.0, high: 0.5, points: 11, when: {mlp_norm: none}}
budgets: {gflop_per_example: 0.05}
objectives: [{metric: log_loss}, {metric: gflop_per_example}]
"""
SIZES = {"known_cost": (25, 100, 300, 1000), "ax": (25, 100)}
REPEATS = {"known_cost": 20, "ax": 5}


def observe(
    feasible: Feasible, designs: Sequence[Design], rng: np.random.Generator
) -> list[Observation]:
    """Make up what training would show: a law in compute, a best place of each knob, noise."""
    columns = as_columns(designs)
    gflop_N = feasible.costs(columns)["gflop_per_example"]
    features_NM = feasible.encode(columns)
    weight_M = np.linspace(0.2, 1.0, features_NM.shape[1])
    loss_N = 0.4 + 0.05 * np.exp(-(np.log10(gflop_N) + 4.0))
    loss_N += 0.02 * np.square(features_NM - 0.6) @ weight_M
    loss_N += 0.002 * rng.standard_normal(len(loss_N))
    return [
        Observation(design=design, metrics={"log_loss": loss})
        for design, loss in zip(designs, loss_N.tolist(), strict=True)
    ]


def seconds(
    proposer: Proposer, feasible: Feasible, designs: list[Design], repeats: int
) -> list[tuple[float, float]]:
    """Time proposals, each after one trial more: seconds of the clock and of the processor."""
    rng = np.random.default_rng(1)
    observed = observe(feasible, designs, rng)
    found = []
    for repeat in range(repeats + 1):
        start, start_cpu = time.perf_counter(), time.process_time()
        proposed = proposer.ask(feasible, observed, [], 1, np.random.default_rng([2, repeat]))
        found.append((time.perf_counter() - start, time.process_time() - start_cpu))
        observed += observe(feasible, proposed, rng)
    return found


def summary(found: list[tuple[float, float]]) -> dict[str, float]:
    """Summarise all but the first time."""
    clock_N, processor_N = np.array(found[1:]).T
    return {
        "first_s": round(found[0][0], 3),
        "median_s": round(float(np.median(clock_N)), 3),
        "p95_s": round(float(np.quantile(clock_N, 0.95)), 3),
        "median_processor_s": round(float(np.median(processor_N)), 3),
        "proposals": len(clock_N),
    }


def main() -> None:
    """Measure and write `benchmarks/results/propose.json`."""
    parser = argparse.ArgumentParser(description="Seconds a proposal.")
    parser.add_argument("--only", choices=SIZES, help="measure one search, and write nothing")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(SPEC)
        problems = {n: load_problem(spec, overrides=[f"search.proposer={n}"]) for n in SIZES}
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    for name, sizes in SIZES.items():
        for size in sizes if only in (None, name) else ():
            feasible, proposer = problems[name].feasible, api.make_proposer(problems[name].spec)
            designs = as_designs(feasible.sample(size, np.random.default_rng(0)))
            found = seconds(proposer, feasible, designs, REPEATS[name])
            rows.append({"proposer": name, "trials": size, **summary(found)})
            print(rows[-1], flush=True)
    result = {
        "what": "seconds a proposal; 7 mixed knobs, a learned log loss and exact GFLOP",
        "proposals": rows,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(load, 2),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "made_by": provenance(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    if only is None:
        target = Path(__file__).parent / "results" / "propose.json"
        target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
