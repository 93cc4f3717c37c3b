"""Training a model of the user's own, and its costs by design."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from codesign.contracts import Outcome, Progress
from codesign.designs import as_columns
from codesign.errors import ConfigError
from tests.support import own_models
from tests.support.own_data import own_data
from tests.support.own_models import DeepFM, Linear, WithTables
from wukong.data.columns import file_md5
from wukong.data.prepared import PreparedData
from wukong.evaluate import evaluate, predict
from wukong.learner import Learner
from wukong.own import task as own_task
from wukong.own.task import OwnTask
from wukong.train import TrainConfig, train

CONFIG = TrainConfig(
    batch_size=64, passes=3, dense_lr=0.01, table_lr=0.1, table_l2=0.01, dense_l2=0.001,
    table_optimizer="sgd", clip_norm=0.1, warmup_share=0.0, threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return own_data(tmp_path_factory.mktemp("own"))


def make(
    data: PreparedData, name: str = "DeepFM", model: dict[str, Any] | None = None, **train: Any
) -> OwnTask:
    found = own_task.family(f"{own_models.__name__}:{name}")
    return OwnTask(own=found.model, model=model or {}, train=train, data=data)


def test_embeddings_train_as_tables_and_the_rest_as_the_dense_part(data: PreparedData) -> None:
    ours = Learner(lambda schema: DeepFM(schema), data.schema, CONFIG, steps=5, seed=3)
    torch.manual_seed(3)
    theirs = DeepFM(data.schema)
    tables = [*theirs.rows.parameters(), *theirs.bags.parameters()]
    dense = [*theirs.mlp.parameters(), *theirs.dense.parameters(), theirs.bias]
    optimizers = [
        torch.optim.Adam(dense, lr=0.01, weight_decay=0.001),
        torch.optim.SGD(tables, lr=0.1, weight_decay=0.01),
    ]
    for batch in data.batches("train", 64, shuffle=False):
        theirs.zero_grad()
        F.binary_cross_entropy_with_logits(theirs(batch), batch.label_BT[:, 0]).backward()
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in dense))
        for p in dense:
            p.grad *= min(1.0, 0.1 / norm)
        for optimizer in optimizers:
            optimizer.step()
        ours.step(batch)
    for name, weight in ours.model.state_dict().items():
        torch.testing.assert_close(weight, theirs.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_a_table_backend_keeps_the_optimizer_it_was_made_with(data: PreparedData) -> None:
    ours = Learner(lambda schema: WithTables(schema), data.schema, CONFIG, steps=1, seed=3)
    torch.manual_seed(3)
    theirs = WithTables(data.schema)
    batch = next(data.batches("train", 64, shuffle=False))
    F.binary_cross_entropy_with_logits(theirs(batch)[:, 0], batch.label_BT[:, 0]).backward()
    ours.step(batch)
    expected = {
        name: weight.detach() - 0.5 * weight.grad  # SGD at 0.5, neither table_lr nor table_l2
        for name, weight in theirs.tables.named_parameters()
    }
    for name, weight in ours.model.tables.named_parameters():
        torch.testing.assert_close(weight.detach(), expected[name])


@pytest.mark.parametrize("build", [DeepFM, WithTables, Linear], ids=lambda build: build.__name__)
def test_the_same_seed_trains_the_same_model_whose_best_weights_come_back(
    data: PreparedData, build: Any
) -> None:
    generator = torch.get_rng_state()
    first, again, other = (train(build, data.schema, data, CONFIG, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), generator)
    assert first.validation == again.validation != other.validation
    for split, found in (("validation", first.validation), ("test", first.test)):
        assert evaluate(predict(first.model, data, split, 64), data.tasks) == found
    assert first.warnings == []


def test_each_design_is_counted_once_whatever_else_it_says(data: PreparedData) -> None:
    counted = make(data, model={"dropout": 0.1})
    designs = [{"width": w, "dense_lr": lr} for w in (8, 16, 8) for lr in (0.1, 0.2)]
    costs = counted.costs(as_columns(designs))
    assert [len(values) for values in costs.values()] == [6] * len(costs)
    assert len(set(costs["parameters"].tolist())) == 2
    for width, parameters in ((8, costs["parameters"][0]), (16, costs["parameters"][2])):
        assert parameters == sum(p.numel() for p in DeepFM(data.schema, width=width).parameters())
    assert len(counted._counted) == 2
    plain = make(data).costs({"dense_lr": np.array([0.1, 0.2])})
    assert plain["parameters"].tolist() == [costs["parameters"][0]] * 2


@pytest.mark.parametrize(
    ("name", "design", "complaint"),
    [
        ("DeepFM", {"width": 7}, "DeepFM with width 7: cannot be: width must be even"),
        ("Linear", {"spoilt": "value"}, "Linear with spoilt value: cannot be counted: the meta"),
        ("Linear", {"spoilt": "none"}, "with spoilt none: cannot be: forward returns None"),
        ("no_module", {}, "no_module with its defaults: cannot be: returned '1 features, width 3'"),
    ],
)
def test_a_design_that_cannot_be_counted_is_named(
    data: PreparedData, name: str, design: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make(data, name).costs(as_columns([{**design, "dense_lr": 0.1}]))


def test_what_is_missing_or_contradicts_itself_is_said_before_training(
    data: PreparedData,
) -> None:
    assert make(data, "needs_width").check({"gate": 0.5}) == [
        "width has no default; must stand in model or in space"
    ]
    assert make(data, "needs_width", {"width": 4}).check({}) == []
    assert make(data, dense_lr=0.0).check({}) == ["dense_lr is 0.0; must be > 0"]


def test_settings_hold_defaults_and_facts_the_code(data: PreparedData) -> None:
    task = make(data, model={"d": 2}, passes=4)
    settings = task.settings({"width": 16, "dense_lr": 0.5})
    assert {name: settings[name] for name in ("d", "width", "depth", "dense_lr", "passes")} == {
        "d": 2, "width": 16, "depth": 1, "dense_lr": 0.5, "passes": 4,
    }  # fmt: skip
    code = file_md5(Path(own_models.__file__))
    expected = {"toy.csv": "0" * 32, f"{own_models.__name__}:DeepFM": code}
    assert task.facts()["source_md5"] == expected


def test_a_model_without_weights_cannot_be_trained(data: PreparedData) -> None:
    with pytest.raises(ConfigError, match="no weights that could be trained"):
        Learner(lambda _: torch.nn.Identity(), data.schema, CONFIG, steps=1, seed=0)


def test_a_model_of_several_tasks_is_judged_task_by_task(tmp_path: Path) -> None:
    two = own_data(tmp_path, ("ctr", "cvr"))
    settings = {"passes": 2, "batch_size": 64, "threads": 1}
    task = make(two, model={"tasks": 2}, monitor="auc.cvr", **settings)
    assert task.check({}) == []
    assert task.costs({"dense_lr": np.array([0.1])})["gflop_per_example"][0] > 0
    metrics = task.run({}, seed=1, folder=tmp_path, earlier=(), report=lambda _: None).metrics
    assert metrics["auc"] == pytest.approx((metrics["auc.ctr"] + metrics["auc.cvr"]) / 2)
    with pytest.raises(ConfigError, match=r"a tensor \(64,\) for 64 examples of 2 tasks"):
        make(two).costs({"dense_lr": np.array([0.1])})


def test_a_model_of_ones_own_pauses_and_ends_as_if_it_had_not(
    data: PreparedData, tmp_path: Path
) -> None:
    task = make(data, passes=2, batch_size=64, threads=1)
    places = [tmp_path / name for name in ("whole", "one", "two")]
    for place in places:
        place.mkdir()

    def ended(place: Path, until: float, earlier: tuple[Path, ...] = ()) -> Outcome:
        return task.run(
            {}, seed=1, folder=place, earlier=earlier, report=lambda _: None, until=until
        )

    whole, paused = ended(places[0], 1.0), ended(places[1], 0.4)
    assert (whole.share, paused.share) == (1.0, 0.4)
    assert "test_log_loss" not in paused.metrics
    two = ended(places[2], 1.0, (places[1],))
    assert two.facts["resumed_at_step"] == paused.facts["steps"]
    for name in ("log_loss", "test_log_loss", "test_auc"):
        assert two.metrics[name] == whole.metrics[name]


def test_a_checkpoint_continues_the_same_arguments_only(data: PreparedData, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(progress: Progress) -> None:
        if progress.done > 2 * data.rows("train"):
            raise Interrupted

    resumed = {}
    for activation in ("relu", "gelu"):  # It leaves no trace in modules and weights.
        folder = tmp_path / activation
        folder.mkdir()
        first = make(data, passes=3, batch_size=64, checkpoint_min=1e-9)
        with pytest.raises(Interrupted):
            first.run({}, seed=1, folder=folder, earlier=(), report=interrupt)
        again = make(data, passes=3, batch_size=64)
        outcome = again.run(
            {"activation": activation}, seed=1, folder=folder, earlier=(), report=lambda _: None
        )
        resumed[activation] = outcome.facts["resumed_at_step"] > 0
    assert resumed == {"relu": True, "gelu": False}
