"""Trials of other studies: which say something, and the settings they were trained with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from codesign.contracts import Task
from codesign.spec.problem import Problem, make_task
from codesign.study.state import Trial

TAPER = ".taper"


def says_something(trial: Trial) -> bool:
    """Whether a trial says something of its design: a result, or a failure that would repeat."""
    return trial.status == "completed" or trial.failure in ("diverged", "out_of_memory")


def task_as_set(problem: Problem, model: Mapping[str, Any], train: Mapping[str, Any]) -> Task:
    """Make another study's task on this study's data, to read the settings of its designs.

    Raises:
        ConfigError: these data cannot be trained on with such settings.
    """
    return make_task(dataclasses.replace(problem.spec, model=model, train=train))


def setting_of(axis: str, settings: Mapping[str, Any]) -> Any:
    """Return what a knob's axis was set to; None where the settings do not say.

    A value of each layer is a tuple: `NAME[2]` is its second, or the last where it is shorter;
    `NAME` is all of it, or its only value where all layers have one.
    """
    base, _, layer = axis.removesuffix("]").partition("[")
    found = settings.get(base)
    if not isinstance(found, tuple) or not found:
        return found
    if layer:
        return found[min(int(layer), len(found)) - 1]
    return found[0] if len(set(found)) == 1 else found
