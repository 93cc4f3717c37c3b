"""How the processes of a run find each other, and what becomes of a run that loses one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from codesign.errors import LaunchError
from wukong.parallel.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

# A rank may wait so long for the others: while the first one judges predictions, or a disk is slow.
# torch gives so much to all groups that are made of parts of the ranks.
TIMEOUT = timedelta(minutes=30)
# The socket that rank 0 is to listen on, opened by whoever started the ranks.
SOCKET_VARIABLE = "RENDEZVOUS_FD"


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes of this run, as long as the block lasts.

    The environment says who they are, in the variables that torchrun sets: `RANK`, `WORLD_SIZE`,
    `MASTER_ADDR` and `MASTER_PORT`. Without them, or in a group that has been made already,
    nothing is joined.

    Args:
        device: where this process computes.

    Raises:
        LaunchError: another process has ended, or does not answer.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Ranks.present(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        _initialise(device)
        yield Ranks.present(device)
    except (RuntimeError, ValueError) as error:
        if not is_loss_of_a_rank(error):
            raise
        raise LaunchError(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} lost another one: "
            f"{str(error).splitlines()[0]}",
            hint="the log of the rank that ended first says why",
        ) from error
    dist.destroy_process_group()


def _initialise(device: torch.device) -> None:
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    if SOCKET_VARIABLE not in os.environ:
        dist.init_process_group(backend, timeout=TIMEOUT)
        return
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world,
        is_master=rank == 0,
        timeout=TIMEOUT,
        wait_for_workers=False,
        master_listen_fd=int(os.environ[SOCKET_VARIABLE]) if rank == 0 else None,
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)


def is_loss_of_a_rank(error: BaseException) -> bool:
    """Whether another rank is gone: gloo has no error of its own, but says where it arose.

    Of messages that waited behind one that took too long, it does not.
    """
    of_gloo = ("/gloo/transport/", "Application timeout caused pair closure")
    return isinstance(error, dist.DistError) or any(words in str(error) for words in of_gloo)
