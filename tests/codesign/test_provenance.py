"""Commit and hash of the changes, beside git itself."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from codesign.provenance import git_state


def git(root: Path, *arguments: str) -> bytes:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("one = 1\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit_alone(checkout: Path) -> None:
    (checkout / "pack" / "a.pyc").write_text("ignored")
    (checkout / "elsewhere.txt").write_text("not of the package")
    head = git(checkout, "rev-parse", "HEAD").decode()
    assert git_state(checkout, ["pack"]) == {"commit": head[:12], "uncommitted changes": "none"}


def test_changes_and_new_files_are_told_by_a_hash_that_git_diff_gives(checkout: Path) -> None:
    (checkout / "pack" / "__init__.py").write_text("one = 2\n")
    diff = git(checkout, "diff", "--binary", "HEAD", "--", "pack")
    expected = hashlib.sha256(diff).hexdigest()[:12]
    assert git_state(checkout, ["pack"])["uncommitted changes"] == f"SHA-256 {expected}"
    (checkout / "pack" / "new.py").write_text("two = 2\n")
    expected = hashlib.sha256(diff + b"pack/new.pytwo = 2\n").hexdigest()[:12]
    assert git_state(checkout, ["pack"])["uncommitted changes"] == f"SHA-256 {expected}"


def test_a_copy_inside_a_foreign_checkout_claims_no_commit(checkout: Path) -> None:
    copy = checkout / "venv" / "pack"
    copy.mkdir(parents=True)
    (copy / "__init__.py").write_text("one = 1\n")
    assert git_state(checkout / "venv", ["pack"]) == {"commit": "not in a git checkout"}
