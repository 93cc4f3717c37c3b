"""Checkpoints of any number of ranks are whole or absent, and read at any other number."""

import json
import os
import pickle
import random
import shutil
import time
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rank_checkpoints import (
    begin_and_fail,
    fill_one_disk,
    read_all,
    read_last,
    save_on,
    saver,
    write_and_change,
)
from tests.support.ranks import RankFailedError, RankGroup, on_ranks
from wukong.checkpoint import folders, tensor_files
from wukong.checkpoint.saver import State
from wukong.parallel.ranks import Ranks

WORLDS = (1, 2, 3, 4)


def test_what_any_number_of_ranks_wrote_any_other_reads(tmp_path):
    places = {world: tmp_path / str(world) for world in WORLDS}
    for world, folder in places.items():
        folder.mkdir()
        for each in on_ranks(world, write_and_change, folder):
            assert each == ([], ["checkpoint-2", "checkpoint-3"])
    expected = [(3, world, {"step": 3}, True) for world in WORLDS]
    for world in WORLDS:
        assert on_ranks(world, read_all, list(places.values())) == [expected] * world


@pytest.mark.parametrize("limit_bytes", [0, 1, 3000])
def test_a_full_disk_of_one_rank_costs_all_the_checkpoint_and_is_named(tmp_path, limit_bytes):
    for found, warnings in on_ranks(2, fill_one_disk, tmp_path, limit_bytes):
        first, both = ["checkpoint-1"], ["checkpoint-1", "checkpoint-3"]
        assert found == [first, first, both]
        assert warnings == ["no checkpoint at step 2: rank 1: [Errno 27] File too large"]


def test_ranks_killed_at_any_moment_leave_the_last_complete_checkpoint_usable(tmp_path):
    rng = random.Random(0)
    steps = in_the_middle = 0
    for kills, world in enumerate((2, 4, 2, 3, 2, 4, 2)):
        if kills >= 3 and in_the_middle:
            break
        with RankGroup(world, save_on, tmp_path) as group:
            before = folders.complete([tmp_path])
            while folders.complete([tmp_path]) == before:
                assert all(process.is_alive() for process in group.processes)
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
            rng.choice(group.processes).kill()
        in_the_middle += any(tmp_path.glob(".checkpoint-*"))
        reached = int(folders.complete([tmp_path])[0].name.partition("-")[2])
        assert reached > steps
        steps = reached
        readers = rng.choice(WORLDS)
        assert on_ranks(readers, read_last, tmp_path) == [(steps, True, [])] * readers
        assert not any(tmp_path.glob(".*"))
    assert in_the_middle


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    tensor = torch.zeros(50, 8)
    with saver(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(
                State(steps=step, tensors={"t": tensor + step}, values={"name": "värde"})
            )
    return folder


FILES = (".metadata", "__0_0.distcp", folders.MANIFEST)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(FILES),
    kind=st.sampled_from(["missing", "truncated", "flipped", "longer"]),
    where=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    both=st.booleans(),
)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    two_checkpoints, tmp_path_factory, name, kind, where, bit, both
):
    folder = tmp_path_factory.mktemp("damaged") / "f"
    shutil.copytree(two_checkpoints, folder)
    damaged = [folder / f"checkpoint-{step}" / name for step in ((2, 1) if both else (2,))]
    for path in damaged:
        damage(path, kind, where, bit)
    with saver(folder) as checkpoints:
        latest = checkpoints.latest()
        warnings = checkpoints.warnings
        if latest:
            tensor = torch.zeros(50, 8)
            checkpoints.read(latest, {"t": tensor})
            assert latest.steps == 1
            assert torch.equal(tensor, torch.ones(50, 8))
    outcome = "it begins anew" if both else f"it continues from {folder / 'checkpoint-1'}"
    assert (latest is None) == both
    assert len(warnings) == len(damaged)
    for path, warning in zip(damaged, warnings, strict=True):
        assert warning.startswith(str(path))
        assert warning.endswith(f"; {outcome}")
        if kind in ("truncated", "longer") and name != folders.MANIFEST:
            size = (two_checkpoints / path.parent.name / name).stat().st_size
            assert f" has {path.stat().st_size} bytes; must be {size};" in warning


def damage(path, kind, where, bit):
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if kind == "missing":
        path.unlink()
        return
    if kind == "truncated":
        content = content[:place]
    elif kind == "longer":
        content += b"x"
    else:
        content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[" * 100_000,
        json.dumps({"crc32": zlib.crc32(b"[]"), "body": []}),
        json.dumps({"crc32": zlib.crc32(b"{}"), "body": {}}),
    ],
    ids=["null", "deep", "no body", "empty body"],
)
def test_a_manifest_of_something_else_is_damaged(two_checkpoints, tmp_path, text):
    folder = shutil.copytree(two_checkpoints, tmp_path / "f")
    path = folder / "checkpoint-2" / folders.MANIFEST
    path.write_text(text)
    with saver(folder) as checkpoints:
        latest = checkpoints.latest()
    assert latest
    assert latest.steps == 1
    (warning,) = checkpoints.warnings
    assert warning.startswith(f"{path} of {len(text)} bytes is damaged: ")


def test_what_cannot_be_removed_costs_an_ended_run_nothing(tmp_path):
    stays = tmp_path / "earlier" / "checkpoint.pt"
    (stays / "which is a folder").mkdir(parents=True)
    folder = tmp_path / "run"
    with saver(folder, [stays.parent]) as checkpoints:
        checkpoints.save(State(steps=1, tensors={"t": torch.ones(2)}, values={}))
        checkpoints.remove()
    assert not any(folder.iterdir())
    assert stays.exists()


def test_a_checkpoint_cannot_run_code(two_checkpoints, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made by the checkpoint"),)

    path = shutil.copytree(two_checkpoints / "checkpoint-2", tmp_path / "checkpoint-2")
    (path / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RuntimeError, match="mkdir has no place among descriptions of tensors"):
        tensor_files.read({"t": torch.zeros(50, 8)}, path, Ranks())
    assert not (tmp_path / "made by the checkpoint").exists()


def test_a_manifest_is_text_that_names_every_file_with_its_size(two_checkpoints):
    path = two_checkpoints / "checkpoint-2"
    body = json.loads((path / folders.MANIFEST).read_text())["body"]
    sizes = {name: contents["bytes"] for name, contents in body["files"].items()}
    assert sizes == {
        each.name: each.stat().st_size for each in path.iterdir() if each.name != folders.MANIFEST
    }
    assert (body["steps"], body["world"], body["values"]) == (2, 1, {"name": "värde"})


def test_parts_that_a_rank_wrote_where_the_first_cannot_see_them_make_no_checkpoint(tmp_path):
    writing = folders.temporary(tmp_path, 5)
    writing.mkdir()
    (writing / "__0_0.distcp").write_bytes(b"here")
    elsewhere = {"__1_0.distcp": folders.Contents(bytes=4, crc32=0)}
    here = {"__0_0.distcp": folders.contents(writing / "__0_0.distcp")}
    complete = folders.Checkpoint(
        folder=tmp_path, steps=5, world=2, values={}, files=here | elsewhere
    )
    with pytest.raises(OSError, match=r"__1_0.distcp of another rank is not here; must be shared"):
        folders.publish(tmp_path, complete, run="r")
    assert not folders.complete([tmp_path])


def test_an_interrupted_run_completes_the_checkpoint_that_it_had_begun(tmp_path):
    with RankGroup(2, begin_and_fail, tmp_path) as group:
        with pytest.raises(RankFailedError, match="InterruptedError"):
            group.results(60)
        for process in group.processes:
            process.join()
    assert [path.name for path in folders.complete([tmp_path])] == ["checkpoint-1"]
