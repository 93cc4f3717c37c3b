"""A design file with the system that was planned for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from codesign.errors import CodesignError
from codesign.spec.model import DesignFile
from codesign.study.folder import write_text


def system_yaml(plan: Mapping[str, Any]) -> str:
    """Return the sections of a spec that make the best system of a plan."""
    best = plan["best"]
    sections = {"train": dict(best["train"]), "launch": {"processes": best["devices"]}}
    return yaml.safe_dump(sections, sort_keys=False)


def write_planned(path: Path, design: DesignFile, plan: Mapping[str, Any]) -> None:
    """Write a design file that trains on the best system of a plan.

    Raises:
        CodesignError: there is a file already, or it cannot be written.
    """
    best = plan["best"]
    data = {"source": design.data.source, **({"path": p} if (p := design.data.path) else {})}
    content = {
        "data": data,
        "model": dict(design.model),
        "train": {**design.train, **best["train"]},
        "design": {name: v for name, v in design.design.items() if name not in best["train"]},
        "seed": design.seed,
        "launch": {"processes": best["devices"]},
        "predicted": {"hardware": plan["hardware"], **best["predicted"]},
    }
    if path.exists():
        raise CodesignError("exists already", where=str(path), hint="name another file")
    try:
        write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise CodesignError(f"cannot be written: {error.strerror}", where=str(path)) from error
