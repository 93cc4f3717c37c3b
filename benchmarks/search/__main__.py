"""Replay searches on recorded runs, and compare methods: hypervolume, regret, ranks.

    python -m benchmarks.search [--bars bars_hpo.csv] [--rows 300] [--seeds 20]

Finished searches are kept, so the command goes on where it was stopped, and a method is run again
only where its table, its settings, its packages or its sources changed.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.search.bars import FAMILY, bars_tasks
from benchmarks.search.curves import curves_svg
from benchmarks.search.frappe import TABLE, TRIALS, lattice_task, recorded_task
from benchmarks.search.methods import METHODS, ROOT, Method
from benchmarks.search.page import tables
from benchmarks.search.replay import plan, read, replay
from benchmarks.search.summary import summarize
from benchmarks.search.surrogate import Surrogate
from benchmarks.search.task import Task
from codesign.errors import CodesignError
from codesign.provenance import provenance

FAMILIES = ("recorded", "fitted", FAMILY)
RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    try:
        methods = [METHODS[name] for name in given.methods]
        tasks, fit = make_tasks(given)
        planned = plan(tasks, methods, given.seeds)
        if not given.only_report:
            part, parts = map(int, given.part.split("/"))
            replay(planned, given.cache, part=(part, parts), say=lambda s: print(s, flush=True))
        scores = summarize(planned, read(given.cache))
        write(given.out, {**about(methods, fit), **scores})
    except CodesignError as error:
        raise SystemExit(str(error)) from None


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    found.add_argument("--table", type=Path, default=TABLE)
    found.add_argument("--rows", type=int, help="the table's first numbers; default: all there are")
    found.add_argument("--bars", type=Path, help="bars_hpo.csv; without it BARS is left out")
    found.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    found.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    found.add_argument("--seeds", type=int, default=20)
    found.add_argument("--part", default="0/1", help="K/N: of what is due every N-th, from K on")
    found.add_argument("--only-report", action="store_true", help="run nothing")
    found.add_argument("--cache", type=Path, default=ROOT / ".cache" / "search.jsonl")
    found.add_argument("--out", type=Path, default=RESULTS, help="where search.json is written")
    return found


def make_tasks(given: argparse.Namespace) -> tuple[list[Task], Surrogate | None]:
    """Make the tasks of the families asked for, and the fit that answers for the lattice."""
    tasks: list[Task] = []
    fit = None
    if "recorded" in given.families:
        tasks.append(recorded_task(given.table, rows=given.rows))
    if "fitted" in given.families:
        task, fit = lattice_task(given.table, rows=given.rows)
        tasks.append(task)
    if FAMILY in given.families:
        if given.bars is None:
            print(f"{FAMILY} is left out: --bars names no file")
        else:
            tasks += bars_tasks(given.bars)
    return tasks, fit


def about(methods: Sequence[Method], fit: Surrogate | None) -> dict[str, Any]:
    """What it takes to explain the figures later."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **{name: value for name, value in provenance().items() if name != "host"},
        "scikit-learn": metadata.version("scikit-learn"),
        "methods": {method.name: {**method.version(), **note(method)} for method in methods},
        "fit": None if fit is None else {"taken": fit.name, "held_out": fit.held_out},
    }


def note(method: Method) -> dict[str, Any]:
    """Where a method has fewer seeds than others."""
    return {"fewer_seeds": dict(method.families)} if method.families else {}


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write search.json, search.svg and search.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (folder / "search.json").write_text(text, encoding="utf-8")
    panels = {
        name: {m: v for m, v in found["hypervolume_share_log10"].items() if m != "reference"}
        for name, found in results["fronts"].items()
    }
    if panels:
        drawing = curves_svg(panels, trials=TRIALS)
        (folder / "search.svg").write_text(drawing, encoding="utf-8")
    page = tables(results)
    (folder / "search.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
