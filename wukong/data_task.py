"""What every model on a prepared data set shares, as the framework sees it."""

from __future__ import annotations

import dataclasses
import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.contracts import TEST_LOSSES, Design, Outcome, Progress
from codesign.errors import ConfigError
from cost_models.hardware import reported_as
from wukong.checkpoint import folders
from wukong.data.columns import SPLITS
from wukong.train_config import TrainConfig

if TYPE_CHECKING:
    from wukong.curve import TrainProgress
    from wukong.data.dataset import DataSet
    from wukong.device.memory import ExpectedMemory
    from wukong.embeddings import Cluster
    from wukong.learner import Builder
    from wukong.parallel.ranks import Ranks
    from wukong.schema import InputSchema
    from wukong.shape import WukongConfig
    from wukong.train_result import TrainResult

GIB = 2**30


class DataTask(ABC):
    """Training, metrics and facts; a model adds its knobs and costs.

    Args:
        train: fixed fields of TrainConfig.
        data: the prepared data set.
        data_name: what people call it.
    """

    def __init__(self, *, train: Mapping[str, Any], data: DataSet, data_name: str = "") -> None:
        self._train = dict(train)
        self._data = data
        self._data_name = data_name or data.name

    @property
    def schema(self) -> InputSchema:
        """Features and tasks of the data."""
        return self._data.schema

    @abstractmethod
    def model(self, design: Design) -> WukongConfig | Builder:
        """Return what `wukong.train.train` makes the model of a design from.

        Raises:
            ConfigError: the combination cannot be.
        """

    def train_config(self, design: Design) -> TrainConfig:
        """Merge the fixed training settings with a design.

        Raises:
            ConfigError: the combination cannot be.
        """
        names = {field.name for field in dataclasses.fields(TrainConfig)}
        searched = {name: value for name, value in design.items() if name in names}
        return TrainConfig(**{**self._train, **searched})

    def train_settings(self, design: Design) -> dict[str, Any]:
        """Return the training settings that decide what a trial measures."""
        found = dict(vars(self.train_config(design)))
        del found["checkpoint_min"]
        return found

    @abstractmethod
    def expected_memory(self, design: Design, ranks: Ranks) -> ExpectedMemory | None:
        """Predict what training the design holds at its peak; None: nothing is predicted."""

    @abstractmethod
    def check_model(self, design: Design) -> None:
        """Refuse a complete design whose model cannot be.

        Raises:
            ConfigError: says why.
        """

    def check(self, design: Design) -> list[str]:
        """Say what is wrong with a complete design."""
        try:
            self.check_model(design)
            settings = self.train_config(design)
        except ConfigError as error:
            return error.what.splitlines()
        found = self.check_metric(settings.monitor)
        return [f"monitor is {settings.monitor!r}; {complaint}" for complaint in found]

    def check_metric(self, name: str) -> list[str]:
        """Say why the data cannot have a learned metric: no such task, no groups."""
        metric, _, task = name.partition(".")
        names = [f"{metric}.{known}" for known in self._data.schema.tasks]
        if metric == "grouped_auc" and not self._data.has_groups:
            needed = "needs groups, which the data do not have; describe a column of type group"
            return [f"{needed} (batches of one's own: give group_B), or choose another metric"]
        if task and len(names) == 1:
            return [f"names a task, but the data have one only; must be {metric}"]
        if task and name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            return [f"must be one of {', '.join(names)}; did you mean {near[0]!r}?"]
        return []

    def examples(self, design: Design) -> float:
        """Count the examples of all passes; a run that stops early sees fewer."""
        return float(self.train_config(design).passes * self._data.rows("train"))

    def facts(self) -> Mapping[str, Any]:
        """Describe the data set."""
        given = self._data.tasks
        tasks = {f" of {task.name}" if len(given) > 1 else "": task for task in given}
        return {
            "data": self._data_name,
            "rows": {split: self._data.rows(split) for split in SPLITS},
            **{f"base_rate{of}": task.base_rate for of, task in tasks.items()},
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
        until: float = 1.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Train one design, from its last checkpoint on, and evaluate it on validation and test.

        Of a run that pauses the figures are those on validation, of the weights there.
        """
        import torch

        from wukong.device.compute import pick_device
        from wukong.device.memory import DoesNotFitError
        from wukong.parallel.rendezvous import joined
        from wukong.train import train

        settings = self.train_config(design)
        with joined(pick_device(settings.device)) as ranks:
            expected = self.expected_memory(design, ranks)
            try:
                result = train(
                    self.model(design),
                    self._data.schema,
                    self._data,
                    settings,
                    seed=seed,
                    folder=folder,
                    earlier=earlier,
                    until=until,
                    stop=stop,
                    report=lambda progress: report(_progress(progress)),
                    expected=expected,
                    cluster=_cluster(ranks),
                )
            except DoesNotFitError as error:
                return Outcome(failure="out_of_memory", reason=f"{error.what}; {error.hint}")
        if result.test_losses is not None and ranks.is_first:
            np.save(folder / TEST_LOSSES, result.test_losses)
        threads = settings.threads or torch.get_num_threads()
        outcome = _outcome(result, ranks, threads, memory=_memory_facts(result, expected))
        return dataclasses.replace(outcome, share=until if result.paused else 1.0)

    def discard(self, attempts: Sequence[Path]) -> None:
        """Remove the checkpoints of a paused run."""
        folders.remove(attempts)


# What the planner of tables calls the figures of links in a hardware file.
_LINKS = {
    "intra_node_bytes_per_s": "link_bytes_per_s",
    "inter_node_bytes_per_s": "network_bytes_per_s",
    "intra_node_latency_s": "link_latency_s",
    "inter_node_latency_s": "network_latency_s",
}


def _cluster(ranks: Ranks) -> Cluster:
    """What the planner of tables is to know of the device at hand and of the ranks' nodes."""
    from wukong.embeddings import Cluster

    found = cluster_of(_device_name(ranks)) or Cluster()
    on_node = os.environ.get("LOCAL_WORLD_SIZE")
    return dataclasses.replace(found, ranks_per_node=int(on_node)) if on_node else found


def cluster_of(reported: str) -> Cluster | None:
    """Return what the shipped files know of a device under the name that torch has for it."""
    from wukong.embeddings import Cluster

    device = reported_as(reported)
    if device is None:
        return None
    figures = {ours: getattr(device, theirs) for ours, theirs in _LINKS.items()}
    neighbours = device.devices_per_node
    return Cluster(
        memory_bytes_per_s=device.bytes_per_s.value,
        ranks_per_node=None if neighbours is None else int(neighbours.value),
        **{ours: figure.value for ours, figure in figures.items() if figure is not None},
    )


def _device_name(ranks: Ranks) -> str:
    import torch

    if ranks.device.type == "cpu":
        return "cpu"
    return torch.cuda.get_device_name(ranks.device)


def _progress(progress: TrainProgress) -> Progress:
    return Progress(
        done=progress.examples,
        total=progress.total_examples,
        metrics={
            "auc": progress.validation_auc,
            "log_loss": progress.validation_log_loss,
            **progress.by_task,
        },
    )


def _outcome(
    result: TrainResult, ranks: Ranks, threads: int, *, memory: Mapping[str, Any]
) -> Outcome:
    """Flatten a result: validation under the metrics' own names, test as `test_…`."""
    facts = {
        "best_step": result.best_step,
        "steps": result.steps,
        "examples_seen": result.examples_seen,
        "resumed_at_step": result.resumed_at_step,
        "warnings": result.warnings,
        "processes": ranks.world,
        "device": _device_name(ranks),
        "memory": memory,
        **_table_facts(result, ranks),
        # Sums over threads are not the same to the last bit on another number of them.
        "chosen_train_settings": {"threads": threads},
    }
    if result.stopped:
        reason = f"told to stop at step {result.steps}"
        return Outcome(failure="preempted", reason=reason, facts=facts)
    if result.validation is None:
        return Outcome(failure="diverged", reason=result.reason, facts=facts)
    test = {} if result.test is None else result.test.figures
    metrics = {
        **result.validation.figures,
        **{f"test_{name}": value for name, value in test.items()},
        "examples_per_s": result.examples_per_s,
        "train_seconds": result.train_seconds,
        "memory_per_device_gib": result.memory.steps_bytes / GIB,
    }
    return Outcome(metrics=metrics, facts=facts)


def _table_facts(result: TrainResult, ranks: Ranks) -> dict[str, Any]:
    """How fused tables lie over ranks; nothing of others."""
    from wukong.embeddings import Tables, summary

    backends = [module for module in result.model.modules() if isinstance(module, Tables)]
    placed = [table for tables in backends for table in tables.placement.values()]
    return {"tables": summary(placed, ranks.world)} if placed else {}


def _memory_facts(result: TrainResult, expected: ExpectedMemory | None) -> dict[str, Any]:
    """The measured peak of the whole run beside the predicted one, on the rank with most."""
    found: dict[str, Any] = {"measured_gib": result.memory.run_bytes / GIB}
    if expected is None:
        return {**found, "label": "nothing is predicted for a model of one's own"}
    parts = {part: size / GIB for part, size in expected.parts.items()}
    return {
        **found,
        "predicted_gib": sum(parts.values()),
        "predicted_parts_gib": parts,
        "label": expected.label,
    }
