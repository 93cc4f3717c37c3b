"""Fitted cost models as JSON files: what was fitted, to which data, and how well it predicts.

An artifact's `kind` names the module that reads it; `device` and `precision` what it is for. The
rest is the kind's own, with `data` (file, checksum, rows), `held_out` (error on rows that the fit
had not seen) and `versions`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from codesign.errors import ConfigError
from cost_models.exact import Array
from cost_models.hardware import Hardware, Precision
from cost_models.ops import OpColumns
from cost_models.roofline import Roofline, Spread, Total


class CostModel(Protocol):
    """Predicts seconds from operations, and how far off a peak of memory may be."""

    @property
    def label(self) -> str:
        """Where its times come from, for people."""

    @property
    def memory_label(self) -> str:
        """Where the bounds of memory come from, for people."""

    @property
    def memory(self) -> Spread:
        """How measured peaks of memory fare against their closed form."""

    def seconds(
        self, operations: Iterable[OpColumns], total: Total, zs: Sequence[float] = (0.0,)
    ) -> list[Array]:
        """Predict quantiles of a sum of operations (see `cost_models.roofline`)."""


# kind → how to build the model from the file's content
KINDS: Mapping[str, Callable[[Hardware, Precision, Mapping[str, Any]], CostModel]] = {
    "roofline": Roofline.from_artifact,
}


def cost_model(hardware: Hardware, precision: Precision) -> CostModel:
    """Return the device's fitted cost model; the roofline with assumptions where it names none.

    Raises:
        ConfigError: the artifact that the device names is missing or cannot be read, or the
            device has no peak rate for this precision.
    """
    hardware.peak_flop_per_s(precision)
    name = hardware.artifact.get(precision)
    if name is None:
        return Roofline(hardware=hardware, precision=precision)
    hint = f"`python -m cost_models.calibrate` makes one; or take artifact out of {hardware.path}"
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
        return KINDS[content["kind"]](hardware, precision, content)
    except OSError as error:
        where = f"{hardware.path}: artifact.{precision}"
        raise ConfigError(
            f"{name} cannot be read: {error.strerror}", where=where, hint=hint
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"is no artifact: {error!r}", where=name, hint=hint) from error
