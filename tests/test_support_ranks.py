"""The tests' own starter of ranks: what it must notice for other tests to mean anything."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.support.ranks import RankFailedError, RankGroup, on_ranks
from wukong.parallel.ranks import Ranks


def sum_of_shares(examples: int) -> tuple[int, float, dict[str, Any]]:
    ranks = Ranks.present()
    first, end = ranks.share(examples)
    total = ranks.sum(torch.arange(examples, dtype=torch.float64)[first:end].sum())
    told = ranks.from_first({"from": ranks.rank})
    return ranks.rank, float(total), told


def fail_on_one(rank: int) -> None:
    if dist.get_rank() == rank:
        raise ValueError("by intent")
    dist.barrier()  # the others wait for it


def wait_for_ever() -> None:
    time.sleep(1000)


def test_every_rank_sees_its_share_and_all_agree_on_the_sum() -> None:
    found = on_ranks(4, sum_of_shares, 3)
    assert found == [(rank, 3.0, {"from": 0}) for rank in range(4)]


def test_a_failing_rank_is_named_and_the_others_are_ended() -> None:
    with pytest.raises(RankFailedError, match=r"rank 1 of 2 failed:\n(.|\n)*by intent"):
        on_ranks(2, fail_on_one, 1)


def test_a_killed_rank_and_one_that_hangs_are_noticed() -> None:
    with RankGroup(2, wait_for_ever) as group:
        with pytest.raises(RankFailedError, match=r"ranks \[0, 1\] did not end within"):
            group.results(timeout_s=0.1)
        pid = group.processes[1].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RankFailedError, match="rank 1 of 2 died with exit code -9"):
            group.results(timeout_s=60)
    assert not any(process.is_alive() for process in group.processes)
