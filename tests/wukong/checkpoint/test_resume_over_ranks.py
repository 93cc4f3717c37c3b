"""A run that is interrupted or killed and continued on more or fewer ranks is the unbroken one."""

import json
import random
import time
from functools import partial

import numpy as np
import pytest

from tests.support import small_clicks
from tests.support.rank_runs import run, run_whole_and_paused, run_whole_and_stopped
from tests.support.ranks import RankFailedError, RankGroup, on_ranks
from wukong.checkpoint import folders

# Sums over ranks are rounded otherwise than those over all rows; 2.3e-5 is the most seen.
RELATIVE = 5e-5
EARLY_BEST = {"monitor": "calibration_error"}  # best after the second of six evaluations
SETTINGS = {
    "sgd": {"dense_optimizer": "sgd", "table_optimizer": "sgd", "dense_lr": 0.1, "table_lr": 0.1},
    "adam": {"clip_norm": 0.5, **EARLY_BEST},
    "fused": {
        "table_backend": "fused",
        "table_optimizer": "rowwise_adagrad",
        "table_l2": 0.0,
        **EARLY_BEST,
    },
}
# One leg each, of one more evaluation; the last one goes to the end.
LEGS = {"sgd": (1, 2, 4), "adam": (4, 2, 3, 1), "fused": (1, 2, 3, 4, 1)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "data"
    small_clicks.write(folder, items=1)
    return folder


def curve(folder):
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [{**line, "seconds": 0, "by_task": 0} for line in lines]


def numbers(ended, folder):
    return [*ended.figures.values()], [[*line.values()] for line in curve(folder)]


def is_close(one, other):
    return all(np.allclose(a, b, rtol=RELATIVE, atol=0) for a, b in zip(one, other, strict=True))


def made(folder):
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_goes_on_at_another_number_of_ranks(data, tmp_path, name):
    settings = SETTINGS[name]
    unbroken = numbers(run(data, made(tmp_path / "whole"), settings), tmp_path / "whole")
    folder = made(tmp_path / "legs")
    *legs, last = LEGS[name]
    for world in legs:
        with pytest.raises(RankFailedError, match="InterruptedError"):
            on_ranks(world, run, data, folder, settings, 2)
    ended = on_ranks(last, run, data, folder, settings)
    # Six evaluations in three passes of 11 steps.
    assert {each.resumed_at_step for each in ended} == {(0, 6, 11, 17, 22)[len(legs)]}
    assert not ended[0].warnings
    assert is_close(numbers(ended[0], folder), unbroken)
    assert [path.name for path in folder.iterdir()] == ["curve.jsonl"]


@pytest.mark.parametrize("name", ["adam", "fused"])
def test_at_the_same_number_of_ranks_it_goes_on_to_the_bit(data, tmp_path, name):
    arguments = SETTINGS[name], 0, 100, 0.1
    whole = on_ranks(2, run, data, made(tmp_path / "whole"), *arguments)
    folder = made(tmp_path / "cut")
    with pytest.raises(RankFailedError, match="InterruptedError"):
        on_ranks(2, run, data, folder, SETTINGS[name], 4, 100, 0.1)
    continued = on_ranks(2, run, data, folder, *arguments)
    assert continued[0].resumed_at_step == 17
    assert continued[0].figures == whole[0].figures
    assert curve(folder) == curve(tmp_path / "whole")


def test_ranks_that_pause_together_go_on_to_the_bit(data, tmp_path):
    whole, paused = made(tmp_path / "whole"), made(tmp_path / "paused")
    settings = {**SETTINGS["fused"], "checkpoint_min": 0}
    ended = on_ranks(2, run_whole_and_paused, data, whole, paused, settings, (0.3, 0.5))
    for unbroken, legs in ended:
        # Of 33 steps; neither is one after which the run evaluates.
        assert [leg.figures["steps"] for leg in legs] == [10, 16, 33]
        assert [leg.resumed_at_step for leg in legs] == [0, 10, 16]
        assert legs[-1].figures == unbroken.figures
        assert not any(leg.warnings for leg in legs)
    assert curve(paused) == curve(whole)
    assert [path.name for path in paused.iterdir()] == ["curve.jsonl"]


@pytest.mark.parametrize("name", ["adam", "fused"])
def test_ranks_of_which_one_is_told_to_stop_go_on_to_the_bit(data, tmp_path, name):
    whole, stopped = made(tmp_path / "whole"), made(tmp_path / "stopped")
    settings = {**SETTINGS[name], "checkpoint_min": 0}
    ended = on_ranks(2, run_whole_and_stopped, data, whole, stopped, settings, (4, 3))
    for unbroken, legs in ended:
        steps = [leg.figures["steps"] for leg in legs]
        assert 0 < steps[0] < steps[1] < steps[2] == 33
        assert [leg.resumed_at_step for leg in legs] == [0, *steps[:2]]
        assert legs[-1].figures == unbroken.figures
        assert not any(leg.warnings for leg in legs)
    assert curve(stopped) == curve(whole)
    assert [path.name for path in stopped.iterdir()] == ["curve.jsonl"]


def test_a_run_told_to_stop_goes_on_at_another_number_of_ranks(data, tmp_path):
    settings = {**SETTINGS["fused"], "checkpoint_min": 0}
    unbroken = numbers(run(data, made(tmp_path / "whole"), settings), tmp_path / "whole")
    folder = made(tmp_path / "legs")
    first = on_ranks(2, partial(run, told_at=4), data, folder, settings)[0]
    second = run(data, folder, settings, told_at=3)
    ended = on_ranks(4, run, data, folder, settings)[0]
    assert (second.resumed_at_step, ended.resumed_at_step) == (
        first.figures["steps"], second.figures["steps"],
    )  # fmt: skip
    assert is_close(numbers(ended, folder), unbroken)


def test_ranks_killed_at_random_moments_lose_nothing_but_time(data, tmp_path):
    rng = random.Random(1)
    settings = SETTINGS["adam"]
    unbroken = numbers(run(data, made(tmp_path / "whole"), settings), tmp_path / "whole")
    folder = made(tmp_path / "killed")
    for world in (2, 2, 4, 2):
        before = folders.complete([folder])
        with RankGroup(world, run, data, folder, settings, 0, 1) as group:
            while folders.complete([folder]) == before:
                assert all(process.is_alive() for process in group.processes)
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
            rng.choice(group.processes).kill()
        assert folders.complete([folder])
    ended = on_ranks(2, run, data, folder, settings, 0, 1)[0]
    assert ended.resumed_at_step > 3
    assert not ended.warnings
    assert is_close(numbers(ended, folder), unbroken)
