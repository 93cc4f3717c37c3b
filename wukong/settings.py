"""From plain settings, as a spec or a design holds them, to fields of `WukongConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from codesign.errors import ConfigError
from wukong import knobs
from wukong.shape import TableGroup, TableOverride

Columns = Mapping[str, Any]


def layered(columns: Columns, model: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Join what the space holds layer by layer: `n_F[1]`, `n_F[2]`, …, or `n_F` with `n_F.taper`.

    Args:
        columns: knob → values (N,).
        model: fixed settings, for what the columns leave out.

    Returns:
        Field of WukongConfig → (N, layers), as many layers as the deepest design has.
    """
    found = {}
    for name, counter in knobs.COUNTED_BY.items():
        counts = np.asarray(columns.get(counter, model.get(counter, 0)))
        layers = range(int(counts.max()))
        if not layers:
            continue
        if f"{name}[1]" in columns:
            found[name] = np.stack([columns[f"{name}[{i + 1}]"] for i in layers], axis=1)
        elif f"{name}.taper" in columns:
            first = np.asarray(columns.get(name, model.get(name)), dtype=float)
            taper = np.asarray(columns[f"{name}.taper"])
            each = [np.round(first * taper**i) for i in layers]
            found[name] = np.maximum(np.stack(each, axis=1), 1)
    return found


def model_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn plain YAML values into field values: lists into tuples, mappings into dataclasses.

    Raises:
        ConfigError: a layout of tables has not the form it must have.
    """
    built: dict[str, Any] = {}
    for name, value in settings.items():
        if name in knobs.LAYOUTS:
            entry = TableOverride if name == "tables" else TableGroup
            built[name] = _layout(name, value, entry)
        else:
            built[name] = tuple(value) if isinstance(value, list) else value
    return built


def _layout(name: str, entries: Any, entry: type) -> tuple[Any, ...]:
    fields = ", ".join(field.name for field in dataclasses.fields(entry))
    try:
        return tuple(
            entry(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()})
            for one in entries
        )
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"model.{name} is {entries!r}; must be a list of mappings with {fields}"
        ) from error
