"""Wukong on one data set, as the framework sees it: knobs, metrics, exact costs, one training.

The only module of this package that knows `codesign.contracts`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.contracts import Columns, CostPart, Design, Knob, Metric, Outcome, Progress
from codesign.errors import ConfigError
from cost_models import exact
from wukong import knobs
from wukong.data import sources
from wukong.shape import TableGroup, TableOverride, WukongConfig, input_rows
from wukong.train_config import TrainConfig

if TYPE_CHECKING:
    from wukong.data.dataset import DataSet
    from wukong.train import TrainProgress, TrainResult

SPLITS = ("train", "validation", "test")
SOURCES = sources.SOURCES
# What the cost model will predict; refused by name until it exists.
NOT_YET_PREDICTED = ("memory_per_device_gib", "examples_per_s", "latency_ms")


def _metric(name: str, unit: str, goal: str, source: str, meaning: str) -> tuple[str, Metric]:
    return name, Metric(name=name, unit=unit, goal=goal, source=source, meaning=meaning)  # type: ignore[arg-type]


METRICS: Mapping[str, Metric] = dict(
    [
        _metric("log_loss", "nat", "minimize", "learned", "log loss on validation"),
        _metric("auc", "", "maximize", "learned", "area under the ROC curve on validation"),
        _metric("normalized_entropy", "", "minimize", "learned",
                "log loss on validation over the entropy of train's base rate"),
        _metric("gflop_per_example", "GFLOP", "minimize", "exact",
                "forward + backward of the dense part"),
        _metric("parameters", "", "minimize", "exact", "weights in all"),
        _metric("dense_parameters", "", "minimize", "exact", "weights outside the tables"),
        _metric("table_parameters", "", "minimize", "exact", "weights of the tables"),
        _metric("table_bytes", "B", "minimize", "exact", "bytes of the tables in FP32"),
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
        kind, choices = _kind(hint)
        found[name] = Knob(
            kind=kind,
            meaning=meaning,
            low=low,
            high=high,
            choices=choices,
            counted_by=knobs.COUNTED_BY.get(name, ""),
            affects_cost=config is WukongConfig and name not in knobs.COST_FREE,
        )
    return found


def _kind(hint: Any) -> tuple[Any, tuple[str, ...]]:
    if typing.get_origin(hint) is typing.Literal:
        return "choice", tuple(typing.get_args(hint))
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
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


class WukongTask:
    """Satisfies `codesign.contracts.Task`.

    Args:
        model: fixed fields of WukongConfig.
        train: fixed fields of TrainConfig.
        data: the prepared data set.
        data_name: what people call it.
    """

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        train: Mapping[str, Any],
        data: DataSet,
        data_name: str = "",
    ) -> None:
        self.knobs = KNOBS
        self.metrics = METRICS
        self._model = _model_settings(model)
        self._train = dict(train)
        self._data = data
        self._data_name = data_name or data.name

    def configs(self, design: Design) -> tuple[WukongConfig, TrainConfig]:
        """Merge the fixed settings with a design.

        Raises:
            ConfigError: the combination cannot be.
        """
        columns = {name: np.array([value]) for name, value in design.items()}
        settings = {k: v for k, v in design.items() if k in SETTINGS["train"]}
        shape: dict[str, Any] = {k: v for k, v in design.items() if k in SETTINGS["model"]}
        for name, values in layered(columns, self._model).items():
            shape[name] = tuple(int(value) for value in values[0])
        return (
            WukongConfig(**{**self._model, **shape}),
            TrainConfig(**{**self._train, **settings}),
        )

    def settings(self, design: Design) -> Mapping[str, Any]:
        """Everything that decides what a trial of the design measures, defaults filled in."""
        model, train = self.configs(design)
        found = {**vars(model), **vars(train)}
        del found["checkpoint_min"]
        for name, counter in knobs.COUNTED_BY.items():
            if not isinstance(found[name], tuple):
                found[name] = (found[name],) * found[counter]
        return found

    def check(self, design: Design) -> list[str]:
        """Say what is wrong with a complete design."""
        try:
            model, _ = self.configs(design)
            input_rows(model, self._data.schema)
        except ConfigError as error:
            return error.what.splitlines()
        return []

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Count each design exactly (see `cost_models.exact.costs`)."""
        return self._rows(exact.costs(self._merged(columns), self._data.schema), columns)

    def cost_floor(self, low: Columns, high: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Bound costs from below over boxes (see `cost_models.exact.cost_floor`)."""
        floor = exact.cost_floor(self._merged(low), self._merged(high), self._data.schema)
        return self._rows(floor, low)

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

    def facts(self) -> Mapping[str, Any]:
        """Describe the data set."""
        return {
            "data": self._data_name,
            "rows": {split: self._data.rows(split) for split in SPLITS},
            "base_rate": self._data.base_rate,
            "split": self._data.split_rule,
            "source_md5": dict(self._data.source_md5),
            "one_hot_features": len(self._data.schema.one_hot),
            "multi_hot_features": len(self._data.schema.multi_hot),
            "dense_features": len(self._data.schema.dense),
            **self._data.facts,
        }

    def run(
        self,
        design: Design,
        *,
        seed: int,
        folder: Path,
        earlier: Sequence[Path],
        report: Callable[[Progress], None],
    ) -> Outcome:
        """Train one design, from its last checkpoint on, and evaluate it on validation and test."""
        import torch

        from wukong.train import train

        def passed_on(progress: TrainProgress) -> None:
            report(_progress(progress))

        model, settings = self.configs(design)
        schema = self._data.schema
        result = train(
            model,
            schema,
            self._data,
            settings,
            seed=seed,
            folder=folder,
            earlier=earlier,
            report=passed_on,
        )
        return _outcome(result, settings.threads or torch.get_num_threads())

    def _merged(self, columns: Columns) -> dict[str, Any]:
        shape = {k: v for k, v in columns.items() if k in SETTINGS["model"]}
        return {**self._model, **shape, **layered(columns, self._model)}

    @staticmethod
    def _rows(costs: dict[str, Any], columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        rows = len(next(iter(columns.values())))
        return {name: np.broadcast_to(values, (rows,)) for name, values in costs.items()}


def layered(columns: Columns, model: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Join what the space holds layer by layer: `n_F[1]`, `n_F[2]`, …, or `n_F` with `n_F.taper`.

    Args:
        columns: knob → values (N,).
        model: fixed settings, for what the columns leave out.

    Returns:
        Field of WukongConfig → (N, layers), as many layers as the deepest design has.
    """
    found = {}
    for name, counter in knobs.COUNTED_BY.items():
        counts = np.asarray(columns.get(counter, model.get(counter, 0)))
        layers = range(int(counts.max()))
        if not layers:
            continue
        if f"{name}[1]" in columns:
            found[name] = np.stack([columns[f"{name}[{i + 1}]"] for i in layers], axis=1)
        elif f"{name}.taper" in columns:
            first = np.asarray(columns.get(name, model.get(name)), dtype=float)
            taper = np.asarray(columns[f"{name}.taper"])
            each = [np.round(first * taper**i) for i in layers]
            found[name] = np.maximum(np.stack(each, axis=1), 1)
    return found


def _progress(progress: TrainProgress) -> Progress:
    return Progress(
        done=progress.examples,
        total=progress.total_examples,
        metrics={"auc": progress.validation_auc, "log_loss": progress.validation_log_loss},
    )


def _outcome(result: TrainResult, threads: int) -> Outcome:
    """Flatten a result: validation under the metrics' own names, test as `test_…`."""
    facts = {
        "best_step": result.best_step,
        "steps": result.steps,
        "examples_seen": result.examples_seen,
        "resumed_at_step": result.resumed_at_step,
        "warnings": result.warnings,
        # Sums over threads are not the same to the last bit on another number of them.
        "chosen_train_settings": {"threads": threads},
    }
    if result.validation is None or result.test is None:
        return Outcome(failure="diverged", reason=result.reason, facts=facts)
    test = {f"test_{name}": value for name, value in dataclasses.asdict(result.test).items()}
    metrics = {
        **dataclasses.asdict(result.validation),
        **test,
        "examples_per_s": result.examples_per_s,
        "train_seconds": result.train_seconds,
    }
    return Outcome(metrics=metrics, facts=facts)


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


def _model_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn plain YAML values into field values: lists into tuples, mappings into dataclasses.

    Raises:
        ConfigError: a layout of tables has not the form it must have.
    """
    built: dict[str, Any] = {}
    for name, value in settings.items():
        if name in knobs.LAYOUTS:
            entry = TableOverride if name == "tables" else TableGroup
            built[name] = _layout(name, value, entry)
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
    return built


def _layout(name: str, entries: Any, entry: type) -> tuple[Any, ...]:
    fields = ", ".join(field.name for field in dataclasses.fields(entry))
    try:
        return tuple(
            entry(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()})
            for one in entries
        )
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"model.{name} is {entries!r}; must be a list of mappings with {fields}"
        ) from error
