"""The toy task, whose runs cannot pause; the module is its own task family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.toy_task import (
    KNOBS,
    METRICS,
    NOT_YET_PREDICTED,
    SETTINGS,
    SOURCES,
    ToyTask,
)

__all__ = ["KNOBS", "METRICS", "NOT_YET_PREDICTED", "SETTINGS", "SOURCES", "make"]


class WholeTask(ToyTask):
    """Trains in full only."""

    discard = None


def make(
    *, model: Mapping[str, Any], train: Mapping[str, Any], source: str, path: str | None
) -> WholeTask:
    """Make the task; nothing to prepare."""
    return WholeTask({**model, **train})
