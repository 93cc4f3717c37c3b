"""Takes and finds the checkpoints of one training run; they are written while training goes on."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from codesign.errors import DataError
from wukong.checkpoint import folders, tensor_files
from wukong.checkpoint.folders import Checkpoint, Contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from torch import Tensor

    from wukong.parallel.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class State:
    """Where a run stands.

    Attributes:
        tensors: this rank's parts; their memory may be shared with what is trained.
        values: what JSON can hold, the same on all ranks.
    """

    steps: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


class Saver:
    """Writes checkpoints in a thread of its own, one after another.

    A checkpoint that cannot be written, or not be used, costs a warning and not the run. Leaving
    the `with` block waits for the one that is being written.

    Args:
        folder: receives the checkpoints, the same for all ranks; None: there are none.
        earlier: folders of earlier attempts at this run, whose checkpoints may be continued.
        run: the fingerprint of the run.
        every_min: minutes between checkpoints; 0 takes none.
        clock: seconds.
    """

    def __init__(
        self,
        folder: Path | None,
        earlier: Sequence[Path],
        *,
        run: str,
        ranks: Ranks,
        every_min: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._places = () if folder is None else (folder, *earlier)
        self._every_s = 60 * every_min if self._places else 0.0
        self._run, self._clock, self._saved_s = run, clock, clock()
        # The thread talks through a group of its own; this one waits for it before it does.
        self._ranks, self._ranks_of_thread = ranks, ranks.apart()
        self._usable: list[Path] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[str] | None = None
        self._failure = ""
        self._complaints: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is None:
            self.wait()
        self._thread.shutdown()

    @property
    def warnings(self) -> list[str]:
        """What a person should know: checkpoints that were of no use, the last that failed."""
        return self._complaints + [self._failure] * bool(self._failure)

    def latest(self) -> Checkpoint | None:
        """Return the furthest whole checkpoint of the run, if any; every rank must call it."""
        paths: list[Path] = []
        if self._ranks.is_first:
            for place in self._places:
                folders.remove_unfinished(place)
            self._complaints += folders.outdated(self._places)
            paths = folders.complete(self._places)
        useless: list[str] = []
        for path in self._ranks.from_first(paths):
            found = self._checked(path)
            if isinstance(found, Checkpoint):
                self._usable = [path]
                self._explain(useless, f"it continues from {path}")
                return found
            useless += found
        self._explain(useless, "it begins anew")
        return None

    def read(self, found: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
        """Copy the tensors of a checkpoint into these; every rank must call it."""
        tensor_files.read(tensors, found.folder, self._ranks_of_thread)

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint, by rank 0's clock; every rank must call it."""
        due = self._clock() - self._saved_s >= self._every_s
        return bool(self._every_s) and bool(self._ranks.from_first(due))

    def save(self, state: State) -> None:
        """Copy the state and begin to write it; waits for the checkpoint before.

        Every rank must call it.
        """
        self.wait()
        copies = tensor_files.Copies(state.tensors)
        self._pending = self._thread.submit(self._write, copies, state.steps, state.values)
        self._saved_s = self._clock()

    def wait(self) -> None:
        """Wait until the last checkpoint is complete or has failed."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._failure = pending.result() or self._failure

    def pause(self, state: State) -> None:
        """Write a last checkpoint, from which the run will go on, and remove those before it.

        Without a folder there is none. Every rank must call it.
        """
        if not self._places:
            return
        self.save(state)
        self.wait()
        if self._ranks.is_first and not self._failure:
            folders.retain(self._usable[-1:], self._places)

    def remove(self) -> None:
        """Remove the checkpoints of the run, which has ended."""
        self.wait()
        if self._ranks.is_first:
            folders.remove(self._places)

    def _explain(self, useless: Iterable[str], outcome: str) -> None:
        self._complaints += [f"{complaint}; {outcome}" for complaint in dict.fromkeys(useless)]

    def _checked(self, path: Path) -> Checkpoint | list[str]:
        """Read a manifest and look at all files, each rank at some; every rank must call it."""
        found: Checkpoint | list[str] = []
        if self._ranks.is_first:
            try:
                found = folders.read_manifest(path, run=self._run)
            except DataError as error:
                found = [f"{error.where} {error.what}"]
        found = self._ranks.from_first(found)
        if isinstance(found, list):
            return found
        mine = sorted(found.files)[self._ranks.rank :: self._ranks.world]
        parts = self._ranks.gather(list(folders.damage(found, mine)))
        damage = [complaint for part in parts for complaint in part]
        return damage or found

    def _write(self, copies: tensor_files.Copies, steps: int, values: Mapping[str, Any]) -> str:
        """Write a checkpoint; return, the same on all ranks, why there is none, or nothing."""
        ranks, writing = self._ranks_of_thread, folders.temporary(self._places[0], steps)
        files: dict[str, Contents] = {}
        failure = ""
        try:
            files = tensor_files.write(copies, writing, ranks)
        except OSError as error:
            failure = str(error)
        parts = ranks.gather((files, failure))
        if ranks.is_first:
            failures = [failure for _, failure in parts if failure]
            written = {name: each for files, _ in parts for name, each in files.items()}
            failure = failures[0] if failures else self._publish(steps, values, written)
            if failure:
                shutil.rmtree(writing, ignore_errors=True)
        failure = ranks.from_first(failure)
        return failure and f"no checkpoint at step {steps}: {failure}"

    def _publish(self, steps: int, values: Mapping[str, Any], files: dict[str, Contents]) -> str:
        """Give a checkpoint its name, and remove those it replaces; return what went wrong."""
        place, world = self._places[0], self._ranks.world
        complete = Checkpoint(folder=place, steps=steps, world=world, values=values, files=files)
        try:
            self._usable.append(folders.publish(place, complete, run=self._run))
        except OSError as error:
            return str(error)
        self._usable = self._usable[-folders.KEPT :]
        folders.retain(self._usable, self._places)
        return ""
