"""Plans of systems, against systems looked at one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.contracts import HardwareSpec, PlanRequest
from codesign.errors import ConfigError, InfeasibleError
from cost_models.artifacts import cost_model
from cost_models.hardware import load_hardware
from cost_models.planner.evaluate import Workload, usable_gib
from cost_models.planner.plan import Plan, make_plan
from cost_models.planner.search import Candidate
from cost_models.planner.system import System
from cost_models.predict import Predictor
from cost_models.training import Training
from wukong.schema import CategoricalFeature, InputSchema

SCHEMA = InputSchema(
    categorical=tuple(
        CategoricalFeature(name=f"c{i}", cardinality=10 ** (4 + i % 4)) for i in range(26)
    )
)
WORKLOAD = Workload(
    columns={"layers": 4, "n_F": 32, "n_L": 32, "k": 24, "mlp_depth": 2, "mlp_width": 2048,
             "d": 128},
    schema=SCHEMA,
    base=Training(table_backend="fused", table_optimizer="sgd", precision="bf16"),
    batch_size=65536,
    gflop_per_example=0.25,
)  # fmt: skip
REQUEST = PlanRequest(
    hardware="h100-sxm",
    devices=(4, 64),
    examples=1e11,
    batch_sizes=(16384, 65536),
    choices={"precision": ("fp32", "bf16"), "compile": (False,)},
)
FIELDS = {
    "table_sharding": ("column_wise", "table_wise", "row_wise"),
    "precision": ("fp32", "bf16"),
    "activation_checkpointing": (False, True),
}
NODE = 8


def one_by_one() -> list[dict[str, Any]]:
    """Every system of the request with its figures, each predicted for itself."""
    hardware = load_hardware("h100-sxm")
    models = {name: cost_model(hardware, name) for name in ("fp32", "bf16")}
    found = []
    for devices, batch in itertools.product(REQUEST.devices, REQUEST.batch_sizes):
        for values in itertools.product(*FIELDS.values(), {1, devices} | ({NODE} - {4})):
            *others, shard_ranks = values
            if devices % shard_ranks:
                continue
            chosen = dict(zip(FIELDS, others, strict=True))
            on = {
                **WORKLOAD.columns, **chosen, "dense_shard_ranks": shard_ranks,
                "batch_size": np.array([batch]), "table_backend": "fused",
                "table_optimizer": "sgd",
            }  # fmt: skip
            model = models[chosen["precision"]]
            predictor = Predictor(model=model, latency_batch=1, devices=devices)
            figures = predictor.predict(on, on, SCHEMA, confidence=0.9)
            rate = figures["examples_per_s"][0]
            found.append(
                {
                    "devices": devices,
                    "memory": figures["memory_per_device_gib"][0].high,
                    "step_ms": 1e3 * batch / rate.low,
                    "hours": 1e11 / rate.value / 3600,
                    "gpu_hours": devices * 1e11 / rate.value / 3600,
                    "most_hours": 1e11 / rate.low / 3600,
                }
            )
    return found


EVERY = one_by_one()


def needed(best: Candidate, name: str) -> float:
    return best.figures[name].high


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from(["hours", "gpu_hours"]),
    st.floats(2.0, 80.0),
    st.one_of(st.none(), st.floats(20.0, 2000.0)),
    st.one_of(st.none(), st.floats(5.0, 500.0)),
)
def test_a_plan_is_the_best_of_all_systems_within_the_budgets_looked_at_one_by_one(
    minimize: Any, memory_gib: float, step_ms: float | None, hours: float | None
) -> None:
    request = replace(
        REQUEST, minimize=minimize, memory_per_device_gib=memory_gib, step_ms=step_ms, hours=hours
    )
    within = [
        one
        for one in EVERY
        if one["memory"] <= memory_gib
        and (step_ms is None or one["step_ms"] <= step_ms)
        and (hours is None or one["most_hours"] <= hours)
    ]
    try:
        plan = make_plan(WORKLOAD, request)
    except InfeasibleError:
        assert not within
        return
    best = plan.best
    least = min(one[minimize] for one in within)
    assert best.figures[minimize].value == pytest.approx(least, rel=1e-9)
    assert needed(best, "memory_per_device_gib") <= memory_gib
    assert step_ms is None or needed(best, "step_ms") <= step_ms
    assert hours is None or needed(best, "hours") <= hours
    for each in plan.by_devices:
        own = [one[minimize] for one in within if one["devices"] == each.system.devices]
        assert each.within_budgets == bool(own)
        if own:
            assert each.figures[minimize].value == pytest.approx(min(own), rel=1e-9)


@pytest.mark.parametrize(
    "budgets",
    [{}, {"memory_per_device_gib": 12.0, "step_ms": 800.0}],
    ids=str,
)
def test_evolution_comes_within_a_percent_of_looking_at_all(budgets: dict[str, float]) -> None:
    opened = {
        "precision": ("tf32", "bf16"),
        "lookup_precision": ("fp32", "fp16"),
        "table_shard_columns": (128, 64),
        "compile": (False,),
    }
    request = replace(REQUEST, devices=(16,), batch_sizes=(), choices=opened, **budgets)
    best = make_plan(WORKLOAD, request, most_evaluations=10**6).best
    for seed in range(3):
        evolved = make_plan(WORKLOAD, request, most_evaluations=24, seed=seed)
        found, least = evolved.best.figures["gpu_hours"].value, best.figures["gpu_hours"].value
        assert least * (1 - 1e-12) <= found <= 1.01 * least
        assert needed(evolved.best, "memory_per_device_gib") <= evolved.memory_limit_gib


def test_the_same_seed_evolves_the_same_plan() -> None:
    opened = {"precision": ("fp32", "tf32", "bf16"), "table_shard_columns": (128, 64)}
    request = replace(REQUEST, devices=(16,), choices=opened)
    plans = [make_plan(WORKLOAD, request, most_evaluations=30, seed=3) for _ in range(2)]
    assert plans[0].to_json() == plans[1].to_json()


def test_allowing_more_devices_never_makes_the_best_worse() -> None:
    for minimize in ("hours", "gpu_hours"):
        before = np.inf
        fixed = {"table_sharding": ("table_wise",), "activation_checkpointing": (False,)}
        for most in (8, 32, 256, 1024):
            counts = tuple(n for n in (8, 32, 256, 1024) if n <= most)
            request = replace(REQUEST, devices=counts, minimize=minimize, choices=fixed)  # type: ignore[arg-type]
            best = make_plan(WORKLOAD, request).best
            assert best.figures[minimize].value <= before
            before = best.figures[minimize].value


def systems(plan: Plan) -> Iterator[System]:
    yield from (each.system for each in plan.by_devices)


def test_a_single_value_fixes_a_choice() -> None:
    fixed = {
        "table_sharding": ("row_wise",),
        "dense_shard_ranks": (4,),
        "precision": ("tf32",),
        "activation_checkpointing": (True,),
        "compile": (True,),
        "lookup_precision": ("fp16",),
        "gradient_precision": ("bf16",),
    }
    request = replace(REQUEST, choices=fixed, batch_sizes=(32768,), devices=(8, 64))
    for system in systems(make_plan(WORKLOAD, request)):
        for name, (value,) in fixed.items():
            assert getattr(system, name) == value, name
        assert system.batch_size == 32768
    [system] = systems(make_plan(WORKLOAD, replace(REQUEST, devices=(32,), batch_sizes=())))
    assert (system.devices, system.batch_size) == (32, WORKLOAD.batch_size)
    assert system.batch_per_device == 2048


def test_zero_devices_that_share_dense_weights_are_all_of_them() -> None:
    request = replace(REQUEST, choices={"dense_shard_ranks": (0,)})
    for system in systems(make_plan(WORKLOAD, request)):
        assert system.dense_shard_ranks == system.devices


def test_plain_tables_have_no_sharding_to_choose_and_a_cpu_none_by_rows() -> None:
    plain = replace(WORKLOAD, base=Training(table_backend="plain"), batch_size=4096)
    small = replace(plain, schema=replace(SCHEMA, categorical=SCHEMA.categorical[:2]))
    [system] = systems(make_plan(small, replace(REQUEST, devices=(8,), batch_sizes=(), choices={})))
    assert (system.table_sharding, system.table_shard_columns) == ("column_wise", 128)
    fused = replace(small, base=Training(table_backend="fused", table_optimizer="sgd"))
    by_rows = {"table_sharding": ("row_wise", "table_wise")}
    request = replace(REQUEST, hardware="cpu", devices=(8,), batch_sizes=(), choices=by_rows)
    [system] = systems(make_plan(fused, request))
    assert system.table_sharding == "table_wise"


def test_pf_days_and_mfu_are_those_of_a_pocket_calculator() -> None:
    """1e11 examples of .25 GFLOP are 2.5e19 FLOP; a PF-day is 8.64e19 of them."""
    plan = make_plan(WORKLOAD, REQUEST)
    assert plan.pf_days == pytest.approx(2.5e19 / 8.64e19, rel=1e-12)
    row = plan.to_json()["best"]
    assert row["train"]["precision"] == "bf16"
    rate, hours = row["predicted"]["examples_per_s"], row["predicted"]["hours"]
    flop_per_s = 0.25e9 * rate["value"]
    assert row["predicted"]["mfu"]["value"] == pytest.approx(
        flop_per_s / (row["devices"] * 989.4e12), rel=1e-12
    )
    assert hours["value"] == pytest.approx(1e11 / rate["value"] / 3600, rel=1e-12)
    assert hours["high"] == pytest.approx(1e11 / rate["low"] / 3600, rel=1e-12)
    priced = make_plan(WORKLOAD, replace(REQUEST, price_per_gpu_hour=2.5)).to_json()["best"]
    money, gpu_hours = priced["predicted"]["money"], priced["predicted"]["gpu_hours"]
    assert [money[end] for end in ("value", "low", "high")] == pytest.approx(
        [2.5 * gpu_hours[end] for end in ("value", "low", "high")], rel=1e-12
    )


@pytest.mark.parametrize(
    ("base", "request_of"),
    [
        (WORKLOAD.base, REQUEST),
        # A CPU runs these layers as one step of autograd, which holds less.
        (
            Training(),
            replace(REQUEST, hardware="cpu", devices=(1,), batch_sizes=(1024,), choices={}),
        ),
    ],
    ids=["h100-sxm", "cpu"],
)
def test_the_parts_of_a_step_and_of_memory_add_up(base: Training, request_of: PlanRequest) -> None:
    categorical = SCHEMA.categorical[:2]
    workload = replace(WORKLOAD, base=base, schema=replace(SCHEMA, categorical=categorical))
    plan = make_plan(workload, request_of)
    step = plan.best.figures["step_ms"]
    assert sum(plan.parts_ms.values()) == pytest.approx(step.value, rel=1e-9)
    assert step.low < step.value < step.high
    precision: Any = plan.best.system.precision
    factor = cost_model(plan.hardware, precision).memory.factor
    memory = plan.best.figures["memory_per_device_gib"].value
    assert sum(plan.memory_parts_gib.values()) == pytest.approx(memory, rel=1e-9)
    slack = plan.memory_parts_gib["allocator's slack"]
    assert slack == pytest.approx((1 - 1 / factor) * memory, rel=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
@pytest.mark.parametrize(
    "name",
    ["examples", "memory_per_device_gib", "step_ms", "hours", "gpu_hours", "price_per_gpu_hour"],
)
def test_a_number_that_is_none_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; must be finite and > 0"):
        make_plan(WORKLOAD, replace(REQUEST, **{name: value}))


def test_no_plan_counts_on_more_memory_than_a_device_has_or_on_no_confidence() -> None:
    with pytest.raises(ConfigError, match=r"is 100; h100-sxm has 74\.51"):
        make_plan(WORKLOAD, replace(REQUEST, memory_per_device_gib=100))
    with pytest.raises(ConfigError, match=r"confidence is nan; must be above 0\.5"):
        make_plan(WORKLOAD, replace(REQUEST, confidence=math.nan))


def test_a_thousand_gpus_are_planned_where_none_is_present() -> None:
    """The row of 22 GFLOP/example of the paper's Table 5: tables of 627.65e9 weights in FP16."""
    categorical = tuple(CategoricalFeature(name=f"c{i}", cardinality=5448351) for i in range(720))
    workload = Workload(
        columns={"layers": 8, "n_F": 96, "n_L": 96, "k": 96, "mlp_depth": 3, "mlp_width": 8192,
                 "d": 160, "head_depth": 3, "head_width": 8192},
        schema=InputSchema(categorical=categorical),
        base=Training(
            table_backend="fused", table_optimizer="rowwise_adagrad", table_precision="fp16",
            precision="bf16",
        ),
        batch_size=262144,
        gflop_per_example=25.24,
    )  # fmt: skip
    counts = tuple(2**i for i in range(3, 11))
    request = PlanRequest(hardware="h100-sxm", devices=counts, examples=1e12, minimize="hours")
    plan = make_plan(workload, request)
    assert plan.best.system.devices == 1024
    # 16 devices hold 627.65e9 weights of two bytes in 73 GiB each: more than nine tenths of 80 GB.
    assert usable_gib(load_hardware("h100-sxm")) < 2 * 627.65e9 / 16 / 2**30
    fits = {each.system.devices: each.within_budgets for each in plan.by_devices}
    assert (fits[8], fits[16], fits[1024]) == (False, False, True)
    tables_gib = plan.memory_parts_gib["tables"]
    # 720 tables on 1,024 devices: each has one at most, whole.
    assert tables_gib == pytest.approx(5448351 * 160 * 2 / 2**30, rel=1e-9)


def test_where_nothing_fits_the_tightest_budget_and_the_nearest_system_are_named() -> None:
    with pytest.raises(InfeasibleError) as caught:
        make_plan(WORKLOAD, replace(REQUEST, memory_per_device_gib=0.5))
    said = caught.value.what
    least = min(one["memory"] for one in EVERY)
    assert "the tightest is memory_per_device_gib" in said
    assert f"needs up to {least:,.4g} GiB a device, 0.5 are allowed" in said
    assert "64 devices" in said
    with pytest.raises(InfeasibleError, match=r"tightest is step_ms: .* 0\.001 are allowed"):
        make_plan(WORKLOAD, replace(REQUEST, step_ms=0.001))


def test_what_cannot_be_chosen_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no system of 64 devices for batches of 32 examples"):
        make_plan(WORKLOAD, replace(REQUEST, devices=(64,), batch_sizes=(32,)))
    with pytest.raises(ConfigError, match="must divide all devices"):
        make_plan(WORKLOAD, replace(REQUEST, choices={"dense_shard_ranks": (7,)}))
    with pytest.raises(ConfigError, match=r"hardware 'h100-sxn' is unknown"):
        make_plan(WORKLOAD, replace(REQUEST, hardware="h100-sxn"))


def test_predictions_of_a_plan_are_those_of_the_predictor() -> None:
    plan = make_plan(WORKLOAD, replace(REQUEST, devices=(16,)))
    system = plan.best.system
    spec = HardwareSpec(name="h100-sxm", precision=system.precision, devices=16)  # type: ignore[arg-type]
    on = {
        **WORKLOAD.columns, **system.train_settings(), "batch_size": np.array([system.batch_size]),
        "table_backend": "fused", "table_optimizer": "sgd",
    }  # fmt: skip
    found = Predictor.for_hardware(spec).predict(on, on, SCHEMA, confidence=0.9)
    for name in ("memory_per_device_gib", "examples_per_s"):
        assert plan.best.figures[name] == found[name][0]
