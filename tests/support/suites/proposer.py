"""What every proposer must do. A proposer's test subclasses `ProposerSuite` and says `make`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from codesign.contracts import Design, FailureKind, Feasible, Objective, Observation, Proposer
from codesign.designs import as_columns, key_of
from tests.support.feasible_sets import KINDS, all_designs
from tests.support.toy_space import LEVELS, ToySpace, log_loss

LOSS = Objective(metric="log_loss", goal="minimize")
AUC = Objective(metric="auc", goal="maximize")
COMPUTE = Objective(metric="gflop_per_example", goal="minimize")
SIZE = Objective(metric="parameters", goal="maximize")

RATE = Objective(metric="rate", goal="maximize")

PAIRS = {
    "one to minimize": (LOSS,),
    "one to maximize": (AUC,),
    "quality against cost": (LOSS, COMPUTE),
    "two to maximize": (AUC, SIZE),
    "two that are learned": (LOSS, AUC),
    "quality against what is predicted": (LOSS, RATE),
    "quality, what is counted and what is predicted": (AUC, COMPUTE, RATE),
    "three with references": (
        Objective(metric="log_loss", goal="minimize", reference=0.9),
        AUC,
        Objective(metric="gflop_per_example", goal="minimize", reference=0.05),
    ),
}

SMALL = {"width": (8, 16, 32), "depth": (1, 2), "norm": ("none", "batch"), "lr": (0.01,)}


def succeeded(design: Design) -> Observation:
    loss = log_loss({"bias": True, **design})
    # A trial measures its rate, too, on whatever machine it had.
    return Observation(design=design, metrics={"log_loss": loss, "auc": 1.3 - loss, "rate": 7.0})


def failed(design: Design, kind: FailureKind) -> Observation:
    return Observation(design=design, metrics={}, failure=kind)


def trials(space: ToySpace, n: int, *, seed: int = 0) -> list[Observation]:
    """Observe `n` random designs: a sixth diverge, a sixth meet a broken node."""
    kinds: tuple[FailureKind | None, ...] = (None, None, "diverged", None, None, "node")
    chosen = np.random.default_rng(seed).permutation(len(space.all_designs()))[:n]
    designs = [space.all_designs()[i] for i in chosen]
    return [
        succeeded(d) if (kind := kinds[i % 6]) is None else failed(d, kind)
        for i, d in enumerate(designs)
    ]


def seen(
    feasible: Feasible, designs: Sequence[Design], *, fidelity: float = 1.0, task: str = ""
) -> list[Observation]:
    """Observe a quality that is a smooth function of the encoded designs; a fifth diverge."""
    if not designs:
        return []
    encoded = feasible.encode(as_columns(designs))
    losses = 0.4 + np.square(encoded - 0.3).mean(axis=1)
    return [
        Observation(
            design=design,
            metrics={} if at % 5 == 3 else {"log_loss": float(loss), "auc": 1.3 - float(loss)},
            failure="diverged" if at % 5 == 3 else None,
            fidelity=fidelity,
            task=task,
        )
        for at, (design, loss) in enumerate(zip(designs, losses, strict=True))
    ]


class ProposerSuite:
    """Subclass it in a test module and implement `make`."""

    def make(self, objectives: Sequence[Objective]) -> Proposer:
        raise NotImplementedError

    def ask(
        self,
        feasible: Feasible,
        observed: Sequence[Observation] = (),
        pending: Sequence[Design] = (),
        *,
        n: int = 2,
        seed: int = 0,
        objectives: Sequence[Objective] = (LOSS, COMPUTE),
    ) -> list[Design]:
        """Ask a new proposer."""
        rng = np.random.default_rng(seed)
        return self.make(objectives).ask(feasible, observed, pending, n, rng)

    def assert_new(
        self, feasible: Feasible, proposed: list[Design], taken: Sequence[Design]
    ) -> None:
        """Every design is feasible, not taken, and proposed once."""
        allowed = {key_of(d) for d in all_designs(feasible)} - {key_of(d) for d in taken}
        keys = [key_of(d) for d in proposed]
        assert len(set(keys)) == len(keys)
        assert set(keys) <= allowed

    @pytest.mark.parametrize("objectives", PAIRS.values(), ids=PAIRS.keys())
    def test_proposals_are_feasible_and_new_for_any_objectives(self, objectives):
        space = ToySpace()
        observed = trials(space, 14)
        pending = [o.design for o in trials(space, 16)[14:]]
        proposed = self.ask(space, observed, pending, objectives=objectives)
        assert len(proposed) == 2
        self.assert_new(space, proposed, [*(o.design for o in observed), *pending])

    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
    def test_proposals_are_feasible_and_new_in_any_kind_of_set(self, kind):
        feasible = kind()
        everything = all_designs(feasible)
        begun = [everything[i] for i in np.random.default_rng(1).permutation(len(everything))[:16]]
        proposed = self.ask(feasible, seen(feasible, begun[:14]), begun[14:])
        assert len(proposed) == 2
        self.assert_new(feasible, proposed, begun)
        for design in proposed:
            types = [type(values[0]) for values in feasible.levels.values()]
            assert [type(value) for value in design.values()] == types

    def test_every_row_of_a_table_is_proposed_once_and_then_nothing(self):
        rows = KINDS["a table with holes"]()
        begun = all_designs(rows)[:-3]
        observed, pending = seen(rows, begun[:12]), begun[12:]
        proposed = self.ask(rows, observed, pending, n=5)
        assert len(proposed) == 3
        self.assert_new(rows, proposed, begun)
        assert self.ask(rows, observed, [*pending, *proposed]) == []

    def test_a_design_seen_before_the_end_of_its_training_is_not_proposed_again(self):
        space = ToySpace(levels=SMALL, budget_gflop_per_example=0.001)
        *begun, left = space.all_designs()
        paused = seen(space, begun[4:], fidelity=0.25)
        curve = seen(space, begun[:2], fidelity=0.5)
        assert self.ask(space, [*curve, *seen(space, begun[:4]), *paused]) == [left]

    def test_designs_of_another_study_may_be_proposed_here(self):
        space = ToySpace(levels=SMALL, budget_gflop_per_example=0.001)
        designs = space.all_designs()
        theirs = seen(space, designs, task="earlier") + seen(
            space, designs, task="earlier", fidelity=0.5
        )
        assert len(self.ask(space, theirs, n=3)) == 3
        observed = [*theirs, *seen(space, designs[:8])]
        proposed = self.ask(space, observed, n=3)
        assert sorted(map(str, proposed)) == sorted(map(str, designs[8:]))

    def test_the_first_proposals_need_no_observation(self):
        space = ToySpace()
        proposed = self.ask(space, n=5)
        assert len(proposed) == 5
        self.assert_new(space, proposed, [])

    def test_designs_hold_plain_values_of_every_knob(self):
        for design in self.ask(ToySpace(), trials(ToySpace(), 14), n=3):
            assert list(design) == list(LEVELS)
            for name, value in design.items():
                assert type(value) is type(LEVELS[name][0])

    def test_asking_for_none_returns_none(self):
        assert self.ask(ToySpace(), trials(ToySpace(), 14), n=0) == []

    def test_the_whole_space_is_proposed_once_and_then_nothing(self):
        space = ToySpace(levels=SMALL, budget_gflop_per_example=0.001)
        proposer, observed = self.make((LOSS, COMPUTE)), []
        for i in range(20):
            rng = np.random.default_rng([0, i])
            observed += [succeeded(d) for d in proposer.ask(space, observed, [], 1, rng)]
        everything = {key_of(d) for d in space.all_designs()}
        assert [len(observed), len(everything)] == [10, 10]
        assert {key_of(o.design) for o in observed} == everything

    def test_more_is_asked_for_than_is_left(self):
        space = ToySpace(levels=SMALL, budget_gflop_per_example=0.001)
        designs = space.all_designs()
        observed, pending = [succeeded(d) for d in designs[:5]], designs[5:8]
        proposed = self.ask(space, observed, pending, n=4)
        assert sorted(map(str, proposed)) == sorted(map(str, designs[8:]))

    def test_a_single_feasible_design_is_proposed_until_it_is_taken(self):
        space = ToySpace(levels={"width": (8,), "depth": (1,), "norm": ("none",)})
        (only,) = space.all_designs()
        assert self.ask(space, n=3) == [only]
        assert self.ask(space, pending=[only]) == []
        assert self.ask(space, [failed(only, "diverged")]) == []

    def test_failures_alone_are_enough_to_go_on(self):
        space = ToySpace()
        kinds = ("out_of_memory", "diverged", "timeout", "bug", "node")
        observed = [failed(o.design, kinds[i % 5]) for i, o in enumerate(trials(space, 12))]
        proposed = self.ask(space, observed)
        assert len(proposed) == 2
        self.assert_new(space, proposed, [o.design for o in observed])

    def test_equal_metrics_are_no_obstacle(self):
        space = ToySpace()
        observed = [
            Observation(design=o.design, metrics={"log_loss": 0.5}) for o in trials(space, 12)
        ]
        proposed = self.ask(space, observed)
        assert len(proposed) == 2
        self.assert_new(space, proposed, [o.design for o in observed])

    def test_a_metric_that_is_not_finite_is_no_obstacle(self):
        space = ToySpace()
        observed = [
            Observation(design=o.design, metrics={"log_loss": loss})
            for o, loss in zip(trials(space, 12), [0.5, np.nan, 0.6, np.inf] * 3, strict=True)
        ]
        proposed = self.ask(space, observed)
        assert len(proposed) == 2
        self.assert_new(space, proposed, [o.design for o in observed])

    @pytest.mark.parametrize("count", [0, 14])
    def test_the_same_call_is_answered_alike_by_old_and_new_processes(self, count):
        space = ToySpace()
        observed = trials(space, count)
        old = self.make((LOSS, COMPUTE))
        for i in range(0, count + 1, 7):
            rng = np.random.default_rng(3)
            answer = old.ask(space, observed[:i], [], 2, rng)
        assert answer == self.ask(space, observed, seed=3)

    def test_a_process_started_at_any_trial_proposes_what_an_old_one_does(self):
        space, old = ToySpace(), self.make((LOSS, COMPUTE))
        begun: list[Design] = []
        for i in range(12):
            # Two workers: a trial ends when the next but one is asked for, a third of them early.
            ended = begun[: max(0, i - 1 + i % 3 // 2)]
            observed, pending = seen(space, ended), begun[len(ended) :]
            answer = old.ask(space, observed, pending, 1, np.random.default_rng([4, i]))
            fresh = self.make((LOSS, COMPUTE))
            assert answer == fresh.ask(space, observed, pending, 1, np.random.default_rng([4, i]))
            begun += answer

    def test_the_global_random_states_are_neither_read_nor_written(self):
        import torch

        space = ToySpace()
        observed = trials(space, 14)
        answers, states = [], []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002 (the state that must not matter)
            torch.manual_seed(seed)
            before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
            answers.append(self.ask(space, observed))
            after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
            states.append(bool(torch.equal(before[0], after[0])) and before[1] == after[1])
        assert states == [True, True]
        assert answers[0] == answers[1]
