"""The training loop on small synthetic data, with known truths to check it against."""

import dataclasses
import json
import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional

from codesign.errors import ConfigError
from tests.support import small_clicks
from tests.support.small_clicks import CONFIG, MODEL, SCHEMA
from wukong import learner, metrics
from wukong.data.load import loader
from wukong.evaluate import evaluate, predict
from wukong.model import Wukong
from wukong.train import TrainConfig, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_clicks.write(tmp_path_factory.mktemp("prepared") / "synthetic")


def run(data, model=MODEL, seed=1, folder=None, **settings):
    curve = []
    config = dataclasses.replace(CONFIG, **settings)
    result = train(model, SCHEMA, data, config, seed=seed, folder=folder, report=curve.append)
    return result, curve


def test_training_beats_the_constant_and_the_result_is_that_of_its_model(data):
    result, curve = run(data, passes=12)
    assert not result.diverged
    assert result.test["normalized_entropy"] < 0.95
    for split, found in [("validation", result.validation), ("test", result.test)]:
        assert evaluate(predict(result.model, data, split, 64), data.tasks) == found
    best = max(curve, key=lambda progress: progress.validation_auc)
    assert (result.best_step, result.validation["auc"]) == (best.step, best.validation_auc)
    assert result.best_step < result.steps


def test_an_evaluation_holds_the_four_measures_of_its_predictions(data):
    result, _ = run(data, passes=1)
    predictions = predict(result.model, data, "test", 500)
    label, logit = predictions.label_NT[:, 0], predictions.logit_NT[:, 0]
    assert len(label) == data.rows("test")
    assert result.test["auc"] == metrics.auc(label, logit)
    assert result.test["auc_sd"] == metrics.auc_standard_deviation(label, logit)
    likelihood = np.where(label == 1, expit(logit), expit(-logit))
    assert result.test["log_loss"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-5)
    rate = data.columns("train").label.mean()
    constant = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    assert result.test["normalized_entropy"] == pytest.approx(result.test["log_loss"] / constant)


def test_the_monitored_metric_decides_which_weights_are_best(data):
    settings = {"passes": 10, "dense_lr": 0.01, "table_lr": 0.02, "evals_per_pass": 2}
    by_auc, curve = run(data, monitor="auc", **settings)
    by_log_loss, _ = run(data, monitor="log_loss", **settings)
    assert by_auc.best_step == max(curve, key=lambda p: p.validation_auc).step
    assert by_log_loss.best_step == min(curve, key=lambda p: p.validation_log_loss).step
    assert by_log_loss.best_step != by_auc.best_step


def same_weights(one, other):
    state = other.state_dict()
    return all(torch.equal(weight, state[name]) for name, weight in one.state_dict().items())


def test_equal_seeds_give_bit_identical_runs_and_other_seeds_others(data):
    (first, curve), (again, curve_again), (other, _) = (run(data, seed=s) for s in (5, 5, 6))
    assert [p.train_log_loss for p in curve] == [p.train_log_loss for p in curve_again]
    assert (first.validation, first.test) == (again.validation, again.test)
    assert same_weights(first.model, again.model)
    assert not same_weights(first.model, other.model)


def test_training_leaves_the_global_generator_and_the_threads_as_they_were(data):
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    run(data, passes=1, threads=threads + 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_plain_and_dense_backends_draw_the_same_curve_over_24_steps(data):
    curves = [
        run(data, table_backend=backend, evals_per_pass=8)[1] for backend in ("plain", "dense")
    ]
    assert len(curves[0]) == 24
    losses = [[(p.train_log_loss, p.validation_log_loss) for p in curve] for curve in curves]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_plain_and_fused_backends_draw_the_same_curve_with_row_wise_adagrad(data):
    settings = {"table_optimizer": "rowwise_adagrad", "table_l2": 0.0, "table_lr": 0.05}
    results = [run(data, table_backend=backend, **settings) for backend in ("plain", "fused")]
    losses = [[(p.train_log_loss, p.validation_log_loss) for p in curve] for _, curve in results]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert results[0][0].test["log_loss"] == pytest.approx(results[1][0].test["log_loss"], rel=1e-5)


def test_a_step_is_that_of_a_loop_written_by_hand(data):
    model = dataclasses.replace(MODEL, dropout=0.0)
    config = dataclasses.replace(CONFIG, clip_norm=0.05, dense_l2=0.01, warmup_share=0.0)
    ours, theirs = (learner.Learner(model, SCHEMA, config, steps=6, seed=2) for _ in range(2))
    tables = set(theirs.model.tables.parameters())
    dense = [p for p in theirs.model.parameters() if p not in tables]
    optimizer = torch.optim.Adam(
        [
            {"params": dense, "lr": config.dense_lr, "weight_decay": config.dense_l2},
            {"params": list(tables), "lr": config.table_lr, "weight_decay": config.table_l2},
        ],
        foreach=False,
    )
    losses = []
    for batch in loader.batches(data, "train", 200, shuffle=False):
        optimizer.zero_grad()
        probability = torch.sigmoid(theirs.model(batch).double())
        loss = functional.binary_cross_entropy(probability, batch.label_BT.double())
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in dense))
        assert norm > 0.05
        for p in dense:
            p.grad *= 0.05 / norm
        optimizer.step()
        losses.append(loss.item() * len(batch))
        ours.step(batch)
    assert ours.log_loss() == pytest.approx(sum(losses) / data.rows("train"), rel=1e-5)
    for name, weight in ours.model.state_dict().items():
        torch.testing.assert_close(weight, theirs.model.state_dict()[name], atol=2e-5, rtol=1e-4)


def test_the_curve_file_holds_every_evaluation_as_it_was_reported(data, tmp_path):
    result, curve = run(data, folder=tmp_path, evals_per_pass=2)
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [dataclasses.asdict(p) for p in curve]
    assert [p.step for p in curve] == [4, 8, 12, 16, 20, 24]
    assert [p.examples for p in curve] == [512 * i for i in range(1, 7)]
    assert result.examples_seen == 3 * 1024


def test_a_last_batch_of_one_example_is_left_out_so_that_batch_norm_can_work(data):
    assert data.rows("train") % CONFIG.batch_size == 1
    model = dataclasses.replace(MODEL, head_norm="batch")
    result, _ = run(data, model=model, passes=1)
    assert (result.steps, result.diverged) == (8, False)
    assert evaluate(predict(result.model, data, "test", 64), data.tasks) == result.test


def test_warm_up_and_plateau_show_in_the_learning_rates(data):
    _, curve = run(
        data, passes=4, evals_per_pass=8, warmup_share=0.25, plateau_factor=0.5, dense_lr=0.08
    )
    rates = [p.lr for p in curve]
    assert rates[:3] == pytest.approx([0.01, 0.02, 0.03], rel=0.5)
    best, expected, scale = -1.0, [], 1.0
    for step, progress in enumerate(curve):
        expected.append(0.08 * min(1, (step + 1) / 8) * scale)
        scale *= 1.0 if progress.validation_auc > best else 0.5
        best = max(best, progress.validation_auc)
    assert rates == pytest.approx(expected)
    assert scale < 1


def test_early_stopping_ends_after_as_many_stale_evaluations_as_patience(data):
    result, curve = run(data, passes=50, early_stop_patience=2, dense_lr=0.03, table_lr=0.1)
    aucs = [p.validation_auc for p in curve]
    assert len(curve) < 50
    assert int(np.argmax(aucs)) == len(curve) - 3
    assert result.steps == curve[-1].step > result.best_step


def test_training_examples_per_second_counts_neither_set_up_nor_evaluations(data):
    ticks = iter(range(1000))
    config = dataclasses.replace(CONFIG, passes=2)
    result = train(MODEL, SCHEMA, data, config, seed=0, clock=lambda: float(next(ticks)))
    # A tick a call: two stretches of training, one tick each; the run takes all ticks.
    assert result.examples_per_s == result.examples_seen / 2
    assert result.train_seconds == next(ticks) - 1


def poisoned(monkeypatch, after_step, poison):
    """Let `poison` change the model after one of the steps."""
    step = learner.Learner.step

    def broken(self, batch):
        step(self, batch)
        if self.steps == after_step:
            with torch.no_grad():
                poison(self.model)

    monkeypatch.setattr(learner.Learner, "step", broken)


def test_a_loss_that_is_not_a_number_is_a_divergence_and_not_an_error(data, monkeypatch):
    poisoned(monkeypatch, 3, lambda model: model.heads[0].linears[-1].bias.fill_(math.nan))
    result, curve = run(data)
    assert result.diverged
    assert "training log loss is nan at step 8" in result.reason
    assert (result.validation, result.test, result.best_step, curve) == (None, None, 0, [])


def test_logits_that_are_not_finite_only_on_validation_are_a_divergence(data, monkeypatch):
    poisoned(monkeypatch, 16, lambda model: model.heads[0].linears[-1].bias.fill_(math.inf))
    result, curve = run(data)
    assert result.diverged
    assert result.reason == "a validation logit is not finite at step 16"
    assert [p.step for p in curve] == [8]


def test_a_run_far_worse_than_a_constant_in_training_and_validation_has_diverged(data):
    result, _ = run(data, passes=20, dense_lr=100.0, table_lr=100.0)
    assert result.diverged
    assert "times a constant's" in result.reason
    assert result.steps < 20 * 8


def test_overfitting_is_no_divergence(data):
    small = dataclasses.replace(MODEL, dropout=0.0)
    result, curve = run(
        data, model=small, passes=30, dense_lr=0.02, table_lr=0.05, table_l2=0.0, warmup_share=0.0
    )
    limit = 1.5 * metrics.entropy(data.tasks[0].base_rate)
    assert sum(p.validation_log_loss > limit for p in curve) > 3
    assert not result.diverged


@pytest.mark.parametrize("init_std, warnings", [(1e-4, 1), (0.1, 0)])
def test_a_first_layer_norm_that_swallows_its_input_is_warned_about(data, init_std, warnings):
    schema = dataclasses.replace(SCHEMA, dense=())
    model = dataclasses.replace(MODEL, table_init_std=init_std)
    result = train(model, schema, data, dataclasses.replace(CONFIG, passes=1), seed=0)
    assert len(result.warnings) == warnings
    assert all("raise table_init_std (0.0001)" in warning for warning in result.warnings)


def test_a_model_of_dense_features_alone_trains(data):
    schema = dataclasses.replace(SCHEMA, categorical=())
    config = dataclasses.replace(CONFIG, passes=1)
    result = train(MODEL, schema, data, config, seed=0)
    assert isinstance(result.model, Wukong)
    assert result.test is not None


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        TrainConfig(batch_size=0, dense_lr=0.0, warmup_share=1.5, plateau_factor=0.0, threads=0)
    assert [line.split()[0] for line in caught.value.what.splitlines()] == [
        "batch_size", "dense_lr", "warmup_share", "plateau_factor", "threads",
    ]  # fmt: skip


def test_settings_that_cannot_be_together_are_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match=r"one batch only[^§]*only rows looked up"):
        TrainConfig(table_backend="fused", table_optimizer="adam", table_l2=0.1)
    with pytest.raises(ConfigError, match="'fp16' with the table backend 'plain'; must be 'fp32'"):
        TrainConfig(table_backend="plain", table_precision="fp16")
    with pytest.raises(ConfigError, match="monitor is 'ne'; must be one of auc, log_loss, norm"):
        TrainConfig(monitor="ne")


def test_training_works_with_torchrec_absent(data):
    script = f"""
        import sys
        sys.modules["torchrec"] = sys.modules["fbgemm_gpu"] = None
        from wukong.data.prepared import open_prepared
        from wukong.shape import WukongConfig
        from wukong.train import TrainConfig, train

        data = open_prepared({str(data.folder)!r})
        model = WukongConfig(layers=1, n_F=2, n_L=2, k=2, mlp_depth=1, mlp_width=8, d=4)
        config = TrainConfig(batch_size=256, passes=1)
        print(train(model, data.schema, data, config, seed=0).steps)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "4\n"
