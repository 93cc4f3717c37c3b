"""A run that is interrupted and continued is, to the bit, the run that was not."""

import dataclasses
import itertools
import json
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from tests.support import small_clicks
from wukong import train
from wukong.checkpoint import folders
from wukong.data.load import loader

ALWAYS = 1e-9  # a checkpoint whenever one may be taken
SWITCHES = {
    "adam": {"plateau_factor": 0.5, "early_stop_patience": 5},
    "clipped": {"clip_norm": 0.1, "table_optimizer": "sgd", "decay_share": 0.5},
    "dense backend": {"table_backend": "dense"},
    "row-wise": {"table_optimizer": "rowwise_adagrad", "table_l2": 0.0},
    "fused": {"table_optimizer": "rowwise_adagrad", "table_l2": 0.0, "table_backend": "fused"},
}


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_clicks.write(tmp_path_factory.mktemp("prepared") / "data")


def run(data, folder, *, stop_after=None, seed=1, earlier=(), model=None, **settings):
    """Train; raise after the evaluation `stop_after`, before its checkpoint is taken."""
    config = dataclasses.replace(small_clicks.CONFIG, **settings)
    seen = itertools.count(1)

    def report(_):
        if next(seen) == stop_after:
            raise Interrupted

    return train.train(
        model or small_clicks.MODEL, data.schema, data, config,
        seed=seed, folder=folder, earlier=earlier, report=report,
    )  # fmt: skip


def made(folder):
    folder.mkdir()
    return folder


def curve(folder):
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [{**line, "seconds": 0} for line in lines]


def weights(result):
    dense = {
        name: weight for name, weight in result.model.state_dict().items() if "tables." not in name
    }
    return {**dense, **result.model.tables.weights()}


def steps_kept(*places):
    return [int(path.name.removeprefix("checkpoint-")) for path in folders.complete(places)]


def same(one, other):
    fields = ("validation", "test", "best_step", "steps", "examples_seen")
    of_one, of_other = weights(one), weights(other)
    return all(getattr(one, name) == getattr(other, name) for name in fields) and all(
        torch.equal(weight, of_other[name]) for name, weight in of_one.items()
    )


@pytest.mark.parametrize("settings", SWITCHES.values(), ids=SWITCHES)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_continued_run_is_the_undisturbed_one_to_the_bit(data, tmp_path, settings, norm):
    model = dataclasses.replace(small_clicks.MODEL, mlp_norm=norm)
    common = {"model": model, "evals_per_pass": 2, "checkpoint_min": ALWAYS, **settings}
    whole = run(data, made(tmp_path / "whole"), **common)
    folder = made(tmp_path / "cut")
    for stop_after in (4, 1):  # three evaluations are kept, then none more
        with pytest.raises(Interrupted):
            run(data, folder, stop_after=stop_after, **common)
        assert steps_kept(folder)
    continued = run(data, folder, **common)
    assert continued.resumed_at_step == 12
    assert same(continued, whole)
    assert curve(folder) == curve(tmp_path / "whole")
    assert [path.name for path in folder.iterdir()] == ["curve.jsonl"]


def test_a_streamed_split_continues_in_the_middle_of_a_pass(data, tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "HELD_BYTES", 0)
    data = dataclasses.replace(data, held={})
    monkeypatch.setattr(train, "FINITE_CHECK_STEPS", 7)
    common = {"batch_size": 16, "checkpoint_min": ALWAYS}
    whole = run(data, made(tmp_path / "whole"), **common)
    folder = made(tmp_path / "cut")
    with pytest.raises(Interrupted):
        run(data, folder, stop_after=2, **common)
    continued = run(data, folder, **common)
    assert continued.resumed_at_step % 7 == 0
    assert continued.resumed_at_step % 65
    assert same(continued, whole)


def test_no_checkpoint_is_written_before_its_time_nor_where_none_is_wanted(data, tmp_path):
    for name, minutes in (("early", 60.0), ("never", 0.0)):
        folder = made(tmp_path / name)
        with pytest.raises(Interrupted):
            run(data, folder, stop_after=3, checkpoint_min=minutes)
        assert [path.name for path in folder.iterdir()] == ["curve.jsonl"]


def test_the_furthest_checkpoint_of_earlier_attempts_is_continued(data, tmp_path):
    places = [made(tmp_path / name) for name in ("one", "two", "three")]
    for folder, stop_after in zip(places, (2, 3), strict=False):
        with pytest.raises(Interrupted):
            run(data, folder, stop_after=stop_after, checkpoint_min=ALWAYS)
    result = run(data, places[2], earlier=places[:2])
    assert result.resumed_at_step == 16
    assert same(result, run(data, made(tmp_path / "whole")))


def test_the_last_two_checkpoints_stay_and_none_after_the_end(data, tmp_path):
    places = [made(tmp_path / name) for name in ("one", "two", "three")]
    common = {"evals_per_pass": 2, "checkpoint_min": ALWAYS}
    for number, stop_after, left in (
        (0, 3, ([8, 4], [])),
        (1, 2, ([8], [12])),
        (1, 3, ([], [20, 16])),
    ):
        with pytest.raises(Interrupted):
            run(data, places[number], earlier=places[:number], stop_after=stop_after, **common)
        assert ([*map(steps_kept, places[:2])]) == list(left)
    run(data, places[2], earlier=places[:2])
    assert {path.name for path in tmp_path.glob("*/*")} == {"curve.jsonl"}


def test_a_checkpoint_of_another_run_is_named_and_not_used(data, tmp_path):
    with pytest.raises(Interrupted):
        run(data, tmp_path, stop_after=3, seed=2, checkpoint_min=ALWAYS)
    result = run(data, tmp_path)
    assert result.resumed_at_step == 0
    [warning] = [w for w in result.warnings if "checkpoint" in w]
    assert warning == (
        f"{tmp_path} has checkpoints of another run: its model, data, settings or seed differ; "
        "it begins anew"
    )


def test_where_and_how_fast_a_run_computes_may_change(data, tmp_path):
    with pytest.raises(Interrupted):
        run(data, tmp_path, stop_after=3, checkpoint_min=ALWAYS)
    assert steps_kept(tmp_path) == [16, 8]
    result = run(data, tmp_path, eval_batch_size=64, memory_check=False, device="cpu")
    assert result.resumed_at_step == 16
    assert same(result, run(data, None))


def test_a_checkpoint_of_an_older_program_is_named_and_removed_at_the_end(data, tmp_path):
    torch.save({"version": 1, "run": "r", "state": {}}, tmp_path / "checkpoint.pt")
    result = run(data, tmp_path, passes=1)
    assert result.warnings == [
        f"{tmp_path / 'checkpoint.pt'} is a checkpoint of an older version; it is not used"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["curve.jsonl"]


RUN = """
import dataclasses, json, resource, sys
from pathlib import Path
from tests.support import small_clicks
from wukong.data.prepared import open_prepared
from wukong import train

train.FINITE_CHECK_STEPS = 20
data, folder, limit = open_prepared(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = dataclasses.replace(
    small_clicks.CONFIG, batch_size=16, passes=12, evals_per_pass=2, checkpoint_min=1e-9
)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
result = train.train(small_clicks.MODEL, data.schema, data, config, seed=3, folder=folder)
fields = ("steps", "best_step", "resumed_at_step", "warnings")
print(json.dumps({name: getattr(result, name) for name in fields} | {
    "test": dataclasses.asdict(result.test)}))
"""


def start(data, folder, limit=0):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), data.folder, folder, str(limit)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process):
    printed, complaint = process.communicate()
    assert process.returncode == 0, complaint
    return json.loads(printed)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return finished(start(data, folder)), curve(folder)


def kill_after_a_checkpoint(process, folder, wait_s):
    """Wait for a new checkpoint, and then at most `wait_s`; return whether it was still running."""
    before = steps_kept(folder)
    while process.poll() is None and steps_kept(folder) == before:
        time.sleep(0.01)
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def test_killed_at_random_moments_the_curve_goes_on_bit_equal(data, undisturbed, tmp_path):
    folder, rng = made(tmp_path / "killed"), random.Random(0)
    kills = [
        kill_after_a_checkpoint(start(data, folder), folder, rng.uniform(0, 0.3)) for _ in range(3)
    ]
    assert any(kills)
    result = finished(start(data, folder))
    assert result["resumed_at_step"] > 0 or not kills[-1]
    assert {**result, "resumed_at_step": 0} == undisturbed[0]
    assert curve(folder) == undisturbed[1]


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(data, undisturbed, tmp_path):
    result = finished(start(data, made(tmp_path / "full"), limit=20_000))
    [warning] = result["warnings"]
    assert warning.startswith("no checkpoint at step")
    assert [path.name for path in Path(tmp_path / "full").iterdir()] == ["curve.jsonl"]
    assert {**result, "warnings": []} == undisturbed[0]
