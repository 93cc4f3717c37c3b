"""A study belongs to one spec: written at its start, compared whenever it is continued."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from codesign.errors import StudyError
from codesign.spec.model import StudySpec
from codesign.study.folder import (
    CLUSTER_NAME,
    LOCK_NAME,
    TEMPORARY,
    StudyFolder,
    read_resolved_spec,
    write_json,
    write_text,
)
from codesign.study.snapshot import recorded_events


def adopt_spec(spec: StudySpec, folder: StudyFolder, *, data: Mapping[str, Any]) -> None:
    """Write the spec into a new study, or check that one that has begun goes on with its own.

    Args:
        data: what the data set is, whatever its path: checksums of its files.

    Raises:
        StudyError: the folder holds something else, or the study was started with another spec or
            on other data; the message lists what differs.
    """
    identity = json.loads(json.dumps({**spec.identity(), "data files": data}))
    study = uuid.uuid4().hex
    if folder.resolved_spec.exists():
        known = read_resolved_spec(folder)
        study = known.get("study", study)
        if known["identity"] != identity and _has_begun(folder):
            changes = "\n".join(_differences(known["identity"], identity))
            raise StudyError(
                f"was started with another spec or on other data:\n{changes}",
                where=str(folder.path),
                hint="take the change back, or start a new study with --study FOLDER; "
                f"--fork {folder.path} begins it with this one's trials that fit",
            )
    elif strangers := sorted(
        path.name
        for path in folder.path.iterdir()
        if path.name not in (LOCK_NAME, CLUSTER_NAME) and path.suffix != TEMPORARY
    ):
        raise StudyError(
            f"is no study folder, yet it holds {', '.join(strangers[:5])}",
            where=str(folder.path),
            hint="name a new folder with --study",
        )
    write_json(
        folder.resolved_spec,
        {
            "study": study,
            "hash": spec.hash,
            "identity": identity,
            "spec": spec.to_json(),
        },
    )
    write_text(folder.spec, spec.source)


def _has_begun(folder: StudyFolder) -> bool:
    """Whether anything was recorded, or trained: a study that was refused at its start has not."""
    if folder.snapshot.exists() or folder.attempt(0, 1).exists():
        return True
    return folder.store.exists() and bool(recorded_events(folder))


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"  {path}: {json.dumps(old)} → {json.dumps(new)}"]
