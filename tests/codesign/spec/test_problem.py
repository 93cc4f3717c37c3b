"""All mistakes of a file in one message, each with its place, what was found, what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codesign.errors import InfeasibleError, SpecError
from codesign.spec.model import Choice, Parameter, Range
from codesign.spec.problem import load_problem
from tests.support.toy_spec import TOY_SPEC, write_spec
from tests.support.toy_task import KNOBS

KNOWN_BUDGETS = "must be one of gflop_per_example, parameters, study_gpu_hours, trials, wall_hours"


def mistakes(folder: Path, **sections: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_problem(write_spec(folder, **sections))
    return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]


def test_a_good_spec_resolves_with_defaults_and_the_metrics_own_goals(tmp_path: Path) -> None:
    problem = load_problem(write_spec(tmp_path))
    spec = problem.spec
    assert spec.name == "toy"
    assert [(o.metric, o.goal) for o in spec.objectives] == [
        ("log_loss", "minimize"),
        ("gflop_per_example", "minimize"),
    ]
    assert spec.space["width"] == Parameter(levels=Range(low=1, high=16))
    assert problem.space.size == 16 * 4 * 5


def test_all_mistakes_of_schema_names_and_levels_are_reported_at_once_with_their_places(
    tmp_path: Path,
) -> None:
    text = """\
data: {source: toy, pth: x}
model: {name: tests.support.toy_task}
train: {lr: "2"}
space:
  width: {low: 8, high: 4}
  depht: [1, 2]
  depth: [1, 1]
  form: [a, c]
  wide: 3
budgets: {gflop: 0.04, examples_per_s: 10}
objectives:
  - metric: log_los
search: {trials: 0, proposer: knwon_cost}
seed: 2.5
seed: 1
"""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as first:
        load_problem(path)
    lines = str(first.value).splitlines()
    assert [int(line.split(":")[1]) for line in lines] == sorted(
        int(line.split(":")[1]) for line in lines
    )
    assert set(lines) == {
        f"{path}:15:1: seed stands here again (first value at line 14); must be given once",
        f"{path}:1:26: data.pth is unknown; did you mean 'path'?",
        f"{path}:13:18: search.trials is 0; must be ≥ 1",
        f"{path}:14:7: seed is 2.5; must be a whole number",
        f"{path}:7:10: space.depth is [1, 1]; must have no equal items",
        f"{path}:3:13: train.lr is '2'; must be a number",
        f"{path}:5:10: space.width has low 8 above high 4; must have low ≤ high",
        f"{path}:6:10: space.depht is unknown; did you mean 'depth'?",
        f"{path}:8:9: space.form is 'c'; must be one of a, b",
        f"{path}:9:9: space.wide is 3; must be true or false",
        f"{path}:10:18: budgets.gflop is unknown; {KNOWN_BUDGETS}",
        (
            f"{path}:10:40: budgets.examples_per_s is not predicted for this model;"
            " must be one of gflop_per_example, parameters"
        ),
        f"{path}:12:13: objectives[0].metric is \"log_los\"; did you mean 'log_loss'?",
        f"{path}:13:31: search.proposer is \"knwon_cost\"; did you mean 'known_cost'?",
    }


def test_all_mistakes_in_names_levels_and_metrics_are_reported_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        data={"source": "toyy"},
        model={"name": "tests.support.toy_task", "width": 0, "colour": 1},
        train={"lr": "2", "fate": "lives"},
        space={
            "width": {"low": 8, "high": 4},
            "depht": [1, 2],
            "depth": {"low": 1, "high": 10, "step": 4},
            "form": ["a", "c"],
            "wide": 3,
        },
        budgets={"gflop": 0.04, "examples_per_s": 10, "auc": 0.5},
        objectives=[{"metric": "log_los"}, {"metric": "auc"}, {"metric": "auc"}],
        search={"proposer": "knwon_cost"},
        launch={"executor": "slrm"},
    )
    fates = ", ".join(KNOBS["fate"].choices)
    counts = "must be one of gflop_per_example, parameters"
    assert sorted(found) == sorted(
        [
            "data.source is \"toyy\"; did you mean 'toy'?",
            "model.width is 0; must be ≥ 1",
            "model.colour is unknown; must be one of depth, width",
            "train.lr is '2'; must be a number",
            f"train.fate is 'lives'; must be one of {fates}",
            "space.width is fixed in model, too; must stand in one of them",
            "space.width has low 8 above high 4; must have low ≤ high",
            "space.depht is unknown; did you mean 'depth'?",
            "space.depth has high 10 off the grid of step 4 from 1; must be e.g. 9 or 13",
            "space.form is 'c'; must be one of a, b",
            "space.wide is 3; must be true or false",
            f"budgets.gflop is unknown; {KNOWN_BUDGETS}",
            f"budgets.examples_per_s is not predicted for this model; {counts}",
            f"budgets.auc is no cost that is known before training; {counts}",
            "objectives[0].metric is \"log_los\"; did you mean 'log_loss'?",
            'objectives[2].metric is "auc" again; must be given once',
            "search.proposer is \"knwon_cost\"; did you mean 'known_cost'?",
            "launch.executor is \"slrm\"; did you mean 'slurm'?",
        ]
    )


@pytest.mark.parametrize("wrong", ['"2"', "2.0", "yes", "true", "[1]", "{a: 1}"])
def test_what_is_no_whole_number_is_refused_for_one(tmp_path: Path, wrong: str) -> None:
    path = write_spec(tmp_path)
    path.write_text(path.read_text().replace("seed: 3", f"seed: {wrong}"))
    with pytest.raises(SpecError, match=r"seed is .*; must be a whole number"):
        load_problem(path)


def test_budgets_that_exclude_everything_are_named_with_the_cheapest_design(
    tmp_path: Path,
) -> None:
    path = write_spec(tmp_path, budgets={"gflop_per_example": 0.001, "parameters": 1000})
    with pytest.raises(InfeasibleError) as caught:
        load_problem(path)
    assert "budgets.gflop_per_example is 0.001; the cheapest design needs 0.004" in str(
        caught.value
    )
    assert "(depth 1, lr 0.001, width 4)" in str(caught.value)
    assert "budgets.parameters" not in str(caught.value)


def test_an_impossible_combination_of_settings_is_found_before_anything_runs(
    tmp_path: Path,
) -> None:
    found = mistakes(tmp_path, space={"width": [1, 4], "form": ["a", "b"], "wide": [False, True]})
    assert found == ["space holds a design that cannot be: form b cannot be wide"]
    load_problem(write_spec(tmp_path, space={"width": [1, 4], "form": ["a", "b"], "wide": False}))


@pytest.mark.parametrize(
    ("fixed", "place"),
    [
        ("train: {passes: 1, threads: 0}", r":2:29: train\.threads is 0; must be ≥ 1, or left out"),
        ("train: {eval_batch_size: -1}", r":2:26: train\.eval_batch_size is -1; must be "),
        ("model: {name: wukong, tables: [{x: 1}]}", r":2:8: model\.tables is .* feature, rows"),
    ],
)
def test_a_fixed_setting_that_cannot_be_is_pointed_at(
    tmp_path: Path, fixed: str, place: str
) -> None:
    (tmp_path / "clicks.csv").write_text("\n".join(["label,user", *("1,a", "0,b") * 200]))
    lines = [
        f"data: {{source: csv, path: {tmp_path / 'clicks.csv'}}}",
        fixed,
        "space: {d: [4, 8]}",
        "objectives: [{metric: log_loss}]",
        *([] if fixed.startswith("model") else ["model: wukong"]),
    ]
    (tmp_path / "fixed.yaml").write_text("\n".join(lines))
    with pytest.raises(SpecError, match=r"fixed\.yaml" + place):
        load_problem(tmp_path / "fixed.yaml")


def test_an_option_of_a_proposer_that_has_none_is_refused(tmp_path: Path) -> None:
    search = {"trials": 3, "proposer": "random", "options": {"initial": 3}}
    assert mistakes(tmp_path, search=search) == [
        "search.options.initial is unknown; there are none to choose from"
    ]


def test_objectives_that_are_all_counted_leave_nothing_to_learn(tmp_path: Path) -> None:
    allowed = "must hold one of log_loss, auc"
    assert mistakes(tmp_path, objectives=[{"metric": "parameters", "reference": 0}]) == [
        f"objectives are all costs known before training, so nothing would be learned; {allowed}",
        "objectives[0].reference is 0 for a cost; must be > 0",
    ]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("auk.ctr", "is \"auk.ctr\"; did you mean 'auc.ctr'?"),
        ("parameters.ctr", 'is "parameters.ctr"; must be one of auc.ctr, log_loss.ctr'),
        ("auc.", "is \"auc.\"; did you mean 'auc'?"),
        ("auc.ctr", 'is "auc.ctr"; has no tasks'),  # said by the task, once the data are there
    ],
)
def test_a_metric_of_one_task_is_checked_before_its_dot_and_then_by_the_data(
    tmp_path: Path, name: str, complaint: str
) -> None:
    objectives = [{"metric": name}, {"metric": "gflop_per_example"}]
    assert mistakes(tmp_path, objectives=objectives) == [f"objectives[0].metric {complaint}"]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"objectives": [{"metric": 5}]}, "objectives[0].metric is 5; must be text"),
        ({"data": 5}, "data is 5; must be text or a mapping"),
        ({"train": {"lr": [0.1, 0.2]}}, "train.lr is [0.1, 0.2]; must be one value"),
        ({"model": {"name": "tests.support.toy_task", "width": {"a": 1}}},
         'model.width is {"a": 1}; must be one value'),
        ({"search": {"proposer": "sobol", "options": {"candidates": 1.5}}},
         "search.options cannot be: candidates is 1.5; must be a whole number ≥ 1"),
        ({"search": {"proposer": "ax", "options": {"inital": 4}}},
         "search.options.inital is unknown; did you mean 'initial'?"),
        ({"search": {"proposer": "regularised_evolution"}},
         'search.proposer is "regularised_evolution"; did you mean \'regularized_evolution\'?'),
        ({"search": {"proposer": "regularized_evolution", "options": {"sample": 40}}},
         "search.options cannot be: sample is 40; must be at most population, 16"),
        ({"search": {"proposer": "nevergrad", "options": {"optimizer": "OnePlusTwo"}}},
         ("search.options cannot be: optimizer is 'OnePlusTwo', which nevergrad does not have; "
         "did you mean 'OnePlusOne'?")),
        ({"baseline": {"width": True, "depth": 1, "lr": 0.01}},
         "baseline.width is true; must be a whole number"),
    ],
    ids=str,
)  # fmt: skip
def test_values_of_the_wrong_form_are_mistakes(
    tmp_path: Path, section: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load_problem(write_spec(tmp_path, **section), data_path=None)
    assert complaint in str(caught.value)


def test_a_data_section_that_is_no_mapping_is_a_mistake_with_a_data_path_too(
    tmp_path: Path,
) -> None:
    with pytest.raises(SpecError, match="must be text or a mapping"):
        load_problem(write_spec(tmp_path, data=[1]), data_path="somewhere")


def test_a_text_in_place_of_the_data_section_is_its_source(tmp_path: Path) -> None:
    assert load_problem(write_spec(tmp_path, data="toy")).spec.data.source == "toy"
    assert mistakes(tmp_path, data="tory") == ["data.source is \"tory\"; did you mean 'toy'?"]


@pytest.mark.parametrize(("file", "name"), [("2024.yaml", "2024"), ("my study.yaml", "my-study")])
def test_a_study_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    path = write_spec(tmp_path).rename(tmp_path / file)
    assert load_problem(path).spec.name == name


def test_the_baseline_must_be_a_feasible_design_of_the_space(tmp_path: Path) -> None:
    assert mistakes(tmp_path, baseline={"width": 17, "dept": 1}) == [
        "baseline.depth is missing; must be one of 1, 2, 3, 4",
        "baseline.lr is missing; must be one of 0.001, 0.003162, 0.01, 0.03162, 0.1",
        "baseline.dept is unknown; did you mean 'depth'?",
        "baseline.width is 17; must be one of 1, 2, 3, 4, …, 16",
    ]
    over = {"width": 16, "depth": 4, "lr": 0.01}
    assert mistakes(tmp_path, baseline=over) == [
        "baseline is beyond the budgets (gflop_per_example 0.069 > 0.04)"
    ]


def test_overrides_replace_values_of_the_file(tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    problem = load_problem(
        path, overrides=["search.trials=40", "space.width=[1, 2]"], data_path="somewhere"
    )
    assert problem.spec.search.trials == 40
    assert problem.spec.space["width"] == Parameter(levels=Choice(values=(1, 2)))
    assert problem.spec.data.path == "somewhere"
    with pytest.raises(SpecError, match=r"must be section\.key=value"):
        load_problem(path, overrides=["search.trials"])


def test_the_hash_is_that_of_the_meaning_not_of_the_text(tmp_path: Path) -> None:
    first = load_problem(write_spec(tmp_path)).spec
    path = write_spec(tmp_path)
    path.write_text("# a comment\n" + path.read_text())
    assert load_problem(path).spec.hash == first.hash
    longer = load_problem(path, overrides=["search.trials=9", "launch.workers=2"]).spec
    assert longer.hash == first.hash
    assert load_problem(path, overrides=["seed=4"]).spec.hash != first.hash


def test_the_shipped_schema_is_itself_valid() -> None:
    from jsonschema import Draft202012Validator

    schema = Path("codesign/spec/schema.json").read_text()
    Draft202012Validator.check_schema(json.loads(schema))


@pytest.mark.parametrize("path", sorted(Path("spaces").glob("*.yaml")), ids=str)
def test_shipped_spaces_pass_the_schema(path: Path) -> None:
    from codesign.spec.loader import load_document

    assert load_document(path).values["model"]["name"] == "wukong"


@pytest.mark.parametrize("text", ["", "[]", "3", "a", "null", "data: 3", "space: []", "x: y"])
def test_rubbish_is_refused_without_a_traceback(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rubbish.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"rubbish\.yaml"):
        load_problem(path)


def test_the_toy_spec_itself_is_not_changed_by_loading(tmp_path: Path) -> None:
    before = json.dumps(TOY_SPEC)
    load_problem(write_spec(tmp_path), overrides=["seed=9"])
    assert json.dumps(TOY_SPEC) == before


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("[.nan]", "space.width[0] is .nan; must be a finite number"),
        ("{low: 1, high: .inf}", "space.width.high is .inf; must be a finite number"),
        ("9999999999999999999", "is 9999999999999999999; must be a number below 1e+18"),
        ("yes", "space.width is 'yes'; must be a whole number"),
        ('["2"]', "space.width is '2'; must be a whole number"),
        ("[2.0]", "space.width is 2.0; must be a whole number"),
        ("{low: 1, high: 9, step: 3}", "has high 9 off the grid of step 3 from 1; must be e.g. 7"),
        ("[2, 2]", "space.width is [2, 2]; must have no equal items"),
        ("[1001, 1002, 1003, 1004, 1005]", "has 2 more such values"),
    ],
)
def test_a_value_that_cannot_be_is_said_once(tmp_path: Path, entry: str, complaint: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "data: {source: toy}\nmodel: {name: tests.support.toy_task}\n"
        f"space: {{width: {entry}}}\nobjectives: [{{metric: log_loss}}]\n"
    )
    with pytest.raises(SpecError) as caught:
        load_problem(path)
    lines = str(caught.value).splitlines()
    assert complaint in lines[-1]
    assert len(lines) == (4 if "such" in complaint else 1)
    assert all(line.startswith(f"{path}:3:") for line in lines)


def test_a_name_in_another_case_is_meant_before_a_similar_one(tmp_path: Path) -> None:
    found = mistakes(tmp_path, space={"Width": [1], "DEPTH": 1})
    assert found == [
        "space.DEPTH is unknown; did you mean 'depth'?",
        "space.Width is unknown; did you mean 'width'?",
    ]
