"""Wukong on one data set, as the framework sees it: knobs, metrics, exact costs, one training.

Only this module, `wukong.data_task` and `wukong.own` know `codesign.contracts` in this package.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.contracts import (
    BestSystem,
    Columns,
    CostPart,
    Design,
    Knob,
    Metric,
    PlanRequest,
    PredictionColumns,
)
from codesign.errors import ConfigError
from cost_models import exact
from cost_models.memory.peak import peak_parts
from cost_models.planner.evaluate import Workload
from cost_models.planner.finalists import best_systems
from cost_models.planner.plan import make_plan
from cost_models.planner.system import Choices
from cost_models.predict import Predictor
from cost_models.training import FP32_BYTES, Training
from wukong import knobs
from wukong.data import sources
from wukong.data_task import DataTask
from wukong.settings import layered, model_settings
from wukong.shape import WukongConfig, input_rows, table_specs
from wukong.train_config import MONITORS, TrainConfig

if TYPE_CHECKING:
    from wukong.data.dataset import DataSet
    from wukong.device.memory import ExpectedMemory
    from wukong.parallel.ranks import Ranks

SOURCES = sources.SOURCES
NOT_YET_PREDICTED = ()
predictor = Predictor.for_hardware
# What a planner chooses, besides devices and batch.
CHOSEN = tuple(field.name for field in dataclasses.fields(Choices))
_KIND_NAMES = {bool: "true or false", int: "a whole number", str: "text"}
_TRAIN_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}


def _learned(name: str, unit: str, meaning: str) -> tuple[str, Metric]:
    return _metric(name, unit, MONITORS[name], "learned", meaning)


def _metric(name: str, unit: str, goal: str, source: str, meaning: str) -> tuple[str, Metric]:
    return name, Metric(name=name, unit=unit, goal=goal, source=source, meaning=meaning)  # type: ignore[arg-type]


METRICS: Mapping[str, Metric] = dict(
    [
        _learned("log_loss", "nat", "log loss on validation"),
        _learned("auc", "", "area under the ROC curve on validation"),
        _learned("normalized_entropy", "",
                 "log loss on validation over the entropy of train's base rate"),
        _learned("calibration_error", "",
                 "distance of ln(mean predicted probability / observed rate) from 0 on validation"),
        _learned("grouped_auc", "", "AUC within each group on validation, mean by examples"),
        _metric("gflop_per_example", "GFLOP", "minimize", "exact",
                "forward + backward of the dense part"),
        _metric("parameters", "", "minimize", "exact", "weights in all"),
        _metric("dense_parameters", "", "minimize", "exact", "weights outside the tables"),
        _metric("table_parameters", "", "minimize", "exact", "weights of the tables"),
        _metric("table_bytes", "B", "minimize", "exact", "bytes of the tables in FP32"),
        _metric("memory_per_device_gib", "GiB", "minimize", "predicted",
                "peak of a training step on one device: tensors and what its allocator adds"),
        _metric("examples_per_s", "1/s", "maximize", "predicted",
                "throughput of training on one device"),
        _metric("latency_ms", "ms", "minimize", "predicted",
                "forward pass of hardware.latency_batch examples"),
    ]
)  # fmt: skip


def _knobs(config: type) -> dict[str, Knob]:
    """One knob per scalar field of a config dataclass, its kind read off the annotation."""
    found = {}
    ranges = {**knobs.MODEL_RANGES, **knobs.TRAIN_RANGES}
    meanings = {**knobs.MODEL_SWITCHES, **knobs.TRAIN_SWITCHES, **knobs.FIXED_SWITCHES}
    for name, hint in typing.get_type_hints(config).items():
        if name not in ranges and name not in meanings:
            continue
        low, high, meaning = ranges.get(name, (None, None, meanings.get(name, "")))
        kind, choices = kind_of(hint)
        counted = config is WukongConfig and name not in knobs.COST_FREE
        found[name] = Knob(
            kind=kind,
            meaning=meaning,
            low=low,
            high=high,
            choices=choices,
            counted_by=knobs.COUNTED_BY.get(name, ""),
            affects_cost=counted,
            affects_prediction=counted or name in knobs.COST_PREDICTED,
        )
    return found


def kind_of(hint: Any) -> tuple[Any, tuple[str, ...]]:
    """Read the kind of a knob, and its choices, off an annotation.

    Raises:
        TypeError: there is no such kind.
    """
    if typing.get_origin(hint) is typing.Literal:
        return "choice", tuple(typing.get_args(hint))
    if hint is str:
        return "metric", tuple(MONITORS)
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    members = typing.get_args(hint) if is_union else (hint,)
    for kind in (bool, float, int):
        if kind in members:
            return ("flag" if kind is bool else kind.__name__), ()
    raise TypeError(f"no knob kind for {hint}")


# section → everything that may be fixed there; None: a layout with a form of its own.
SETTINGS: Mapping[str, Mapping[str, Knob | None]] = {
    "model": {**dict.fromkeys(knobs.LAYOUTS), **_knobs(WukongConfig)},
    "train": _knobs(TrainConfig),
}
KNOBS: Mapping[str, Knob] = {
    name: knob
    for section in SETTINGS.values()
    for name, knob in section.items()
    if knob is not None and name not in knobs.FIXED
}


class WukongTask(DataTask):
    """Satisfies `codesign.contracts.Task`.

    Args:
        model: fixed fields of WukongConfig.
        train, data, data_name: see `DataTask`.
    """

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        train: Mapping[str, Any],
        data: DataSet,
        data_name: str = "",
    ) -> None:
        super().__init__(train=train, data=data, data_name=data_name)
        self.knobs, self.metrics = KNOBS, METRICS
        self._model = model_settings(model)

    def model(self, design: Design) -> WukongConfig:
        """Merge the fixed settings of the model with a design; see `DataTask.model`."""
        columns = {name: np.array([value]) for name, value in design.items()}
        shape: dict[str, Any] = {k: v for k, v in design.items() if k in SETTINGS["model"]}
        for name, values in layered(columns, self._model).items():
            shape[name] = tuple(int(value) for value in values[0])
        return WukongConfig(**{**self._model, **shape})

    def settings(self, design: Design) -> Mapping[str, Any]:
        """Everything that decides what a trial of the design measures, defaults filled in."""
        found = {**vars(self.model(design)), **self.train_settings(design)}
        for name, counter in knobs.COUNTED_BY.items():
            if not isinstance(found[name], tuple):
                found[name] = (found[name],) * found[counter]
        return found

    def check_model(self, design: Design) -> None:
        """See `DataTask.check_model`."""
        input_rows(self.model(design), self._data.schema)

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Count each design exactly (see `cost_models.exact.costs`)."""
        return self._rows(exact.costs(self._merged(columns), self._data.schema), columns)

    def cost_floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Bound costs from below over boxes (see `cost_models.exact.cost_floor`)."""
        floor = exact.cost_floor(self._merged(low), self._merged(high), self._data.schema)
        return self._rows(floor, low)

    def predict(
        self, predictor: Predictor, low: Columns, high: Columns, *, confidence: float
    ) -> dict[str, PredictionColumns]:
        """Predict memory, throughput and latency (see `cost_models.predict`)."""
        bottom, top = (self._with_training(end) for end in (low, high))
        return predictor.predict(bottom, top, self._data.schema, confidence=confidence)

    def step_parts_ms(self, predictor: Predictor, design: Design) -> dict[str, float]:
        """Predict what a training step consists of (see `cost_models.times.step`)."""
        columns = {name: np.array([value]) for name, value in design.items()}
        return predictor.step_parts_ms(self._with_training(columns), self._data.schema)

    def best_systems(
        self,
        predictor: Predictor,
        columns: Columns,
        *,
        confidence: float,
        budgets: Mapping[str, float],
    ) -> list[BestSystem]:
        """Choose for each design its best system (see `cost_models.planner.finalists`)."""
        settings = self._with_training(columns)
        return best_systems(
            predictor,
            {**settings, **self._rows({"batch_size": settings["batch_size"]}, columns)},
            self._data.schema,
            confidence=confidence,
            budgets=budgets,
            metrics=self.metrics,
        )

    def plan(
        self, design: Design, request: PlanRequest, *, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Choose the system to train a design on (see `cost_models.planner.plan`)."""
        columns = self._merged({name: np.array([value]) for name, value in design.items()})
        config = self.train_config(design)
        _check_choices(config, request)
        workload = Workload(
            columns=columns,
            schema=self._data.schema,
            base=Training.of(vars(config)),
            batch_size=config.batch_size,
            gflop_per_example=float(
                exact.costs(columns, self._data.schema)["gflop_per_example"].item()
            ),
        )
        return make_plan(workload, request, say=say).to_json()

    def expected_memory(self, design: Design, ranks: Ranks) -> ExpectedMemory:
        """Predict the peak of a run, the best weights kept beside it."""
        from wukong.device.memory import ExpectedMemory

        columns = self._merged({name: np.array([value]) for name, value in design.items()})
        settings = self.train_config(design)
        on_cpu = ranks.device.type == "cpu"
        training = Training.of(vars(settings), ranks=ranks.world, on_cpu=on_cpu)
        batch = np.array([float(settings.batch_size)])
        found = peak_parts(columns, self._data.schema, batch=batch, training=training)
        step = {name: float(sizes.max()) for name, sizes in found.items()}
        step["best weights so far"] = step["tables"] + step["dense weights"]
        # Each table is made whole on the CPU, and its parts are handed to where they belong.
        specs = table_specs(self.model(design), self._data.schema)
        largest = max((spec.cardinality * spec.width for spec in specs), default=0)
        start = {name: step[name] for name in ("tables", "table states")}
        if ranks.device.type == "cpu":
            start["the largest table while it is made"] = float(FP32_BYTES * largest)
        parts = max(step, start, key=lambda each: sum(each.values()))
        return ExpectedMemory(parts=parts, label=f"closed form, {training.summary}")

    def cost_parts(self, design: Design) -> list[CostPart]:
        """Count one design part by part (see `cost_models.exact.parts`)."""
        columns = {name: np.array([value]) for name, value in design.items()}
        return [
            CostPart(
                name=part.name,
                layer=part.layer,
                layers_alike=int(part.alike.max()),
                flop_per_example=float(part.flop.max()),
                parameters=float(part.parameters.max()),
            )
            for part in exact.parts(self._merged(columns), self._data.schema)
        ]

    def _merged(self, columns: Columns) -> dict[str, Any]:
        shape = {k: v for k, v in columns.items() if k in SETTINGS["model"]}
        return {**self._model, **shape, **layered(columns, self._model)}

    def _with_training(self, columns: Columns) -> dict[str, Any]:
        return {**_TRAIN_DEFAULTS, **self._train, **columns, **self._merged(columns)}

    @staticmethod
    def _rows(costs: dict[str, Any], columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        rows = len(next(iter(columns.values())))
        return {name: np.broadcast_to(values, (rows,)) for name, values in costs.items()}


def _check_choices(config: TrainConfig, request: PlanRequest) -> None:
    """Refuse what cannot be chosen, all of it at once.

    Raises:
        ConfigError: a field is none that a planner chooses, or a value is none of its.
    """
    mistakes = []
    for name, values in request.choices.items():
        if name not in CHOSEN:
            mistakes.append(f"{name} cannot be chosen; must be one of {', '.join(CHOSEN)}")
            continue
        for value in values:
            kind = type(getattr(TrainConfig, name))
            try:
                if type(value) is not kind:
                    raise ConfigError(f"{name} is {value!r}; must be {_KIND_NAMES[kind]}")
                dataclasses.replace(config, **{name: value})
            except ConfigError as error:
                mistakes += error.what.splitlines()
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)), where="plan")


def make(
    *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
) -> WukongTask:
    """Prepare the data (or find it prepared) and bind the fixed settings to it.

    Raises:
        ConfigError: a setting is unknown or impossible.
        DataError: the data cannot be had.
    """
    data = sources.open_data(source, None if path is None else Path(path))
    name = source if path is None else Path(path).name
    return WukongTask(model=model, train=train, data=data, data_name=name)
