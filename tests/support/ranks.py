"""Runs a function on the ranks of a real process group: gloo over loopback, one thread a rank.

    losses = on_ranks(4, train_a_little, config)[0]

The first rank that fails ends all others and is named with its traceback; so does a time-out.
Processes are forked from a server that has imported torch, so a group starts in a fraction of a
second once the first has.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["torch.distributed.fsdp", "torchrec.distributed", "wukong.train"])


class RankFailedError(Exception):
    """A rank raised, died or did not end in time."""


def on_ranks(
    world: int, function: Callable[..., Any], *arguments: Any, timeout_s: float = 120
) -> list[Any]:
    """Call `function(*arguments)` on every rank and return what each returned, by rank.

    Args:
        function: of a module, so that it can be pickled; so must its arguments and its result.

    Raises:
        RankFailedError: naming the rank.
    """
    with RankGroup(world, function, *arguments) as group:
        return group.results(timeout_s)


class RankGroup:
    """The processes of one group; leaving the `with` block ends those that still run."""

    def __init__(self, world: int, function: Callable[..., Any], *arguments: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ranks-")
        self.processes = []
        self._answers: list[Connection] = []
        task = pickle.dumps((function, arguments))
        for rank in range(world):
            answer, ours = _FORKS.Pipe(duplex=False)
            process = _FORKS.Process(
                target=_run, args=(rank, world, self._folder.name, task, ours), daemon=True
            )
            process.start()
            ours.close()
            self.processes.append(process)
            self._answers.append(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self._folder.cleanup()

    def results(self, timeout_s: float) -> list[Any]:
        """Wait for all ranks; return what each returned.

        Raises:
            RankFailedError: naming the rank.
        """
        ends_s = time.monotonic() + timeout_s
        found: dict[int, Any] = {}
        while len(found) < len(self.processes):
            waiting = [rank for rank in range(len(self.processes)) if rank not in found]
            ready = connection.wait(
                [self._answers[rank] for rank in waiting], max(0.0, ends_s - time.monotonic())
            )
            if not ready:
                raise RankFailedError(f"ranks {waiting} did not end within {timeout_s} s")
            answers = {r: self._answer(r) for r in waiting if self._answers[r] in ready}
            # Ranks that fail for want of another fail later than it.
            failed = [(answer.at_s, r) for r, answer in answers.items() if answer.failure]
            if failed:
                rank = min(failed)[1]
                name = f"rank {rank} of {len(self.processes)}"
                raise RankFailedError(f"{name} {answers[rank].failure}")
            found |= {r: answer.value for r, answer in answers.items()}
        return [found[rank] for rank in range(len(self.processes))]

    def _answer(self, rank: int) -> _Answer:
        try:
            answer: _Answer = pickle.loads(self._answers[rank].recv_bytes())
        except EOFError:
            process = self.processes[rank]
            process.join()
            return _Answer(failure=f"died with exit code {process.exitcode}")
        return answer


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a rank returned, or why it did not; `at_s` by the machine's monotonic clock."""

    value: Any = None
    failure: str = ""
    at_s: float = 0.0


def _run(rank: int, world: int, folder: str, task: bytes, answer: Connection) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world)
    )
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    try:
        function, arguments = pickle.loads(task)
        dist.init_process_group(
            "gloo",
            init_method=(Path(folder) / "rendezvous").as_uri(),
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=60),
        )
        # A plain pickle: torch's own would send tensors through memory that ends with the rank.
        message = pickle.dumps(_Answer(value=function(*arguments)))
    except BaseException:  # whatever it was, the test is told
        failure = f"failed:\n{traceback.format_exc()}"
        message = pickle.dumps(_Answer(failure=failure, at_s=time.monotonic()))
    answer.send_bytes(message)
    answer.close()
