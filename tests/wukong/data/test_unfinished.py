from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wukong.data import unfinished
from wukong.data.unfinished import UnfinishedFolder


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    alive = UnfinishedFolder(tmp_path / "toy")
    (alive.path / "begun").touch()
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from wukong.data.unfinished import UnfinishedFolder\n"
        "UnfinishedFolder(Path(sys.argv[1]))"
    )
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "toy")],
            cwd=Path(unfinished.__file__).parents[2],
            check=True,
            timeout=60,
        )
    # The first process left a folder, and the second removed it and left its own.
    assert len(list(tmp_path.iterdir())) == 2
    assert (alive.path / "begun").exists()
    (tmp_path / ".toy-of-a-person").mkdir()
    alive.remove()
    UnfinishedFolder(tmp_path / "toy").remove()
    assert [path.name for path in tmp_path.iterdir()] == [".toy-of-a-person"]
