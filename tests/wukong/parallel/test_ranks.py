"""What ranks tell each other, and evaluations over them, in real process groups."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from codesign.errors import DataError
from tests.support.ranks import on_ranks
from tests.support.toy_columns import toy_columns, toy_schema
from wukong.data.batch import Batch
from wukong.data.columns import LabelTask, SplitColumns
from wukong.data.prepared import PreparedData, open_prepared, write_prepared
from wukong.evaluate import Predictions, evaluate, example_losses, predict
from wukong.parallel.ranks import Ranks
from wukong.parallel.rendezvous import is_loss_of_a_rank

WORLDS = (2, 4)
# Of a split: one row, fewer than ranks, odd, and more than one batch of all ranks.
SIZES = (1, 3, 7, 101)


class Lookup(nn.Module):
    """A logit for each id and task: the same to the bit in whatever batch an example comes."""

    def __init__(self, ids: int) -> None:
        super().__init__()
        logits = np.random.default_rng(1).normal(size=(ids, 2)).round(1)
        self.register_buffer("logit_IT", torch.tensor(logits, dtype=torch.float32))

    def forward(self, batch: Batch) -> Tensor:
        return self.logit_IT[batch.one_hot_BF[:, 0]]


def prepared(folder: Path, rows: int) -> PreparedData:
    return write_prepared(
        folder,
        name="toy",
        schema=toy_schema(rows),
        columns=dict.fromkeys(("train", "validation", "test"), toy_columns(rows, tasks=2)),
        split_rule="none",
        source_md5={},
        notes=(),
        facts={},
        tasks={"ctr": 1.0, "cvr": 1.0},
    )


def what_ranks_say(folders: list[Path]) -> dict[str, object]:
    """Return everything that one rank sees."""
    ranks = Ranks.present()
    rows = torch.full((ranks.rank, 2), float(ranks.rank))
    said: dict[str, object] = {
        "rows": [each.tolist() for each in ranks.gather_rows(rows)],
        "none": [len(each) for each in ranks.gather_rows(torch.zeros(0))],
        "first": ranks.on_first(lambda: f"of rank {ranks.rank}"),
    }
    try:
        ranks.on_first(partial(refuse, ranks.rank))
    except DataError as error:
        said["error"] = (error.what, error.where, error.hint)
    data = [open_prepared(folder) for folder in folders]
    said["predictions"] = [
        predict(Lookup(each.rows("test")), each, "test", 9, ranks) for each in data
    ]
    return said


def refuse(rank: int) -> None:
    raise DataError(f"rank {rank} refuses", where="here", hint="do not")


@pytest.mark.parametrize("world", WORLDS)
def test_what_ranks_tell_each_other_and_predict_together(tmp_path: Path, world: int) -> None:
    data = [prepared(tmp_path / f"{rows}", rows) for rows in SIZES]
    said = on_ranks(world, what_ranks_say, [each.folder for each in data])
    rows = [[[float(rank)] * 2] * rank for rank in range(world)]
    assert [each["rows"] for each in said] == [rows] + [[]] * (world - 1)
    assert [each["none"] for each in said] == [[0] * world] + [[]] * (world - 1)
    assert [each["first"] for each in said] == ["of rank 0"] * world
    assert [each["error"] for each in said] == [("rank 0 refuses", "here", "do not")] * world
    for place, alone in enumerate(data):
        expected = predict(Lookup(alone.rows("test")), alone, "test", 9)
        found = [each["predictions"][place] for each in said]
        for name, column in vars(expected).items():
            np.testing.assert_array_equal(getattr(found[0], name), column, err_msg=name)
        assert [len(each.logit_NT) for each in found[1:]] == [0] * (world - 1)
    assert_judged_alike(said[0]["predictions"][-1], data[-1])


def assert_judged_alike(found: Predictions, data: PreparedData) -> None:
    """Compare with predictions that were never cut: the columns, and the model's rows."""
    columns = data.columns("test")
    whole = dataclasses.replace(
        found,
        label_NT=labels(columns),
        logit_NT=Lookup(len(columns)).logit_IT.numpy(),
        weight_N=np.asarray(columns.weight),
        group_N=np.asarray(columns.group),
    )
    tasks = [LabelTask(name=task.name, base_rate=0.5) for task in data.tasks]
    assert evaluate(found, tasks) == evaluate(whole, tasks)
    assert example_losses(found).tolist() == example_losses(whole).tolist()


def labels(columns: SplitColumns) -> np.ndarray:
    label_NT = np.asarray(columns.labels, dtype=np.float32)
    label_NT[label_NT > 1] = np.nan
    return label_NT


def lose_the_last_rank() -> str:
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == dist.get_world_size() - 1:
        dist.destroy_process_group()
        return "left"
    try:
        for _ in range(3):
            dist.all_reduce(torch.ones(1))
    except RuntimeError as error:
        return f"{is_loss_of_a_rank(error)}"
    return "nothing was noticed"


def wait_for_a_rank_that_hangs() -> list[bool]:
    """Send two messages that the other rank does not answer, and say what came of both."""
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=1))
    found = []
    if dist.get_rank() == 0:
        sent = [dist.all_reduce(torch.ones(1), group=group, async_op=True) for _ in range(2)]
        for message in sent:
            try:
                message.wait()
            except RuntimeError as error:
                found.append(is_loss_of_a_rank(error))
    dist.barrier()
    return found


def test_the_loss_of_a_rank_is_told_from_other_errors() -> None:
    assert on_ranks(2, lose_the_last_rank) == ["True", "left"]
    assert on_ranks(2, wait_for_a_rank_that_hangs)[0] == [True, True]
    assert not is_loss_of_a_rank(RuntimeError("shapes cannot be multiplied"))
