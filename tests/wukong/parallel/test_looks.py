"""How often ranks ask each other whether to stop."""

import itertools

import pytest

from wukong.parallel.looks import LOOK_EVERY_S, Looks
from wukong.parallel.ranks import ALONE


class Steps:
    """A clock that steps move on, and the times at which it was asked to stop."""

    def __init__(self, stop_at_s=float("inf")):
        self.now_s, self.asked_s, self.stop_at_s = 0.0, [], stop_at_s
        self.looks = Looks(self.stop, ALONE, clock=lambda: self.now_s)

    def stop(self):
        self.asked_s.append(self.now_s)
        return self.now_s >= self.stop_at_s

    def run(self, seconds):
        """Run steps of so many seconds each; return whether the last was one to stop after."""
        for step_s in seconds:
            self.now_s += step_s
            if self.looks.at_step():
                return True
        return False


def longest_gap_s(asked_s):
    return max(later - earlier for earlier, later in itertools.pairwise(asked_s))


@pytest.mark.parametrize("step_s", [0.001, 0.07, 0.9])
def test_a_run_of_short_steps_looks_every_few_seconds(step_s):
    steps = Steps()
    steps.run([step_s] * int(600 / step_s))
    assert longest_gap_s(steps.asked_s) <= LOOK_EVERY_S + 1e-6
    assert len(steps.asked_s) <= 1.2 * 600 / LOOK_EVERY_S + 15, "not after every step"


@pytest.mark.parametrize("step_s", [2.0, 60.0])
def test_a_run_of_long_steps_looks_after_each(step_s):
    steps = Steps()
    steps.run([step_s] * 20)
    assert len(steps.asked_s) == 20


def test_steps_that_become_a_hundred_times_slower_are_looked_at_soon_again():
    steps = Steps()
    steps.run([0.01] * 6000)
    before = len(steps.asked_s)
    steps.run([1.0] * 1000)
    last_fast, first_slow, *slow = steps.asked_s[before - 1 :]
    assert first_slow - last_fast <= 100 * LOOK_EVERY_S, "the steps that were chosen before"
    assert longest_gap_s(slow) <= 2 * LOOK_EVERY_S


def test_it_stops_at_the_first_look_after_it_was_told():
    steps = Steps(stop_at_s=5.0)
    assert steps.run([0.01] * 10000)
    assert 5.0 <= steps.now_s <= 5.0 + LOOK_EVERY_S
