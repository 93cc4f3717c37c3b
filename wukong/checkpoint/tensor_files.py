"""Tensors of all ranks in files, by torch.distributed.checkpoint.

Each rank writes its own shards; any number of ranks can read them. Reading runs no code.
"""

from __future__ import annotations

import pathlib
import pickle
import warnings
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import filesystem, metadata
from torch.distributed.checkpoint.default_planner import create_default_local_save_plan
from torch.distributed.checkpoint.utils import find_state_dict_object

from wukong.checkpoint.folders import Contents, contents

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wukong.parallel.ranks import Ranks

METADATA = ".metadata"

# One process alone is no mistake here.
warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or")


class Copies(dcp.DefaultSavePlanner):
    """Copies of this rank's parts of tensors, in memory of their own on the CPU.

    Args:
        tensors: plain tensors, equal on all ranks that have one of this name, or sharded ones.
            They are not held: whoever writes the copies does not touch them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        named = dict(tensors)
        self._parts = create_default_local_save_plan(named, is_coordinator=True)
        self._copies = {
            part.index: find_state_dict_object(named, part.index).detach().to("cpu", copy=True)
            for part in self._parts.items
        }

    def create_local_plan(self) -> dcp.SavePlan:
        """Return what this rank has; of what several have, one will write it."""
        return self._parts

    def lookup_object(self, index: metadata.MetadataIndex) -> Tensor:
        """Return the copy, whatever has become of the tensor meanwhile."""
        return self._copies[index]


def write(copies: Copies, folder: Path, ranks: Ranks) -> dict[str, Contents]:
    """Write copies into `folder`, which is made; every rank must call it.

    Returns:
        What this rank has written, by file; all of it is on disk.

    Raises:
        OSError: a rank cannot write; raised on every rank.
    """
    writer = dcp.FileSystemWriter(folder, per_thread_copy_ahead=0)
    group = ranks.group
    try:
        dcp.save(
            {},
            storage_writer=writer,
            planner=copies,
            process_group=group,
            no_dist=group is None,
        )
    except dcp.CheckpointException as error:
        raise _cause(error) from error
    own = [*folder.glob(f"__{ranks.rank}_*")] + [folder / METADATA] * ranks.is_first
    return {path.name: contents(path) for path in own}


def read(tensors: Mapping[str, Tensor], folder: Path, ranks: Ranks) -> None:
    """Read what `write` wrote into this rank's parts of tensors; every rank must call it.

    Raises:
        OSError: a rank cannot read; raised on every rank.
    """
    group = ranks.group
    try:
        dcp.load(
            dict(tensors),
            storage_reader=_Reader(folder),
            planner=dcp.DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False),
            process_group=group,
            no_dist=group is None,
        )
    except dcp.CheckpointException as error:
        raise _cause(error) from error


def _cause(error: dcp.CheckpointException) -> Exception:
    """Return the OSError behind a failure with its rank, or an error where it is a bug."""
    rank, (cause, _) = min(error.failures.items())
    # What torch makes of a write that failed: a RuntimeError of its archive writer.
    if isinstance(cause, OSError) or "PytorchStreamWriter" in str(cause):
        return OSError(f"rank {rank}: {str(cause).splitlines()[0]}")
    return RuntimeError(str(error))


class _Reader(dcp.FileSystemReader):
    """Reads the description of the tensors, a pickle, admitting nothing else in it."""

    def read_metadata(self) -> metadata.Metadata:
        with (pathlib.Path(self.path) / METADATA).open("rb") as file:
            found: metadata.Metadata = _MetadataUnpickler(file).load()
        return replace(found, storage_meta=metadata.StorageMeta(load_id=self.load_id))


class _MetadataUnpickler(pickle.Unpickler):
    """Makes what describes tensors; anything else is refused before it is called."""

    _CLASSES = (
        metadata.Metadata,
        metadata.TensorStorageMetadata,
        metadata.TensorProperties,
        metadata.ChunkStorageMetadata,
        metadata.MetadataIndex,
        metadata.StorageMeta,
        metadata._MEM_FORMAT_ENCODING,
        filesystem._StorageInfo,
        torch.Size,
        torch.serialization._get_layout,
        pathlib.PosixPath,
    )

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._allowed = {(each.__module__, each.__qualname__): each for each in self._CLASSES}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return self._allowed[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place among descriptions of tensors")
