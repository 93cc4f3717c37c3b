"""Control groups of either version, as files: what the kernel would show."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.oom import oom_kills

V1 = "9:name=systemd:/\n4:cpu,memory:/jobs/7\n0::/\n"


@pytest.mark.parametrize(
    ("mine", "counter", "text", "kills"),
    [
        (V1, "memory/jobs/7/memory.oom_control", "oom_kill_disable 0\noom_kill 3\n", 3),
        ("0::/jobs/7\n", "jobs/7/memory.events", "low 0\noom 9\noom_kill 2\n", 2),
        ("0::/seen/from/outside\n", "memory.events", "oom_kill 5\n", 5),
        ("0::/jobs/7\n", "jobs/7/memory.events", "oom 9\n", 0),
        ("0::/jobs/7\n", "jobs/7/memory.events", "oom_kill many words\n", 0),
        ("", "memory.events", "oom_kill 1\n", 0),
    ],
)
def test_kills_are_counted_in_the_group_of_this_process(
    tmp_path: Path, mine: str, counter: str, text: str, kills: int
) -> None:
    (tmp_path / counter).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / counter).write_text(text)
    (tmp_path / "cgroup").write_text(mine)
    assert oom_kills(cgroups=tmp_path, mine=tmp_path / "cgroup") == kills


def test_without_control_groups_nothing_counts_as_killed(tmp_path: Path) -> None:
    assert oom_kills(cgroups=tmp_path, mine=tmp_path / "none") == 0
    assert oom_kills() >= 0
