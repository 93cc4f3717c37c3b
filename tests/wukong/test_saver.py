"""Checkpoints of any number of ranks are whole or absent, and read at any other number."""

import itertools
import json
import os
import pickle
import random
import resource
import shutil
import time

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from tests.support.ranks import RankFailedError, RankGroup, on_ranks
from wukong import checkpoint, tensor_files
from wukong.ranks import Ranks
from wukong.saver import Saver, State

WORLDS = (1, 2, 3, 4)


def saver(folder, earlier=()):
    return Saver(folder, earlier, run="r", ranks=Ranks.present(), every_min=1)


def tensors():
    """Name → tensor, as it lies over the present ranks."""
    world = dist.get_world_size()
    mesh = init_device_mesh("cpu", (world,))
    found = {"plain": torch.zeros(3, 2), "scalar": torch.zeros((), dtype=torch.float64)}
    for rows in (1, 2, 3, 7):
        found[f"rows_{rows}"] = distribute_tensor(torch.zeros(rows, 2), mesh, [Shard(0)])
    if world == 4:
        hybrid = init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "shards"))
        found["rows_7"] = distribute_tensor(torch.zeros(7, 2), hybrid, [Replicate(), Shard(0)])
    return found


def parts(tensor):
    """Yield this rank's part, and where it lies in the whole."""
    if hasattr(tensor, "to_local"):
        local = tensor.to_local()
        mesh = tensor.device_mesh
        rank, ranks = mesh.get_local_rank(mesh.ndim - 1), mesh.size(mesh.ndim - 1)
        each = -(-tensor.shape[0] // ranks)  # as FSDP2 cuts them: equal but for the last ones
        yield local, (slice(rank * each, rank * each + len(local)),)
    else:
        yield tensor, (...,)


def whole(tensor, step):
    """Return the tensor that stands in a checkpoint: a count that begins at 1000 · step."""
    size = tensor.size()
    return (1000.0 * step + torch.arange(size.numel())).reshape(size).to(tensor.dtype)


def fill(named, step):
    for tensor in named.values():
        for local, place in parts(tensor):
            local.copy_(whole(tensor, step)[place])


def is_filled(named, step):
    return {
        name
        for name, tensor in named.items()
        for local, place in parts(tensor)
        if not torch.equal(local, whole(tensor, step)[place])
    } == set()


def write_and_change(folder):
    named = tensors()
    with saver(folder) as checkpoints:
        for step in (1, 2, 3):
            fill(named, step)
            checkpoints.save(State(steps=step, tensors=named, values={"step": step}))
            fill(named, 9)  # what is written is what stood there
        checkpoints.wait()
        return checkpoints.warnings, sorted(path.name for path in folder.iterdir())


def read_all(folders):
    named = tensors()
    found = []
    for folder in folders:
        fill(named, 0)
        with saver(folder) as checkpoints:
            latest = checkpoints.latest()
            checkpoints.read(latest, named)
            found.append((latest.steps, latest.world, latest.values, is_filled(named, 3)))
    return found


def test_what_any_number_of_ranks_wrote_any_other_reads(tmp_path):
    folders = {world: tmp_path / str(world) for world in WORLDS}
    for world, folder in folders.items():
        folder.mkdir()
        for each in on_ranks(world, write_and_change, folder):
            assert each == ([], ["checkpoint-2", "checkpoint-3"])
    expected = [(3, world, {"step": 3}, True) for world in WORLDS]
    for world in WORLDS:
        assert on_ranks(world, read_all, list(folders.values())) == [expected] * world


def fill_one_disk(folder, limit_bytes):
    named = tensors()
    found = []
    with saver(folder) as checkpoints:
        for step in (1, 2, 3):
            if step == 2 and dist.get_rank() == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, -1))
            if step == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
            fill(named, step)
            checkpoints.save(State(steps=step, tensors=named, values={}))
            checkpoints.wait()
            dist.barrier()
            found.append(sorted(path.name for path in folder.iterdir()))
            dist.barrier()
        return found, checkpoints.warnings


@pytest.mark.parametrize("limit_bytes", [0, 1, 3000])
def test_a_full_disk_of_one_rank_costs_all_the_checkpoint_and_is_named(tmp_path, limit_bytes):
    for found, warnings in on_ranks(2, fill_one_disk, tmp_path, limit_bytes):
        first, both = ["checkpoint-1"], ["checkpoint-1", "checkpoint-3"]
        assert found == [first, first, both]
        assert warnings == ["no checkpoint at step 2: rank 1: [Errno 27] File too large"]


def save_on(folder):
    """Go on from the last checkpoint, and take one after each step, for ever."""
    named = tensors()
    with saver(folder) as checkpoints:
        latest = checkpoints.latest()
        for step in itertools.count(latest.steps + 1 if latest else 1):
            fill(named, step)
            checkpoints.save(State(steps=step, tensors=named, values={}))


def read_last(folder):
    named = tensors()
    with saver(folder) as checkpoints:
        latest = checkpoints.latest()
        checkpoints.read(latest, named)
        return latest.steps, is_filled(named, latest.steps), checkpoints.warnings


def test_ranks_killed_at_any_moment_leave_the_last_complete_checkpoint_usable(tmp_path):
    rng = random.Random(0)
    steps, in_the_middle = 0, 0
    for world in (2, 4, 2):
        with RankGroup(world, save_on, tmp_path) as group:
            progress = [path.name for path in checkpoint.complete([tmp_path])]
            while [path.name for path in checkpoint.complete([tmp_path])] == progress:
                assert all(process.is_alive() for process in group.processes)
            time.sleep(rng.uniform(0, 0.1))
            rng.choice(group.processes).kill()
            in_the_middle += any(tmp_path.glob(".checkpoint-*"))
        reached = max(int(path.name.partition("-")[2]) for path in checkpoint.complete([tmp_path]))
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


FILES = (".metadata", "__0_0.distcp", checkpoint.MANIFEST)


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
        if kind in ("truncated", "longer") and name != checkpoint.MANIFEST:
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
    body = json.loads((path / checkpoint.MANIFEST).read_text())["body"]
    sizes = {name: contents["bytes"] for name, contents in body["files"].items()}
    assert sizes == {
        each.name: each.stat().st_size
        for each in path.iterdir()
        if each.name != checkpoint.MANIFEST
    }
    assert (body["steps"], body["world"], body["values"]) == (2, 1, {"name": "värde"})


def fail(folder):
    with saver(folder) as checkpoints:
        checkpoints.save(State(steps=1, tensors=tensors(), values={}))
        raise InterruptedError


def test_an_interrupted_run_completes_the_checkpoint_that_it_had_begun(tmp_path):
    with RankGroup(2, fail, tmp_path) as group:
        with pytest.raises(RankFailedError, match="InterruptedError"):
            group.results(60)
        for process in group.processes:
            process.join()
    assert [path.name for path in checkpoint.complete([tmp_path])] == ["checkpoint-1"]
