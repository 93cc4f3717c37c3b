"""Fitted cost models as JSON files: what was fitted, to which data, and how well it predicts.

An artifact's `kind` names what predicts single operations; `device` and `precision` say what it is
for, `totals` and `memory` how whole steps fare (`cost_models.times.totals`). The rest is the kind's
own, with `data` (file, checksum, rows), `held_out` (error on rows that the fit had not seen) and
`versions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from codesign.errors import ConfigError
from cost_models.artifact_form import mistakes
from cost_models.hardware import Hardware, Precision
from cost_models.times.cost_model import CostModel, Operations
from cost_models.times.learned.model import Learned
from cost_models.times.roofline import Roofline
from cost_models.times.totals import ASSUMED_SLACK, Spread, TotalFit

# kind → how to build what predicts operations from the file's content
KINDS: Mapping[str, Callable[[Hardware, Precision, Mapping[str, Any]], Operations]] = {
    "learned": Learned.from_artifact,
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
        return CostModel(operations=Roofline(hardware=hardware, precision=precision))
    hint = f"`codesign calibrate` makes one; or take artifact out of {hardware.path}"
    try:
        content = content_of(hardware, precision)
        if wrong := list(mistakes(content, precision, KINDS)):
            what = f"\n{name}: is no artifact: ".join(wrong)
            raise ConfigError(f"is no artifact: {what}", where=name, hint=hint)
        return from_content(hardware, precision, content)
    except OSError as error:
        where = f"{hardware.path}: artifact.{precision}"
        raise ConfigError(
            f"{name} cannot be read: {error.strerror}", where=where, hint=hint
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ConfigError(f"is no artifact: {error!r}", where=name, hint=hint) from error


def content_of(hardware: Hardware, precision: Precision) -> dict[str, Any]:
    """Read the artifact that the device names; empty where it names none.

    Raises:
        OSError, ValueError: it cannot be read, or is no JSON.
    """
    name = hardware.artifact.get(precision)
    found: dict[str, Any] = {} if name is None else json.loads(Path(name).read_text("utf-8"))
    return found


def was_fitted_to(path: Path, hardware: Hardware, precision: Precision) -> bool:
    """Whether a file is one of those that the device's cost model was fitted to."""
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    data = content_of(hardware, precision).get("data", ())
    return any(one.get("sha256") == checksum for one in data)


def from_content(hardware: Hardware, precision: Precision, content: Mapping[str, Any]) -> CostModel:
    """Build a cost model from the content of an artifact.

    Raises:
        LookupError, TypeError, ValueError: it is none.
    """
    operations = KINDS[content["kind"]](hardware, precision, content)
    memory = content.get("memory")
    return CostModel(
        operations=operations,
        totals={total: TotalFit.from_artifact(fit) for total, fit in content["totals"].items()},
        memory=ASSUMED_SLACK if memory is None else Spread(**memory),
    )
