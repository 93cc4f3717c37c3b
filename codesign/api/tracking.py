"""Studies at Weights & Biases: logged after the fact, uploaded, shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codesign.errors import ConfigError, LaunchError

if TYPE_CHECKING:
    from codesign.tracking.workspace import Views


def wandb_log(
    study: str | Path,
    *,
    project: str | None = None,
    entity: str | None = None,
    mode: str | None = None,
) -> int:
    """Bring Weights & Biases up to date with a study, whether or not its spec asks for it.

    Args:
        project, entity, mode: instead of the spec's `tracking.wandb`.

    Returns:
        How many runs are wholly logged, the study's own among them.

    Raises:
        StudyError: the folder holds no study, or another process logs it.
        ConfigError: online is asked for, and no key is at hand.
        LaunchError: some runs could not be logged; the same call tries them again.
    """
    from codesign.study.recorded import read_study
    from codesign.tracking.follower import Follower
    from codesign.tracking.logged import FOLDER, Logged, alone
    from codesign.tracking.trackers import connect

    folder = Path(study)
    read_study(folder)
    asked = {"project": project, "entity": entity, "mode": mode}
    given = {name: value for name, value in asked.items() if value is not None}
    troubles: list[str] = []
    with alone(folder / FOLDER, wait=False):
        tracker = connect(folder, "wandb", given)
        if not Follower(folder, tracker, trouble=troubles.append).catch_up(last=True):
            raise LaunchError(
                f"{len(troubles)} runs could not be logged; the last: {troubles[-1]}",
                where=str(folder),
                hint="mend that, then run the same command again: it logs nothing twice",
            )
        return len(Logged(folder / FOLDER / "logged.jsonl").all)


def wandb_sync(study: str | Path) -> int:
    """Upload what was logged offline; return how many folders of runs that were.

    Raises:
        StudyError: the folder holds no study, or a process is logging it.
        ConfigError: no key is at hand.
        LaunchError: the library's command failed.
    """
    from codesign.study.recorded import read_study
    from codesign.tracking.logged import FOLDER, Logged, alone
    from codesign.tracking.wandb import to_upload, upload

    folder = Path(study)
    read_study(folder)
    with alone(folder / FOLDER, wait=False):
        kept = Logged(folder / FOLDER / "logged.jsonl").all
        folders = to_upload(folder, kept.values())
        upload(folders)
    return len(folders)


def wandb_report(
    study: str | Path, *, project: str | None = None, entity: str | None = None
) -> Views:
    """Define a workspace and a report of a study at Weights & Biases; saving them is one call more.

    Raises:
        StudyError: the folder holds no study.
        ConfigError: neither spec nor caller names the entity.
    """
    from codesign.study.recorded import read_study
    from codesign.study.results import report_content
    from codesign.tracking.wandb import Options
    from codesign.tracking.workspace import views

    found = read_study(study)
    options = Options(**found.spec.tracking.get("wandb", {}))
    entity = entity or options.entity
    if not entity:
        raise ConfigError(
            "names no entity, the team or user whose project it is",
            where="tracking.wandb",
            hint="set tracking.wandb.entity, or pass --entity",
        )
    content = report_content(found.spec, found.metrics, found.state, found.folder)
    return views(content, entity=entity, project=project or options.project)
