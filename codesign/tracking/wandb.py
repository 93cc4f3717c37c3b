"""Runs at Weights & Biases: sent to its server, or kept in the study's folder until they are."""

from __future__ import annotations

import netrc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlparse

from codesign.errors import ConfigError, LaunchError, MissingPackageError, StudyError
from codesign.tracking.logged import FOLDER
from codesign.tracking.offline import last_record
from codesign.tracking.records import Figure, Kept, Page, Run, Shown, Table

try:
    import wandb
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.wandb_run import Run as WandbRun
except ImportError as error:
    raise MissingPackageError(
        f"Weights & Biases needs the package wandb, which does not load ({error})",
        hint="pip install 'wandb>=0.31,<0.32'",
    ) from error

Mode: TypeAlias = Literal["online", "offline"]
# What the library may take to write what it was given.
FLUSHED_S = 10.0
KEY = "run `wandb login`, or set WANDB_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The section `tracking.wandb`.

    Attributes:
        group: of all runs; None: the study's name.
        mode: `auto`: online where a key is at hand, unless `WANDB_MODE` says offline.
    """

    project: str = "codesign"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] | list[str] = ()
    mode: Literal["auto", "online", "offline"] = "auto"


def connect(options: Options, study: Path, *, group: str) -> Wandb:
    """Make the tracker of a study (see `Wandb`)."""
    return Wandb(options, study, group=group)


def mode_of(options: Options) -> Mode:
    """Say where runs go.

    Raises:
        ConfigError: online is asked for, and no key is at hand.
    """
    if options.mode == "offline":
        return "offline"
    if options.mode == "auto" and os.environ.get("WANDB_MODE", "online") != "online":
        return "offline"
    if has_key():
        return "online"
    if options.mode == "auto":
        return "offline"
    raise ConfigError("is online, but no key is at hand", where="tracking.wandb.mode", hint=KEY)


def has_key() -> bool:
    """Whether the environment or the netrc file holds a key of the server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class Wandb:
    """Writes runs; all of one process share one service of the library.

    Args:
        study: its folder; the library writes into `wandb` there.
        group: of the runs where the options name none.

    Raises:
        ConfigError: see `mode_of`.
    """

    def __init__(self, options: Options, study: Path, *, group: str) -> None:
        self._options = options
        self._study = study
        self._group = options.group or group
        self.mode = mode_of(options)
        # The library's own service reads them, too, and then tells nobody how it is used.
        os.environ["WANDB_MODE"] = self.mode
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        # Tables that wait for their upload wait in the study's folder, too.
        os.environ.setdefault("WANDB_DATA_DIR", str((study / FOLDER).absolute()))

    def open(self, run: Run, kept: Kept) -> _OpenRun:
        """See `Tracker`."""
        for folder in (self._study / FOLDER).glob(f"*run-*-{run.id}"):
            if folder.name not in kept.folders:
                shutil.rmtree(folder, ignore_errors=True)
        _await_a_new_second(kept)
        opened = wandb.init(
            project=self._options.project,
            entity=self._options.entity,
            dir=str(self._study),
            id=run.id,
            name=run.name,
            group=self._group,
            job_type=run.kind,
            tags=[*run.tags, *self._options.tags],
            config=dict(run.config),
            reinit="create_new",
            resume="allow" if self.mode == "online" else None,
            settings=_settings(self.mode),
        )
        return _OpenRun(opened, after=kept.step)


def _await_a_new_second(kept: Kept) -> None:
    """Wait until a run that goes on gets a folder of its own: its name tells it to the second."""
    while any(f"-{time.strftime('%Y%m%d_%H%M%S')}-" in name for name in kept.folders):
        time.sleep(0.05)


class _OpenRun:
    """See `codesign.tracking.records.OpenRun`."""

    def __init__(self, run: WandbRun, *, after: int) -> None:
        self._run = run
        # A server knows what it was sent before a process was killed.
        self.step = max(after, run.step - 1)

    def log(self, step: int, row: Mapping[str, Shown]) -> None:
        """See `OpenRun`."""
        self._run.log({name: _shown(value) for name, value in row.items()}, step=step, commit=True)
        self.step = step

    def finish(self, summary: Mapping[str, Any], *, failed: bool) -> str:
        """See `OpenRun`."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=int(failed))
        if self._run.settings.mode == "offline":
            require_whole(Path(self._run.settings.sync_file))
        return Path(self._run.dir).parent.name


def require_whole(path: Path, *, within_s: float = FLUSHED_S) -> None:
    """Refuse an offline run whose end is not in its file; the library says nothing of that.

    Args:
        within_s: how long its background process may take to write what it has taken.

    Raises:
        StudyError: it is not.
    """
    until = time.monotonic() + within_s
    while not _is_whole(path):
        if time.monotonic() > until:
            raise StudyError(
                "was not written whole: its end is missing",
                where=str(path),
                hint="free disk space; it is written anew then",
            )
        time.sleep(0.01)


def _is_whole(path: Path) -> bool:
    record = wandb_internal_pb2.Record.FromString(last_record(path))  # type: ignore[attr-defined]
    return bool(record.WhichOneof("record_type") == "exit")


def _settings(mode: Mode) -> wandb.Settings:
    """Nothing of this process is recorded: it is not the one that trains."""
    return wandb.Settings(
        mode=mode,
        console="off",
        silent=True,
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


def _shown(value: Shown) -> Any:
    if isinstance(value, Table):
        return wandb.Table(columns=list(value.columns), data=[list(row) for row in value.rows])
    if isinstance(value, Figure):
        import plotly.io

        return wandb.Plotly(plotly.io.from_json(value.json))
    if isinstance(value, Page):
        return wandb.Html(str(value.path))
    return value


def upload(folders: Sequence[Path]) -> None:
    """Send offline runs to the server, by the library's own command.

    Raises:
        ConfigError: no key is at hand.
        LaunchError: the command failed.
    """
    if not has_key():
        raise ConfigError("has no key to upload with", where="wandb sync", hint=KEY)
    if not folders:
        return
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, folders)],
        env={**os.environ, "WANDB_MODE": "online"},
        check=False,
    )
    if done.returncode:
        raise LaunchError(
            f"ended with code {done.returncode}; what it did upload is not sent again",
            where="wandb sync",
            hint="mend what it says above, then run the same command again",
        )


def to_upload(study: Path, kept: Iterable[Kept]) -> list[Path]:
    """Return the folders of offline runs that are whole and that no server has, oldest first."""
    names = sorted(name for each in kept for name in each.folders if name.startswith("offline-"))
    folders = [study / FOLDER / name for name in names]
    return [folder for folder in folders if folder.is_dir() and not any(folder.glob("*.synced"))]
