"""The documentation says what the program does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_the_spec_is_what_schema_and_tables_say_now() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    found = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
    assert found == generate.page(), "run `make docs`"


def test_every_field_of_the_schema_is_described() -> None:
    schema = json.loads((ROOT / "codesign/spec/schema.json").read_text(encoding="utf-8"))

    def undescribed(entry: dict, path: str) -> list[str]:
        inner = entry.get("items", entry)
        missing = []
        for name, field in inner.get("properties", {}).items():
            if "description" not in field:
                missing.append(f"{path}{name}")
            missing += undescribed(field, f"{path}{name}.")
        return missing

    assert undescribed(schema, "") == []
    assert undescribed(schema["$defs"]["parameter"]["oneOf"][2], "space.") == []
