"""Runs that Weights & Biases keeps offline, read back with its own command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_folders(study: Path, name: str = "") -> list[Path]:
    """The folders of the study's runs, or of the one whose id ends so, oldest first."""
    return sorted((study / "wandb").glob(f"offline-run-*-*{name}"))


def summary(folder: Path) -> Mapping[str, Any]:
    """What the library says of a run: its config, summary, state and more."""
    found: Mapping[str, Any] = json.loads(_inspect("--summary", folder))
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


def _inspect(*arguments: object) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return done.stdout
