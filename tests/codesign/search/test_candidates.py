import numpy as np

from codesign.designs import as_columns, as_designs, key_of
from codesign.search.candidates import sample_unseen, unseen
from tests.support.toy_space import LEVELS, ToySpace


def test_designs_survive_the_way_through_columns():
    designs = ToySpace().all_designs()[:50]
    assert as_designs(as_columns(designs)) == designs
    assert {type(v) for v in as_designs(as_columns(designs))[0].values()} == {int, float, bool, str}


def test_the_order_of_knobs_and_the_kind_of_number_do_not_make_a_new_design():
    assert key_of({"width": 8, "lr": 1.0}) == key_of({"lr": 1, "width": np.int64(8)})


def test_unseen_keeps_the_order_and_drops_repeats():
    a, b, c = ToySpace().all_designs()[:3]
    assert unseen([c, a, c, b], [a]) == [c, b]


def test_a_sample_of_unseen_designs_is_short_only_where_no_more_exist():
    space = ToySpace(levels={**LEVELS, "width": (8, 16), "lr": (0.01,)})
    designs = space.all_designs()
    for count in (0, 10, len(designs) - 3, len(designs)):
        taken = designs[:count]
        found = sample_unseen(space, taken, 5, np.random.default_rng(count))
        assert len(found) == min(5, len(designs) - count)
        assert unseen(found, taken) == found
