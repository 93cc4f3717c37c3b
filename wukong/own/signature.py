"""What a model of the user's own offers to a search: the keyword arguments of what builds it.

`build(schema, *, width: int = 64, form: Literal["a", "b"] = "a", …)` returns an `nn.Module`, whose
forward takes a `wukong.data.batch.Batch` of B examples and returns logits: (B,), of T tasks (B, T).
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codesign.contracts import Knob
from codesign.errors import ConfigError
from wukong.data.columns import file_md5
from wukong.own.code import load_function, source_file
from wukong.task import kind_of

if TYPE_CHECKING:
    from torch import nn

    from wukong.schema import InputSchema

_FORM = "build(schema, *, width: int = 64, …)"
_KINDS = "int, float, bool or Literal of texts"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """What builds a model, and the arguments it takes.

    Attributes:
        name: `package.module:name`.
        knobs: each keyword argument.
        defaults: those that may be left out.
        source_md5: of the file that builds the models; empty where there is none.
    """

    name: str
    source_md5: str
    build: Callable[..., Any] = field(repr=False)  # Its address differs from process to process.
    knobs: Mapping[str, Knob]
    defaults: Mapping[str, Any]

    def make(self, schema: InputSchema, arguments: Mapping[str, Any]) -> nn.Module:
        """Build the model.

        Raises:
            ConfigError: what was built is no `nn.Module`.
        """
        from torch import nn

        model = self.build(schema, **arguments)
        if not isinstance(model, nn.Module):
            raise ConfigError(f"returned {model!r}; must return an nn.Module", where=self.name)
        return model


def own_model(name: str, reserved: Collection[str]) -> OwnModel:
    """Import what builds a model and read its arguments.

    Args:
        name: `package.module:name`, a function or a class.
        reserved: names that no argument may have.

    Raises:
        ConfigError: there is none, or its arguments are not of the form above; lists every mistake.
    """
    build = load_function(name)
    if not (inspect.isfunction(build) or inspect.isclass(build)):
        raise ConfigError(f"is {build!r}; must be a function or a class", where=name)
    parameters = inspect.signature(build).parameters
    named = {n: p for n, p in parameters.items() if p.kind is _NAMED}
    mistakes = list(_form_mistakes(parameters))
    knobs = {}
    for one, parameter in named.items():
        if one in reserved:
            mistakes.append(f"argument {one} is the name of another setting; must have another")
            continue
        try:
            knobs[one] = _knob(parameter, build, name)
        except ConfigError as error:
            mistakes.append(f"argument {one} {error.what}")
    if mistakes:
        raise ConfigError("; ".join(mistakes), where=name)
    defaults = {n: p.default for n, p in named.items() if p.default is not p.empty}
    file = source_file(build)
    md5 = file_md5(file) if file else ""
    return OwnModel(name=name, source_md5=md5, build=build, knobs=knobs, defaults=defaults)


def _form_mistakes(parameters: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    positional = [n for n, p in parameters.items() if p.kind in _POSITIONAL]
    if not positional:
        yield f"takes no schema; must be {_FORM}"
    for name in positional[1:]:
        yield f"argument {name} is positional; must stand after * as in {_FORM}"
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            yield f"has {parameter}; must name each argument, {name} says nothing of its values"


def _knob(parameter: inspect.Parameter, build: Callable[..., Any], model: str) -> Knob:
    if parameter.annotation is parameter.empty:
        raise ConfigError(f"has no annotation; must have {_KINDS}")
    try:
        kind, choices = kind_of(_hint(parameter, build))
    except (TypeError, NameError):
        kind, choices = "", ()
    if kind in ("", "metric") or not all(isinstance(choice, str) for choice in choices):
        shown = inspect.formatannotation(parameter.annotation)
        raise ConfigError(f"is annotated {shown}; must be {_KINDS}")
    knob = Knob(kind=kind, meaning=f"argument of {model}", choices=choices, affects_cost=True)
    default = parameter.default
    if default not in (parameter.empty, None) and not _fits(default, knob):
        of_kind = f"one of {', '.join(choices)}" if choices else f"a {kind}"
        raise ConfigError(f"has the default {default!r}; must be {of_kind}")
    return knob


def _hint(parameter: inspect.Parameter, build: Callable[..., Any]) -> Any:
    """Evaluate one annotation; the others may name what is imported for type checkers only."""
    module = inspect.getmodule(build)
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    return typing.get_type_hints(alone, globalns=vars(module))[parameter.name]


def _fits(value: Any, knob: Knob) -> bool:
    if knob.kind == "choice":
        return value in knob.choices
    if isinstance(value, bool) or knob.kind == "flag":
        return isinstance(value, bool) and knob.kind == "flag"
    return isinstance(value, int) or (knob.kind == "float" and isinstance(value, float))
