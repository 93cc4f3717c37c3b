"""Code of the user's own, named `package.module:name`. Standard library only."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codesign.errors import CodesignError, ConfigError


def load_function(source: str, *, error: type[CodesignError] = ConfigError) -> Callable[..., Any]:
    """Import a function, or a class, by name.

    Args:
        source: `package.module:name`; the module is installed or in a folder of `PYTHONPATH`.
        error: what is raised where there is none.

    Raises:
        CodesignError: the name is malformed, or nothing that can be called has it. A bug in the
            module itself keeps its own exception.
    """
    module_name, _, name = source.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise error("is no function; must be package.module:function", where=source)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module_name}.".startswith(f"{missing.name}."):
            raise
        raise error(
            f"no module {module_name!r} can be imported: {missing}",
            where=source,
            hint="install it, or add its folder to PYTHONPATH",
        ) from missing
    if not hasattr(module, name):
        raise error(f"module {module_name!r} has no {name!r}", where=source)
    function = getattr(module, name)
    if not callable(function):
        raise error(f"is {function!r}; must be a function", where=source)
    found: Callable[..., Any] = function
    return found


def source_file(function: Callable[..., Any]) -> Path | None:
    """Return the file that holds a function or a class; None for other callable objects."""
    try:
        file = inspect.getsourcefile(function)
    except TypeError:
        return None
    return Path(file) if file else None
