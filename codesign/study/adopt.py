"""A study belongs to one spec: written at its start, compared whenever it is continued."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from codesign.errors import StudyError
from codesign.spec.model import StudySpec
from codesign.study.folder import StudyFolder, read_json, write_json, write_text


def adopt_spec(spec: StudySpec, folder: StudyFolder, overrides: Sequence[str]) -> None:
    """Write the spec into a new study, or check that a study is continued with its own.

    Raises:
        StudyError: the study was started with another spec; the message lists what differs.
    """
    if folder.resolved_spec.exists():
        known = read_json(folder.resolved_spec)
        now = json.loads(json.dumps(spec.identity()))
        if known["hash"] != spec.hash:
            changes = "\n".join(_differences(known["identity"], now)) or "(unknown)"
            raise StudyError(
                f"was started with another spec:\n{changes}",
                where=str(folder.path),
                hint="take the change back, or name another folder with --study",
            )
    write_text(folder.spec, spec.source)
    write_json(
        folder.resolved_spec,
        {
            "hash": spec.hash,
            "overrides": list(overrides),
            "identity": spec.identity(),
            "spec": spec.to_json(),
        },
    )


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"  {path}: {json.dumps(old)} → {json.dumps(new)}"]
