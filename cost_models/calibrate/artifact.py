"""Artifacts on disk: each file is replaced whole or not at all, and none that was there is lost."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codesign.errors import ConfigError
from cost_models.hardware import ARTIFACTS, SHIPPED, Hardware

_ARTIFACT_KEY = re.compile(r"^artifact:.*\n?(?:[ \t]+.*\n?)*", flags=re.MULTILINE)


def write(
    content: Mapping[str, Any], hardware: Hardware, out: Path | None
) -> dict[str, Path | None]:
    """Write an artifact, and have a hardware file beside it name it.

    Args:
        out: a folder; None: that of the hardware file where it is one's own, else the current one.
            `cost_models` itself is what is shipped: its artifacts and hardware files lie apart.

    Returns:
        `artifact`, `hardware`, and `kept`: the new name of an artifact that had this name, None
        where there was none or it said the same.

    Raises:
        ConfigError: the folder cannot be written.
    """
    source = Path(hardware.path)
    is_shipped = source.parent.resolve() == SHIPPED.resolve()
    folder = out or (Path.cwd() if is_shipped else source.parent)
    is_package = is_shipped and folder.resolve() == ARTIFACTS.resolve().parent
    name = f"{content['kind']}-{content['device']}-{content['precision']}.json"
    target = (ARTIFACTS if is_package else folder) / name
    beside = source if is_package else folder / source.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = _keep(target, json.dumps(content, indent=2) + "\n")
        # The text of one's own file there comes first: it may hold more than this one's source.
        text = (beside if beside.exists() else source).read_text(encoding="utf-8")
        named = {**_named(text), content["precision"]: name}
        _replace(beside, _naming(text, named))
    except OSError as error:
        raise ConfigError(
            f"cannot be written: {error.strerror}",
            where=str(folder),
            hint="name a folder that can be written with --out",
        ) from error
    return {"artifact": target, "hardware": beside, "kept": kept}


def rounded(value: Any) -> Any:
    """Round every number within to four digits."""
    if isinstance(value, Mapping):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _keep(target: Path, text: str) -> Path | None:
    """Write a file; give what it held before, if anything else, a name by its checksum."""
    kept = None
    if target.exists():
        before = target.read_bytes()
        if before.decode("utf-8", "replace") == text:
            return None
        kept = target.with_suffix(f".{hashlib.sha256(before).hexdigest()[:8]}.json")
        _replace(kept, before.decode("utf-8", "replace"))
    _replace(target, text)
    return kept


def _replace(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _named(text: str) -> dict[str, str]:
    """precision → artifact, as a hardware file has it."""
    import yaml

    found: dict[str, str] = (yaml.safe_load(text) or {}).get("artifact") or {}
    return found


def _naming(text: str, named: Mapping[str, str]) -> str:
    """The same hardware file with other artifacts; all else as it was, comments included."""
    pairs = ", ".join(f"{precision}: {name}" for precision, name in named.items())
    line = f"artifact: {{{pairs}}}\n"
    without = _ARTIFACT_KEY.sub("", text)
    return f"{without.rstrip()}\n{line}"
