"""A model of the user's own on one data set, as the framework sees it.

It differs from Wukong in what its knobs are (the keyword arguments of the function that builds it)
and in how it is counted (by tracing, see `wukong.own.counts`); all else is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import numpy as np

from codesign.contracts import Columns, CostPart, Design, HardwareSpec, Knob, Metric, PlanRequest
from codesign.errors import ConfigError
from wukong import knobs
from wukong.data import sources
from wukong.data_task import DataTask
from wukong.own.signature import OwnModel, own_model
from wukong.task import METRICS, NOT_YET_PREDICTED, SETTINGS, SOURCES

if TYPE_CHECKING:
    from torch import nn

    from wukong.data.batch import Batch
    from wukong.data.dataset import DataSet
    from wukong.learner import Builder
    from wukong.parallel.ranks import Ranks

T = TypeVar("T")
# How Wukong's tables are made; a model of one's own makes its own.
TRAIN: Mapping[str, Knob | None] = {
    name: knob for name, knob in SETTINGS["train"].items() if name not in knobs.WUKONG_ONLY
}
# What tracing counts.
COSTS = (
    "gflop_per_example", "parameters", "dense_parameters", "table_parameters", "table_bytes"
)  # fmt: skip
OWN_METRICS: Mapping[str, Metric] = {
    name: metric for name, metric in METRICS.items() if metric.source == "learned" or name in COSTS
}


@dataclass(frozen=True, kw_only=True)
class OwnFamily:
    """Satisfies `codesign.contracts.TaskFamily`."""

    model: OwnModel
    KNOBS: Mapping[str, Knob]
    SETTINGS: Mapping[str, Mapping[str, Knob | None]]
    SOURCES: Collection[str] = SOURCES
    METRICS: Mapping[str, Metric]
    NOT_YET_PREDICTED: Collection[str]

    def predictor(self, hardware: HardwareSpec) -> NoReturn:
        """Refuse: nothing is predicted for a model of one's own.

        Raises:
            ConfigError: always.
        """
        raise _not_predicted(hardware.name)

    def make(
        self, *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
    ) -> OwnTask:
        """Prepare the data (or find it prepared) and bind the fixed settings to it.

        Raises:
            DataError: the data cannot be had.
        """
        data = sources.open_data(source, None if path is None else Path(path))
        name = source if path is None else Path(path).name
        return OwnTask(own=self.model, model=model, train=train, data=data, data_name=name)


def family(name: str) -> OwnFamily:
    """Import what builds the models, `package.module:name`, and read its arguments.

    Raises:
        ConfigError: there is none, or its arguments cannot be knobs; lists every mistake.
    """
    model = own_model(name, reserved={"name", *SETTINGS["train"]})
    searched = {one: knob for one, knob in TRAIN.items() if knob and one not in knobs.FIXED}
    return OwnFamily(
        model=model,
        KNOBS={**model.knobs, **searched},
        SETTINGS={"model": model.knobs, "train": TRAIN},
        METRICS=OWN_METRICS,
        NOT_YET_PREDICTED={*NOT_YET_PREDICTED, *METRICS} - OWN_METRICS.keys(),
    )


def _not_predicted(hardware: str) -> ConfigError:
    return ConfigError(f"nothing is predicted on {hardware} for a model of one's own")


class OwnTask(DataTask):
    """Satisfies `codesign.contracts.Task`; no bound of its costs is known.

    Args:
        own: what builds the models.
        model: its fixed arguments.
        train, data, data_name: see `DataTask`.
    """

    cost_floor = None

    def __init__(
        self,
        *,
        own: OwnModel,
        model: Mapping[str, Any],
        train: Mapping[str, Any],
        data: DataSet,
        data_name: str = "",
    ) -> None:
        super().__init__(train=train, data=data, data_name=data_name)
        self.knobs, self.metrics = {**own.knobs, **TRAIN}, OWN_METRICS
        self._own = own
        self._model = dict(model)
        self._counted: dict[tuple[tuple[str, Any], ...], tuple[float, ...]] = {}

    def model(self, design: Design) -> Builder:
        """Return what builds the model of a design; see `DataTask.model`."""
        return partial(self._own.make, arguments=self._complete(design))

    def expected_memory(self, _design: Design, _ranks: Ranks) -> None:
        """Nothing is predicted; see `DataTask.expected_memory`."""

    def settings(self, design: Design) -> Mapping[str, Any]:
        """Everything that decides what a trial of the design measures, defaults filled in."""
        return {**self._complete(design), **self.train_settings(design)}

    def check_model(self, design: Design) -> None:
        """See `DataTask.check_model`; whether the model can be built shows when it is counted."""
        given = self._complete(design)
        missing = [name for name in self._own.knobs if name not in given]
        if missing:
            raise ConfigError(
                "\n".join(
                    f"{name} has no default; must stand in model or in space" for name in missing
                )
            )

    def costs(self, columns: Columns) -> dict[str, np.ndarray[Any, Any]]:
        """Count each design exactly (see `wukong.own.counts.count`), each once.

        Raises:
            ConfigError: names the design that cannot be built or counted.
        """
        rows = len(next(iter(columns.values())))
        names = [name for name in columns if name in self._own.knobs]
        values = zip(*(np.asarray(columns[name]).tolist() for name in names), strict=True)
        designs = [dict(zip(names, row, strict=True)) for row in values] or [{}] * rows
        counted = np.array([self._count(self._arguments(design)) for design in designs])
        return dict(zip(COSTS, counted.T, strict=True))

    def plan(
        self,
        _design: Design,
        request: PlanRequest,
        *,
        say: Callable[[str], None],  # noqa: ARG002
    ) -> NoReturn:
        """Refuse: nothing is predicted for a model of one's own.

        Raises:
            ConfigError: always.
        """
        raise _not_predicted(request.hardware)

    def cost_parts(self, design: Design) -> list[CostPart]:
        """Count one design part by part (see `wukong.own.counts.parts`)."""
        from wukong.own.counts import parts

        return self._traced(parts, self._arguments(design))

    def facts(self) -> Mapping[str, Any]:
        """Describe the data set; the file that builds the models counts as one of its files."""
        facts = super().facts()
        md5 = {self._own.name: self._own.source_md5} if self._own.source_md5 else {}
        return {**facts, "source_md5": {**facts["source_md5"], **md5}}

    def _complete(self, design: Design) -> dict[str, Any]:
        return {**self._own.defaults, **self._arguments(design)}

    def _arguments(self, design: Design) -> dict[str, Any]:
        searched = {name: v for name, v in design.items() if name in self._own.knobs}
        return {**self._model, **searched}

    def _count(self, arguments: dict[str, Any]) -> tuple[float, ...]:
        from wukong.own.counts import count

        key = tuple(sorted(arguments.items()))
        if key not in self._counted:
            found = self._traced(count, arguments)
            self._counted[key] = tuple(found[name] for name in COSTS)
        return self._counted[key]

    def _traced(self, look: Callable[[nn.Module, Batch], T], arguments: dict[str, Any]) -> T:
        from cost_models.operations.trace import TraceError
        from wukong.own.counts import on_meta_device

        shown = ", ".join(f"{name} {value}" for name, value in arguments.items()) or "its defaults"
        where = f"{self._own.name} with {shown}"
        try:
            model = on_meta_device(lambda: self._own.make(self._data.schema, arguments))
            return look(model, self._batch)
        except TraceError as error:
            raise ConfigError(
                f"cannot be counted: {error.what}",
                where=where,
                hint="build and forward may read values of the batch, but none of a weight",
            ) from error
        except ValueError as error:
            what = error.what if isinstance(error, ConfigError) else str(error)
            raise ConfigError(f"cannot be: {what}", where=where) from error
        except RuntimeError as error:  # a bug in the model, such as shapes that do not fit
            error.add_note(f"while counting {where}")
            raise

    @cached_property
    def _batch(self) -> Batch:
        from wukong.own.counts import EXAMPLES

        return next(self._data.batches("train", EXAMPLES, shuffle=False))
