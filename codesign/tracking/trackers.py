"""The trackers that a spec names, made ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codesign.registry import plugin
from codesign.study.folder import StudyFolder, read_resolved_spec
from codesign.tracking.records import Tracker


def connect(study: Path, name: str, replaced: Mapping[str, Any] | None = None) -> Tracker:
    """Connect a tracker to a study.

    Args:
        replaced: options that replace those of the study's spec.

    Raises:
        CodesignError: the tracker's package is missing, or its options cannot be.
    """
    spec = read_resolved_spec(StudyFolder(study))["spec"]
    options = {**spec["tracking"].get(name, {}), **(replaced or {})}
    module = plugin("tracker", name)
    tracker: Tracker = module.connect(module.Options(**options), study, group=spec["name"])
    return tracker
