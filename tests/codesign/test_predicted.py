"""Predicted budgets: held by the worse end of an interval, for the device that is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from codesign.axes import make_axes
from codesign.budgets import FeasibleSet
from codesign.contracts import HardwareSpec
from codesign.designs import as_columns
from codesign.errors import InfeasibleError, SpecError
from codesign.predicted import PredictedCosts
from codesign.space import Space
from codesign.spec.model import Choice, Parameter
from codesign.spec.problem import load_problem
from codesign.study.recorded import read_study
from cost_models.hardware import SHIPPED
from cost_models.operations import wukong_ops
from cost_models.operations.ops import total_flop
from tests.support.command import codesign
from tests.support.toy_spec import write_spec
from wukong.task import KNOBS, WukongTask, make, predictor

MODEL = {"head_depth": 1, "head_width": 64, "mlp_depth": 2}
LEVELS: dict[str, tuple[Any, ...]] = {
    "layers": (1, 2, 4),
    "n_F": (2, 8, 12),
    "n_L": (2, 4),
    "k": (2, 8),
    "d": (8, 64),
    "mlp_width": (32, 256, 2048),
    "batch_size": (256, 4096),
    "table_optimizer": ("adam", "sgd"),
}
SPEC: dict[str, Any] = {
    "data": "movielens-100k",
    "model": {"name": "wukong", **MODEL},
    "train": {"passes": 1, "threads": 1},
    "hardware": "cpu",
    "space": {name: list(levels) for name, levels in LEVELS.items()},
    "budgets": {"memory_per_device_gib": 0.05, "examples_per_s": 30_000},
    "objectives": [{"metric": "log_loss"}, {"metric": "gflop_per_example"}],
    "search": {"trials": 2, "proposer": "random"},
}


@pytest.fixture(scope="module")
def task() -> WukongTask:
    return make(model=MODEL, train={}, source="movielens-100k", path=None)


def lattice() -> Space:
    axes = []
    for name, levels in LEVELS.items():
        axes += make_axes(name, Parameter(levels=Choice(values=levels)), KNOBS[name])[0]
    return Space(tuple(axes))


def every_design(space: Space) -> np.ndarray[Any, Any]:
    counts = [len(axis.values) for axis in space.axes]
    return np.stack(np.unravel_index(np.arange(space.size), counts), axis=1)


def costs_on(task: WukongTask, device: str) -> PredictedCosts:
    return PredictedCosts(task=task, predictor=predictor(HardwareSpec(name=device)))


def chosen(feasible: FeasibleSet) -> set[tuple[int, ...]]:
    columns = feasible.sample(feasible.space.size, np.random.default_rng(0))
    return set(map(tuple, feasible.space.indices(columns).tolist()))


def test_pruned_enumeration_finds_what_predicting_every_design_finds(task: WukongTask) -> None:
    space, costs = lattice(), costs_on(task, "cpu")
    rows = every_design(space)
    predicted = costs.predict(space.columns(rows))
    for budgets in (
        {"memory_per_device_gib": 0.02},
        {"examples_per_s": 40_000.0},
        {"latency_ms": 1.5, "parameters": 3e5},
        {"memory_per_device_gib": 0.1, "examples_per_s": 20_000.0, "latency_ms": 4.0},
    ):
        inside = np.ones(len(rows), dtype=bool)
        if "memory_per_device_gib" in budgets:
            inside &= predicted["memory_per_device_gib"].high <= budgets["memory_per_device_gib"]
        if "examples_per_s" in budgets:
            inside &= predicted["examples_per_s"].low >= budgets["examples_per_s"]
        if "latency_ms" in budgets:
            inside &= predicted["latency_ms"].high <= budgets["latency_ms"]
        if "parameters" in budgets:
            inside &= task.costs(space.columns(rows))["parameters"] <= budgets["parameters"]
        feasible = FeasibleSet(space, costs, budgets)
        assert 0 < inside.sum() < len(rows)
        assert (feasible.size.count, feasible.size.exact) == (inside.sum(), True)
        assert chosen(feasible) == set(map(tuple, rows[inside].tolist()))
        np.testing.assert_array_equal(feasible.contains(space.columns(rows)), inside)


def test_a_throughput_that_no_design_reaches_names_the_best_one(task: WukongTask) -> None:
    space, costs = lattice(), costs_on(task, "cpu")
    best = costs.predict(space.columns(every_design(space)))["examples_per_s"].low.max()
    feasible = FeasibleSet(space, costs, {"examples_per_s": 1e9})
    with pytest.raises(InfeasibleError, match=f"the best design reaches {best:.6g} "):
        feasible.require_some()


def slower(tmp_path: Path, *, bandwidth_share: float) -> str:
    """The H100's file with another memory bandwidth."""
    values = yaml.safe_load((SHIPPED / "h100-sxm.yaml").read_text())
    values["bytes_per_s"]["value"] *= bandwidth_share
    values["artifact"] = {}
    path = tmp_path / f"bandwidth-{bandwidth_share}.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def flop_per_byte(task: WukongTask, columns: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Of a training step of each design: what separates compute from bandwidth."""
    schema, batch = task._data.schema, columns["batch_size"].astype(float)
    shape = {**MODEL, **columns}
    operations = wukong_ops.operations(shape, schema, batch=batch)
    operations += wukong_ops.optimizer_operations(shape, schema)
    moved = sum(op.count * op.bytes for op in operations)
    flop: np.ndarray[Any, Any] = total_flop(operations) / moved
    return flop


def test_a_quarter_of_the_bandwidth_lets_in_shapes_with_more_flop_for_each_byte(
    task: WukongTask, tmp_path: Path
) -> None:
    space = lattice()
    columns = space.columns(every_design(space))
    devices = [costs_on(task, slower(tmp_path, bandwidth_share=share)) for share in (1.0, 0.25)]
    rates = [device.predict(columns)["examples_per_s"].low for device in devices]
    assert (rates[1] < rates[0]).all()
    # The same budget: what slow memory keeps is a part of what fast memory keeps.
    fast, slow = (
        FeasibleSet(space, device, {"examples_per_s": 500_000.0}).contains(columns)
        for device in devices
    )
    assert (slow <= fast).all()
    assert 0 < slow.sum() < fast.sum()
    # Budgets as tight as each other: which shapes are kept is another question of the two.
    fast, slow = (
        FeasibleSet(space, device, {"examples_per_s": float(np.sort(rate)[-300])}).contains(columns)
        for device, rate in zip(devices, rates, strict=True)
    )
    assert fast.sum() == slow.sum() == 300
    intensity = flop_per_byte(task, columns)
    let_in, pushed_out = intensity[slow & ~fast], intensity[fast & ~slow]
    assert len(let_in) > 5
    assert np.median(let_in) > 1.2 * np.median(pushed_out)


def test_a_quarter_of_the_bandwidth_makes_one_spec_train_and_choose_another_shape(
    task: WukongTask, tmp_path: Path
) -> None:
    """Wide vectors with a narrow MLP move many bytes for each flop; the other way round, few."""
    shape = {"layers": 1, "n_F": 16, "n_L": 2, "k": 2, "mlp_depth": 1}
    changed = {
        "model": {**SPEC["model"], **shape},
        "train": {**SPEC["train"], "batch_size": 65536},
        "space": {
            "d": [16, 64],
            "mlp_width": {"choices": [512], "when": {"d": 16}, "otherwise": 32},
        },
        "budgets": {"examples_per_s": 1_850_000},
    }
    chosen, predicted, searched = [], [], []
    for share in (1.0, 0.25):
        spec = write(tmp_path, **changed, hardware=slower(tmp_path, bandwidth_share=share))
        problem, study = load_problem(spec), tmp_path / f"study-{share:g}"
        done = codesign("optimize", spec, "--study", study, "--json")
        assert done.returncode == 0, done.stderr
        trials = list(read_study(study).state.trials.values())
        searched.append({(trial.design["d"], trial.design["mlp_width"]) for trial in trials})
        assert all(trial.predictions["examples_per_s"]["low"] >= 1_850_000 for trial in trials)
        least = min(trials, key=lambda trial: trial.costs["gflop_per_example"])
        assert least.number in [one["trial"] for one in json.loads(done.stdout)["front"]]
        chosen.append(least.design)
        assert problem.predicted is not None
        of_wide = problem.predicted.of_design({"d": 64, "mlp_width": 32})
        predicted.append(of_wide["examples_per_s"]["low"])
    assert searched == [{(64, 32), (16, 512)}, {(16, 512)}]
    assert [(one["d"], one["mlp_width"]) for one in chosen] == [(64, 32), (16, 512)]
    # What is given up is bound by memory: its throughput falls by nearly the bandwidth's factor.
    assert predicted[1] < 1_850_000 < predicted[0]
    assert predicted[0] / predicted[1] > 3
    rows = as_columns([{**shape, **one, "batch_size": 65536} for one in chosen])
    given_up, taken = flop_per_byte(task, rows)
    assert taken > 2 * given_up


def write(tmp_path: Path, **changed: Any) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changed}))
    return path


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hardware": "h100"}, "hardware cannot be: hardware 'h100' is unknown; did you mean"),
        ({"hardware": {"name": "cpu", "precision": "tf32"}}, "flop_per_s.tf32 is missing"),
        ({"hardware": {"name": "cpu", "precision": "fp8"}}, "must be one of fp32, tf32"),
        (
            {"hardware": {"name": "a100"}, "train": {"precision": "fp8"}},
            "must be one of",
        ),
        ({"hardware": {"name": "cpu", "latency_batch": 0}}, "latency_batch is 0; must be ≥ 1"),
        ({"hardware": {"name": "cpu", "devices": 0}}, "devices is 0; must be ≥ 1"),
        ({"hardware": {"precision": "fp32"}}, "hardware.name is missing"),
        ({"budgets": {"confidence": 0.5}}, "budgets.confidence is 0.5; must be > 0.5"),
        ({"budgets": {"confidence": 1}}, "budgets.confidence is 1; must be < 1"),
        ({"budgets": {"latency": 1}}, "budgets.latency is unknown; did you mean 'latency_ms'?"),
        ({"objectives": [{"metric": "latency_ms"}]}, "are all costs known before training"),
    ],
)
def test_what_cannot_be_predicted_is_refused_with_its_place(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as error:
        load_problem(write(tmp_path, **changed))
    assert said in str(error.value)
    assert "study.yaml:" in str(error.value)


def test_a_predicted_budget_without_hardware_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("hardware: cpu\n", ""))
    with pytest.raises(SpecError) as error:
        load_problem(path)
    for name in ("memory_per_device_gib", "examples_per_s"):
        assert f"budgets.{name} is predicted for a device; must have the section" in str(
            error.value
        )


def test_hardware_for_a_model_of_which_nothing_is_predicted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="hardware cannot be: nothing is predicted for this model"):
        load_problem(write_spec(tmp_path, hardware={"name": "cpu"}))


def test_more_confidence_leaves_fewer_designs(tmp_path: Path) -> None:
    sizes = []
    for confidence in (0.6, 0.9, 0.99):
        budgets = {"examples_per_s": 40_000, "confidence": confidence}
        sizes.append(load_problem(write(tmp_path, budgets=budgets)).feasible.size.count)
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_trials_record_what_was_predicted_beside_what_was_measured(tmp_path: Path) -> None:
    space = {"layers": 1, "n_F": 2, "n_L": 2, "k": 2, "d": [8, 16], "mlp_width": 32}
    train = {**SPEC["train"], "batch_size": 8192}
    spec, study = write(tmp_path, space=space, train=train), tmp_path / "study"
    done = codesign("optimize", spec, "--study", study, "--json")
    assert done.returncode == 0, done.stderr
    problem = load_problem(spec)
    trials = read_study(study).state.trials
    assert len(trials) == 2
    for trial in trials.values():
        assert trial.predictions == problem.foreseen(trial.design)["predictions"]
        assert trial.predictions["memory_per_device_gib"]["high"] <= 0.05
        assert trial.predictions["examples_per_s"]["low"] >= 30_000
        assert trial.metrics["examples_per_s"] != trial.predictions["examples_per_s"]["value"]
    front = json.loads(done.stdout)["front"]
    assert front[0]["predicted"] == trials[front[0]["trial"]].predictions
    best = yaml.safe_load((study / "best.yaml").read_text())
    assert best["predicted"]["latency_ms"]["label"].startswith("roofline of cpu, fp32: calibrated")


def test_cost_and_validate_print_predictions_with_interval_and_label(tmp_path: Path) -> None:
    design = {
        "data": {"source": "movielens-100k"},
        "model": SPEC["model"],
        "train": {},
        "design": {name: levels[0] for name, levels in LEVELS.items()},
    }
    path = tmp_path / "best.yaml"
    path.write_text(yaml.safe_dump(design))
    found = codesign("cost", path, "--hardware", "h100-sxm", "--confidence", "0.8", "--json")
    assert found.returncode == 0, found.stderr
    predicted = json.loads(found.stdout)["predicted"]
    assert list(predicted) == ["memory_per_device_gib", "examples_per_s", "latency_ms"]
    assert all(p["low"] < p["value"] < p["high"] for p in predicted.values())
    shown = codesign("cost", path, "--hardware", "a100")
    assert "roofline of a100, fp32: uncalibrated" in " ".join(shown.stdout.split())
    checked = codesign("validate", write(tmp_path))
    assert all(f"│ {name} " in checked.stdout for name in predicted), checked.stdout
    many = codesign("cost", path, "--hardware", "a100", "--devices", "8", "--json")
    one = codesign("cost", path, "--hardware", "a100", "--json")
    memory, alone = (
        json.loads(done.stdout)["predicted"]["memory_per_device_gib"] for done in (many, one)
    )
    assert memory["value"] < alone["value"]
    assert memory["label"] == "closed form of 8 ranks, fp32; slack assumed"
    eight = json.loads(many.stdout)
    step_ms = sum(eight["step_parts_ms"].values())
    # The batch over the step's time is the throughput.
    examples_per_s = eight["predicted"]["examples_per_s"]["value"]
    assert eight["design"]["batch_size"] / step_ms * 1e3 == pytest.approx(examples_per_s)
    assert {"dense forward", "FSDP, not hidden"} <= eight["step_parts_ms"].keys()
    assert "FSDP, not hidden" not in json.loads(one.stdout)["step_parts_ms"]
    assert "│ dense forward " in shown.stdout
    batch_size = eight["design"]["batch_size"]
    for options, refusal in (
        (["--devices", "4"], "--devices needs --hardware"),
        (["--hardware", "a100", "--confidence", "nan"], "nan is no finite number"),
        (["--hardware", "a100", "--devices", str(batch_size + 1)], f"batch_size is {batch_size};"),
    ):
        refused = codesign("cost", path, *options)
        assert refused.returncode == 2
        assert refusal in refused.stderr
    path.write_text(yaml.safe_dump({**design, "train": {"precision": "bf16"}}))
    half = codesign("cost", path, "--hardware", "a100")
    assert "roofline of a100, bf16: uncalibrated" in " ".join(half.stdout.split())
    gone = codesign("cost", path, "--hardware", "a1000")
    assert gone.returncode == 2
    assert "did you mean 'a100'?" in gone.stderr
    listed = codesign("validate", write(tmp_path), "--json")
    ranges = json.loads(listed.stdout)["predicted"]["examples_per_s"]
    assert ranges["least"]["low"] >= 30_000
    assert ranges["least"]["value"] < ranges["median"]["value"] < ranges["most"]["value"]
