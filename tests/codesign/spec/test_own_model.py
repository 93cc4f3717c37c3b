"""A spec of a model of the user's own: what is found, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign.errors import SpecError
from codesign.spec.problem import load_problem, load_spec
from tests.support.own_data import own_data

MODULE = "tests.support.own_models"
SPEC: dict[str, Any] = {
    "data": "movielens-100k",
    "model": f"{MODULE}:DeepFM",
    "space": {"width": [4, 8], "activation": ["relu", "gelu"], "dense_lr": [0.01, 0.1]},
    "objectives": [{"metric": "auc"}],
}


def write(folder: Path, **sections: Any) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **sections}, sort_keys=False))
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return caught.value.what.replace(f"{path}:", "").splitlines()


def test_a_name_alone_is_a_model_without_fixed_arguments(tmp_path: Path) -> None:
    short = load_spec(write(tmp_path)).spec
    long = load_spec(write(tmp_path, model={"name": f"{MODULE}:DeepFM"})).spec
    assert short.model == long.model == {"name": f"{MODULE}:DeepFM"}


def test_arguments_that_cannot_be_are_named_with_their_place_and_the_nearest(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        model={"name": f"{MODULE}:DeepFM", "widht": 3, "norm": 1},
        train={"table_backend": "fused"},
        space={"depht": [1, 2], "activation": ["tanh"], "dropout": {"low": 0.1, "high": 0.3}},
    )
    *found, backend = mistakes(path)
    assert found == [
        "4:10: model.widht is unknown; did you mean 'width'?",
        "5:9: model.norm is 1; must be true or false",
        "8:3: space.depht is unknown; did you mean 'depth'?",
        "11:3: space.activation is 'tanh'; must be one of relu, gelu",
    ]
    assert backend.startswith("18:18: train.table_backend is unknown; must be one of batch_size,")


def test_every_mistake_of_a_signature_stands_at_the_models_name(tmp_path: Path) -> None:
    (found,) = mistakes(write(tmp_path, model=f"{MODULE}:positional"))
    assert found.startswith(f"2:8: model.name cannot be: {MODULE}:positional: argument width is")
    assert found.count("must name each argument") == 2
    (missing,) = mistakes(write(tmp_path, model="no_such_package.m:build"))
    assert "no module 'no_such_package.m' can be imported" in missing
    assert "add its folder to PYTHONPATH" in missing


def test_a_design_that_cannot_be_built_is_named_before_anything_is_launched(
    tmp_path: Path,
) -> None:
    data = {"source": "prepared", "path": str(own_data(tmp_path).folder)}
    path = write(tmp_path, data=data, space={"width": [4, 7]})
    with pytest.raises(SpecError, match=r"6:3: space holds .*width 7: cannot be: width must be"):
        load_problem(path)
    needy = write(tmp_path, data=data, model=f"{MODULE}:needs_width", space={"gate": [0.1, 0.2]})
    with pytest.raises(SpecError, match="width has no default; must stand in model or in space"):
        load_problem(needy)
    conditional = write(
        tmp_path,
        data=data,
        space={"depth": [1, 2], "width": {"choices": [8, 16], "when": {"depth": 2}}},
        budgets={"parameters": 10_000},
    )
    problem = load_problem(conditional)
    assert (problem.space.size, problem.feasible.size.count) == (3, 3)
