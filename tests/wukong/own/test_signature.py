"""Arguments that become knobs, and what is said of those that cannot."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from codesign.contracts import Knob
from codesign.errors import ConfigError
from tests.support import own_models
from wukong.own.signature import own_model
from wukong.own.task import family

MODULE = own_models.__name__
RESERVED = {"name", "dense_lr"}


def test_each_keyword_argument_is_a_knob_of_its_annotation() -> None:
    model = own_model(f"{MODULE}:DeepFM", RESERVED)
    assert {name: knob.kind for name, knob in model.knobs.items()} == {
        "d": "int", "width": "int", "depth": "int", "activation": "choice", "dropout": "float",
        "norm": "flag", "tasks": "int",
    }  # fmt: skip
    assert model.knobs["activation"].choices == ("relu", "gelu")
    assert all(knob.affects_cost for knob in model.knobs.values())
    assert model.defaults == {
        "d": 4, "width": 8, "depth": 1, "activation": "relu", "dropout": 0.0, "norm": False,
        "tasks": None,
    }  # fmt: skip


def test_an_argument_without_default_is_none_of_the_defaults() -> None:
    model = own_model(f"{MODULE}:needs_width", RESERVED)
    assert isinstance(model.knobs["width"], Knob)
    assert model.defaults == {"gate": None}


@pytest.mark.parametrize(
    ("name", "complaints"),
    [
        ("no_schema", ["takes no schema; must be build(schema, *, width: int = 64, …)"]),
        (
            "positional",
            [
                "argument width is positional; must stand after *",
                "has *sizes: 'int'; must name each argument",
                "has **others: 'float'",
            ],
        ),
        (
            "odd_arguments",
            [
                "argument bare has no annotation; must have int, float, bool or Literal of texts",
                "argument layers is annotated 'list[int]'; must be int",
                "argument batch is annotated 'Batch | None'; must be int",
                "argument form is annotated 'Literal[1, 2]'; must be int",
                "argument name is the name of another setting; must have another",
                "argument dense_lr is the name of another setting",
                "argument width has the default 2.5; must be a int",
                "argument flag has the default True; must be a int",
                "argument kind has the default 'c'; must be one of a, b",
            ],
        ),
        ("needs_width_object", ["is 3; must be a function"]),
        ("nothing", ["has no 'nothing'"]),
    ],
)
def test_all_that_is_wrong_with_a_signature_is_said_at_once(
    name: str, complaints: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        own_model(f"{MODULE}:{name}", RESERVED)
    assert caught.value.where == f"{MODULE}:{name}"
    found = caught.value.what
    assert [one for one in complaints if one not in found] == []
    assert found.count("; must") == len(complaints) - ("nothing" in name)


@pytest.mark.parametrize("name", ["no_such.module:build", "a b:build", "torch:", ":build"])
def test_what_cannot_be_imported_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(name)):
        family(name)


def test_a_callable_object_is_refused_and_a_bug_in_the_module_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "partly_own.py").write_text("import functools\nf = functools.partial(print)\n")
    (tmp_path / "buggy_own.py").write_text("import math\nmath.no_such_function\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="must be a function or a class"):
        family("partly_own:f")
    with pytest.raises(AttributeError, match="no_such_function"):
        family("buggy_own:f")
    sys.modules.pop("partly_own")


def test_training_settings_are_shared_but_for_how_wukongs_tables_are_made() -> None:
    found = family(f"{MODULE}:DeepFM")
    assert "table_backend" not in found.SETTINGS["train"]
    assert {"dense_lr", "table_optimizer", "width"} <= found.KNOBS.keys()
    assert "threads" not in found.KNOBS
    assert "threads" in found.SETTINGS["train"]
