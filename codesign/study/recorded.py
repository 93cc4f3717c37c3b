"""A study as everybody but its loop sees it: its spec, and the state as of its snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codesign.contracts import Metric
from codesign.spec.model import StudySpec
from codesign.spec.problem import load_spec
from codesign.study.folder import StudyFolder, read_resolved_spec
from codesign.study.snapshot import recorded_events
from codesign.study.state import StudyState, fold


@dataclass(frozen=True, kw_only=True)
class RecordedStudy:
    """What a study folder tells, wherever it lies and whether or not a loop runs."""

    folder: StudyFolder
    spec: StudySpec
    metrics: Mapping[str, Metric]
    state: StudyState


def read_study(path: str | Path, *, data_path: str | None = None) -> RecordedStudy:
    """Read a study's folder; neither its data nor its store is opened.

    Args:
        data_path: where its data are now; default where they were.

    Raises:
        StudyError: the folder holds no study, or a damaged one.
    """
    folder = StudyFolder(Path(path))
    state = fold(recorded_events(folder))
    adopted = read_resolved_spec(folder)["spec"]
    loaded = load_spec(
        folder.spec, overrides=adopted["overrides"], data_path=data_path or adopted["data"]["path"]
    )
    # The name may have come from the file's name, which is another one here.
    spec = dataclasses.replace(loaded.spec, name=adopted["name"])
    return RecordedStudy(folder=folder, spec=spec, metrics=loaded.family.METRICS, state=state)
