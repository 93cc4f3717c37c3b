"""A run that pauses or is stopped, and goes on, is to the bit the run that did not."""

import dataclasses
import json
import shutil

import pytest
import torch

from tests.support import small_clicks
from wukong import train
from wukong.checkpoint import folders

SETTINGS = {
    "adam, batch norm": {"plateau_factor": 0.5, "early_stop_patience": 5, "evals_per_pass": 2},
    "fused": {
        "table_optimizer": "rowwise_adagrad", "table_l2": 0.0, "table_backend": "fused",
        "decay_share": 0.5,
    },
}  # fmt: skip
RUNGS = (0.1, 0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_clicks.write(tmp_path_factory.mktemp("prepared") / "data")


def run(data, folder, *, until=1.0, earlier=(), stop=lambda: False, **settings):
    folder.mkdir(exist_ok=True)
    model = dataclasses.replace(small_clicks.MODEL, mlp_norm="batch")
    config = dataclasses.replace(small_clicks.CONFIG, checkpoint_min=0, **settings)
    reported = []
    result = train.train(
        model, data.schema, data, config,
        seed=1, folder=folder, earlier=earlier, until=until, stop=stop,
        report=reported.append,
    )  # fmt: skip
    return result, reported


def weights(result):
    state = result.model.state_dict()
    dense = {name: weight for name, weight in state.items() if "tables." not in name}
    return {**dense, **result.model.tables.weights()}


def curve(folder):
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [{**line, "seconds": 0} for line in lines]


def assert_same(one, other):
    for name in ("diverged", "paused", "validation", "test", "best_step", "steps", "examples_seen"):
        assert getattr(one, name) == getattr(other, name), name
    of_other = weights(other)
    assert all(torch.equal(weight, of_other[name]) for name, weight in weights(one).items())


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_paused_run_goes_on_as_if_it_had_not_paused(data, tmp_path, settings):
    whole, _ = run(data, tmp_path / "whole", **settings)
    attempts = []
    for i, until in enumerate((*RUNGS, 1.0)):
        place = tmp_path / f"attempt-{i}"
        result, reported = run(data, place, until=until, earlier=attempts, **settings)
        attempts.append(place)
        if until < 1:
            steps = max(1, round(until * whole.steps))
            assert (result.paused, result.steps, result.test) == (True, steps, None)
            # A run as long as this one ends with these weights, whatever it learned from since.
            assert reported[-1].step == steps
            assert reported[-1].validation_log_loss == result.validation["log_loss"]
            left = [path.name for path in folders.complete(attempts)]
            assert left == [f"checkpoint-{steps}"], "one checkpoint, the earlier ones removed"
    assert result.resumed_at_step == round(RUNGS[-1] * whole.steps)
    assert_same(result, whole)
    assert curve(attempts[-1]) == curve(tmp_path / "whole")
    assert folders.complete(attempts) == []


def test_what_is_measured_at_a_pause_is_what_the_weights_there_predict(data, tmp_path):
    result, _ = run(data, tmp_path / "paused", until=0.37)
    model, losses = result.model.eval(), []
    for batch in data.batches("validation", 64, shuffle=False):
        with torch.no_grad():
            logit, label = model(batch).double().flatten(), batch.label_BT.flatten()
        losses.append(torch.where(label > 0, -logit.sigmoid().log(), -(-logit).sigmoid().log()))
    assert float(torch.cat(losses).mean()) == pytest.approx(result.validation["log_loss"], rel=1e-6)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_run_told_to_stop_goes_on_as_if_it_had_not(data, tmp_path, settings):
    whole, _ = run(data, tmp_path / "whole", **settings)
    attempts, reached = [], 0
    for i in range(50):
        attempts.append(tmp_path / f"attempt-{i}")
        questions = iter([False, i > 0])  # Always at the second question, but for the first run.
        result, _ = run(
            data, attempts[-1], earlier=attempts[:-1], stop=lambda q=questions: next(q, True),
            **settings,
        )  # fmt: skip
        assert result.resumed_at_step == reached
        if not result.stopped:
            break
        reached = result.steps
        left = [path.name for path in folders.complete(attempts)]
        assert left == [f"checkpoint-{reached}"], "one checkpoint, the earlier ones removed"
    assert i > 3
    assert_same(result, whole)
    assert curve(attempts[-1]) == curve(tmp_path / "whole")
    assert folders.complete(attempts) == []


def test_a_run_without_a_folder_stops_and_leaves_nothing(data):
    config = dataclasses.replace(small_clicks.CONFIG, checkpoint_min=0)
    result = train.train(small_clicks.MODEL, data.schema, data, config, seed=1, stop=lambda: True)
    assert (result.stopped, result.steps, result.validation) == (True, 1, None)


def test_an_attempt_killed_after_its_pause_pauses_at_the_same_step_again(data, tmp_path):
    first, _ = run(data, tmp_path / "one", until=0.5)
    again, reported = run(data, tmp_path / "two", until=0.5, earlier=[tmp_path / "one"])
    assert again.resumed_at_step == again.steps == first.steps
    assert_same(again, first)
    assert len(reported) <= 1


def test_a_run_whose_checkpoint_is_gone_begins_anew_and_ends_alike(data, tmp_path):
    whole, _ = run(data, tmp_path / "whole")
    run(data, tmp_path / "one", until=0.5)
    shutil.rmtree(folders.complete([tmp_path / "one"])[0])
    result, _ = run(data, tmp_path / "two", earlier=[tmp_path / "one"])
    assert result.resumed_at_step == 0
    assert_same(result, whole)


def test_a_run_that_stops_early_before_its_pause_has_ended(data, tmp_path):
    early = {"evals_per_pass": 4, "early_stop_patience": 1, "dense_lr": 0.3, "table_lr": 0.3}
    whole, _ = run(data, tmp_path / "whole", **early)
    assert whole.steps < 24, "of three passes of eight batches"
    result, _ = run(data, tmp_path / "cut", until=0.99, **early)
    assert not result.paused
    assert_same(result, whole)
