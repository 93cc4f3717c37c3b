"""Replaying searches: what runs, what is kept, what comes out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import __main__ as command
from benchmarks.search.frappe import recorded_task
from benchmarks.search.methods import METHODS, proposer
from benchmarks.search.page import rank_table
from benchmarks.search.replay import Planned, plan, read, replay, run
from benchmarks.search.summary import summarize
from benchmarks.search.task import Task
from codesign.designs import key_of
from codesign.errors import MissingPackageError
from tests.benchmarks.recorded_runs import run_lines, write_table

LINES = run_lines(24)
QUICK = [METHODS["random"], METHODS["regularized_evolution"]]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    found = recorded_task(write_table(tmp_path, LINES))
    return dataclasses.replace(found, trials=8)


def test_only_what_was_not_finished_is_run_again(task, tmp_path):
    cache, said = tmp_path / "cache" / "search.jsonl", []
    replay(plan([task], QUICK, 2), cache, say=said.append)
    first = read(cache)
    assert len(said) == len(first) == 4
    replay(plan([task], QUICK, 3), cache, say=said.append)
    assert [line.split()[0] for line in said[4:]] == ["[1/2]", "[2/2]"]
    assert {key: read(cache)[key] for key in first} == first


def test_a_search_that_was_cut_off_while_it_was_written_is_run_again(task, tmp_path):
    cache, said = tmp_path / "search.jsonl", []
    planned = plan([task], QUICK, 2)
    replay(planned, cache, say=said.append)
    whole = read(cache)
    cache.write_bytes(cache.read_bytes()[:-40])
    assert len(read(cache)) == 3
    replay(planned, cache, say=said.append)
    assert len(said) == 5
    assert {k: f.values for k, f in read(cache).items()} == {k: f.values for k, f in whole.items()}


def test_parts_share_the_work(task, tmp_path):
    cache, said = tmp_path / "search.jsonl", []
    planned = plan([task], QUICK, 3)
    due = [search.key for search in planned]
    replay(planned, cache, part=(1, 2), say=said.append)
    assert set(read(cache)) == set(due[1::2])


def test_a_change_of_the_table_the_settings_or_the_seed_is_another_search(task):
    method = proposer("regularized_evolution", "regularized_evolution.py")
    base = Planned(task, method, 0)
    others = [
        Planned(dataclasses.replace(task, fingerprint="other"), method, 0),
        Planned(dataclasses.replace(task, trials=9), method, 0),
        Planned(task, dataclasses.replace(method, options={"population": 5}), 0),
        Planned(task, dataclasses.replace(method, sources=("codesign/search/random.py",)), 0),
        Planned(task, dataclasses.replace(method, packages=("numpy",)), 0),
        Planned(task, method, 1),
    ]
    renamed = Planned(dataclasses.replace(task, name="renamed"), method, 0)
    assert renamed.key == base.key
    assert len({search.key for search in (base, *others)}) == 7


def test_a_search_is_told_of_failures_and_ends_where_no_design_is_left(task):
    longer = dataclasses.replace(task, trials=99)
    found = run(Planned(longer, METHODS["random"], 0))
    assert len(found.values) == 24
    assert found.values.count([None, None]) == 1
    losses = sorted(value[0] for value in found.values if value[0] is not None)
    assert losses == sorted(x["metrics"]["log_loss"] for x in LINES if x["metrics"])


def check_every_row_is_chosen_once(task: Task, name: str, trials: int) -> None:
    search, chosen = METHODS[name].start(task, 3), []
    for _ in range(trials):
        chosen.append(search.ask())
        search.tell(task.answer(chosen[-1]))
    rows = {key_of(design) for design in task.feasible.designs}
    assert len({key_of(design) for design in chosen} & rows) == trials


@pytest.mark.parametrize("name", ["random", "nevergrad", "regularized_evolution"])
def test_proposers_choose_every_row_once(task, name):
    check_every_row_is_chosen_once(task, name, 24)


@pytest.mark.parametrize("name", ["optuna_tpe", "optuna_nsga2"])
def test_samplers_of_optuna_choose_every_row_once_and_know_what_they_chose(task, name):
    pytest.importorskip("optuna", reason="Optuna, of the development group, is not installed")
    check_every_row_is_chosen_once(task, name, 24)
    search = METHODS[name].start(task, 0)
    design = search.ask()
    search.tell(task.answer(design))
    (trial,) = search._study.trials
    levels = task.feasible.levels
    assert {n: levels[n][place] for n, place in trial.params.items()} == {
        name: value for name, value in design.items() if len(levels[name]) > 1
    }
    assert trial.values == task.values(task.answer(design))


def test_ax_as_it_comes_chooses_rows_and_knows_what_it_chose(task):
    check_every_row_is_chosen_once(task, "ax", 6)
    search = METHODS["ax"].start(task, 0)
    design = search.ask()
    search.tell(task.answer(design))
    trials = search._client._experiment.trials.values()
    (done,) = [trial for trial in trials if trial.status.is_completed]
    assert done.arm.parameters == {
        n: v for n, v in design.items() if len(task.feasible.levels[n]) > 1
    }
    assert len(trials) in (1, 2)


def test_a_method_whose_package_is_missing_says_so():
    method = dataclasses.replace(METHODS["random"], packages=("no-such-package",))
    with pytest.raises(MissingPackageError, match="random needs no-such-package"):
        method.version()


def test_the_command_writes_figures_drawing_and_tables(tmp_path, capsys):
    table = write_table(tmp_path, LINES)
    bars = tmp_path / "bars.csv"
    lines = ["dataset,model,val_logloss,hp_lr,hp_norm"]
    for i in range(24):
        lines.append(f"d,A,{0.5 - 0.01 * (i % 7)},{0.001 * (i // 2)},{'ab'[i % 2]}")
    bars.write_text("\n".join(lines) + "\n")
    arguments = ["--table", str(table), "--rows", "20", "--families", "recorded", "BARS"]
    arguments += ["--bars", str(bars), "--seeds", "2", "--out", str(tmp_path / "out")]
    arguments += ["--methods", "random", "regularized_evolution"]
    arguments += ["--cache", str(tmp_path / "cache.jsonl")]
    command.main(arguments)
    results = json.loads((tmp_path / "out" / "search.json").read_text())
    assert [results["searches_planned"], results["searches_finished"]] == [8, 8]
    front = results["fronts"]["frappe-wukong"]
    found = front["hypervolume_share_log10"]["random"]
    assert [front["designs"], found["seeds"]] == [20, 2]
    assert found["curve"]["median"][-1] == 1.0  # all rows were seen
    assert front["distinct_searches"] == {"random": 2, "regularized_evolution": 2}
    assert np.all(np.diff(found["curve"]["median"]) >= 0)
    assert results["ranks"]["tables"] == {"d-A": 24}
    ranks = [method["mean_rank"] for method in results["ranks"]["methods"].values()]
    assert sum(ranks) == pytest.approx(3)
    assert (tmp_path / "out" / "search.svg").read_text().count("<polyline") == 2
    page = (tmp_path / "out" / "search.md").read_text()
    assert "| random | 2 | " in page
    assert "8 of 8 searches are finished" in page
    assert page in capsys.readouterr().out


def test_the_command_names_a_table_that_is_not_there(tmp_path):
    with pytest.raises(SystemExit, match="there is no such table"):
        command.main(["--table", str(tmp_path / "none.jsonl"), "--families", "recorded"])


def test_a_method_that_did_not_run_on_every_table_is_named_and_not_ranked(task, tmp_path):
    one = dataclasses.replace(task, objectives=task.objectives[:1], name="one")
    other = dataclasses.replace(one, name="other", fingerprint="other")
    cache = tmp_path / "search.jsonl"
    replay([*plan([one, other], QUICK[:1], 1), *plan([one], QUICK[1:], 1)], cache)
    ranks = summarize(plan([one, other], QUICK, 1), read(cache))["ranks"]
    assert [list(ranks["methods"]), ranks["left_out"]] == [["random"], ["regularized_evolution"]]
    assert "not ranked: regularized_evolution" in "\n".join(rank_table(ranks))
