from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import SpecError
from codesign.spec.yaml_reader import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5.0e-1", 0.5),
        (".5", 0.5),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("12:30", "12:30"),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("2.0", 2.0),
        ("~", None),
        ("1_000", "1_000"),
        ("'2'", "2"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(f"key: {text}", name="f").values["key"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_every_value_has_its_line_and_column() -> None:
    document = parse_yaml("a:\n  - 1\n  - b: 2\n", name="f.yaml")
    assert document.where(("a", 1, "b")) == "f.yaml:3:8"
    assert document.where(("a", 1, "missing")) == "f.yaml:3:5"


def test_a_duplicate_key_is_named_with_both_places() -> None:
    document = parse_yaml("a: 1\nb: 2\na: 3\n", name="f")
    assert document.mistakes == [
        "f:3:1: a stands here again (first value at line 1); must be given once"
    ]


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf"])
def test_numbers_that_are_not_finite_are_mistakes(text: str) -> None:
    assert parse_yaml(f"a: {text}", name="f").mistakes == [
        f"f:1:4: a is {text}; must be a finite number"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a:\n\t- 1",
        "a: &x [*x]",
        "a: *unknown",
        "? [1, 2]\n: 3\n? {a: 1}\n: {",
        "a: !!python/object:os.system x" + "\nb: [",
        "---\na: 1\n---\nb: 2\n",
    ],
)
def test_what_is_not_yaml_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(SpecError, match=r"spec\.yaml"):
        parse_yaml(text, name="spec.yaml")


def test_aliases_that_explode_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SpecError, match="too large"):
        parse_yaml("\n".join(lines), name="f")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"missing\.yaml: cannot be read"):
        read_yaml(tmp_path / "missing.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: é\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin.yaml:2: byte 8 is not UTF-8"):
        read_yaml(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"# " + b"x" * 2_000_000)
    with pytest.raises(SpecError, match="at most 1,000,000"):
        read_yaml(large)
