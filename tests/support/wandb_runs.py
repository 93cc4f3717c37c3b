"""Runs that Weights & Biases keeps offline, read back with its own command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wandb.util import get_core_path


def run_folders(study: Path, name: str = "") -> list[Path]:
    """The folders of the study's runs, or of the one whose id ends so, oldest first."""
    return sorted((study / "wandb").glob(f"offline-run-*-*{name}"))


def summary(folder: Path) -> Mapping[str, Any]:
    """What the library says of a run: its config, summary, state and more."""
    found: Mapping[str, Any] = json.loads(_inspect(folder, "--summary"))
    return found


def history(folder: Path) -> list[dict[str, Any]]:
    """Every row that a run holds, in order, each with its `_step`."""
    records = map(json.loads, _inspect(folder).splitlines())
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def table(folder: Path, name: str) -> dict[str, Any]:
    """The latest table of that name."""
    path = summary(folder)["summary"][name]["path"]
    found: dict[str, Any] = json.loads((folder / "files" / path).read_text())
    return found


def _inspect(folder: Path, *options: str) -> str:
    """What `wandb leet inspect --json` prints of a run, without the seconds that `wandb` loads."""
    (log,) = folder.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", *options]
    command += ["--run-file", str(log), str(folder.parent)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
