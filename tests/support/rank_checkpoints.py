"""What the ranks of tests of checkpoints do: they write, read, run out of disk and fail."""

from __future__ import annotations

import itertools
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from wukong.checkpoint.saver import Saver, State
from wukong.parallel.ranks import Ranks


def saver(folder: Path, earlier: Sequence[Path] = ()) -> Saver:
    """Return a saver of the present ranks."""
    return Saver(folder, earlier, run="r", ranks=Ranks.present(), every_min=1)


def tensors() -> dict[str, Tensor]:
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


def parts(tensor: Tensor) -> Iterator[tuple[Tensor, Any]]:
    """Yield this rank's part, and where it lies in the whole."""
    if isinstance(tensor, DTensor):
        local = tensor.to_local()
        mesh = tensor.device_mesh
        rank, ranks = mesh.get_local_rank(mesh.ndim - 1), mesh.size(mesh.ndim - 1)
        each = -(-tensor.shape[0] // ranks)  # as FSDP2 cuts them: equal but for the last ones
        yield local, (slice(rank * each, rank * each + len(local)),)
    else:
        yield tensor, (...,)


def whole(tensor: Tensor, step: int) -> Tensor:
    """Return the tensor that stands in a checkpoint: a count that begins at 1000 · step."""
    size = tensor.size()
    return (1000.0 * step + torch.arange(size.numel())).reshape(size).to(tensor.dtype)


def fill(named: Mapping[str, Tensor], step: int) -> None:
    """Make all tensors what they are at a step."""
    for tensor in named.values():
        for local, place in parts(tensor):
            local.copy_(whole(tensor, step)[place])


def is_filled(named: Mapping[str, Tensor], step: int) -> bool:
    """Whether all tensors are what they are at a step."""
    return {
        name
        for name, tensor in named.items()
        for local, place in parts(tensor)
        if not torch.equal(local, whole(tensor, step)[place])
    } == set()


def write_and_change(folder: Path) -> tuple[list[str], list[str]]:
    """Take three checkpoints; return the warnings, and what lies in the folder."""
    named = tensors()
    with saver(folder) as checkpoints:
        for step in (1, 2, 3):
            fill(named, step)
            checkpoints.save(State(steps=step, tensors=named, values={"step": step}))
            fill(named, 9)  # what is written is what stood there
        checkpoints.wait()
        return checkpoints.warnings, sorted(path.name for path in folder.iterdir())


def read_all(folders: Sequence[Path]) -> list[tuple[int, int, Mapping[str, Any], bool]]:
    """Return of each folder's last checkpoint: steps, ranks, values, and whether it is right."""
    named = tensors()
    found = []
    for folder in folders:
        fill(named, 0)
        with saver(folder) as checkpoints:
            latest = checkpoints.latest()
            assert latest
            checkpoints.read(latest, named)
            found.append((latest.steps, latest.world, latest.values, is_filled(named, 3)))
    return found


def fill_one_disk(folder: Path, limit_bytes: int) -> tuple[list[list[str]], list[str]]:
    """Take three checkpoints; rank 1 has no room for the second one's files.

    Returns:
        What lay in the folder after each, and the warnings.
    """
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


def save_on(folder: Path) -> None:
    """Go on from the last checkpoint, and take one after each step, for ever."""
    named = tensors()
    with saver(folder) as checkpoints:
        latest = checkpoints.latest()
        for step in itertools.count(latest.steps + 1 if latest else 1):
            fill(named, step)
            checkpoints.save(State(steps=step, tensors=named, values={}))


def read_last(folder: Path) -> tuple[int, bool, list[str]]:
    """Return the last checkpoint's steps, whether it is right, and the warnings."""
    named = tensors()
    with saver(folder) as checkpoints:
        latest = checkpoints.latest()
        assert latest
        checkpoints.read(latest, named)
        return latest.steps, is_filled(named, latest.steps), checkpoints.warnings


def begin_and_fail(folder: Path) -> None:
    """Begin a checkpoint and be interrupted."""
    with saver(folder) as checkpoints:
        checkpoints.save(State(steps=1, tensors=tensors(), values={}))
        raise InterruptedError
