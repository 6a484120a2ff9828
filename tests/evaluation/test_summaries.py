from __future__ import annotations

import statistics

import pytest

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.summaries import average_over_tasks, summarise
from reports.fake_runs import fake_score as score


def test_seeds_are_summed_up():
    scores = [
        score(seed=3, value=72.0, interval=(62.0, 80.0), invalid=0.0),
        score(seed=1, value=70.0, interval=(60.0, 79.0), invalid=0.02),
        score(seed=1, method="prompt_tuning", value=50.0, interval=(40.0, 59.0)),
    ]
    together, alone = summarise(scores)
    assert (together.repeats, together.values) == (((1, 0), (3, 0)), (70.0, 72.0))
    assert (together.num_seeds, together.num_draws) == (2, 1)
    assert together.mean == 71.0
    assert together.deviation == pytest.approx(statistics.stdev([70.0, 72.0]))
    assert together.interval == (61.0, 79.5)
    assert together.invalid == pytest.approx(0.01)
    assert alone.deviation is None
    assert alone.interval == (40.0, 59.0)


def test_draws_are_repeats_as_seeds_are():
    few = [score(shots=16, seed=s, draw=d, value=60.0 + 10 * s + d) for s in (2, 1) for d in (0, 1, 2)]
    (together,) = summarise(few)
    assert together.repeats == ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2))
    assert together.values == (70.0, 71.0, 72.0, 80.0, 81.0, 82.0)
    assert (together.num_seeds, together.num_draws) == (2, 3)
    assert together.deviation == pytest.approx(statistics.stdev(together.values))
    with pytest.raises(CheckpointError, match="two scores for one repeat: seed 1, draw 2"):
        summarise([*few, few[-1]])
    other = [score(task="cb", shots=16, seed=1, draw=d, value=50.0 + d) for d in (0, 1)]
    (average,) = average_over_tasks([*few, *other])
    assert average.repeats == ((1, 0), (1, 1)), "a draw counts where all tasks have it"
    assert average.mean == 60.5


def test_a_summary_says_how_tensors_were_chosen_if_all_repeats_did_the_same():
    assert summarise([score(selection="full-dev"), score(seed=2, selection="full-dev")])[0].selection == "full-dev"
    assert summarise([score(selection="full-dev"), score(seed=2)])[0].selection is None


def test_seeds_that_do_not_belong_together_are_refused():
    with pytest.raises(CheckpointError, match="two scores for one repeat: seed 1, draw 0"):
        summarise([score(), score(value=1.0)])
    with pytest.raises(CheckpointError, match="not evaluated alike"):
        summarise([score(), score(seed=2, n=99)])


def test_the_average_is_over_tasks_first_then_over_seeds():
    scores = [
        score(task="rte", seed=1, value=70.0),
        score(task="cb", seed=1, value=80.0),
        score(task="rte", seed=2, value=72.0),
        score(task="cb", seed=2, value=90.0),
        score(task="rte", seed=3, value=0.0),  # not finished: cb is missing
    ]
    (average,) = average_over_tasks(scores)
    assert average.tasks == ("rte", "cb")
    assert average.repeats == ((1, 0), (2, 0))
    assert average.mean == 78.0
    assert average.deviation == pytest.approx(statistics.stdev([75.0, 81.0]))


def test_there_is_no_average_without_a_complete_seed():
    assert average_over_tasks([score(task="rte", seed=1), score(task="cb", seed=2)]) == []
