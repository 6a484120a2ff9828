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
    assert (together.seeds, together.values) == ((1, 3), (70.0, 72.0))
    assert together.mean == 71.0
    assert together.deviation == pytest.approx(statistics.stdev([70.0, 72.0]))
    assert together.interval == (61.0, 79.5)
    assert together.invalid == pytest.approx(0.01)
    assert alone.deviation is None
    assert alone.interval == (40.0, 59.0)


def test_seeds_that_do_not_belong_together_are_refused():
    with pytest.raises(CheckpointError, match="two scores for a seed"):
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
    assert average.seeds == (1, 2)
    assert average.mean == 78.0
    assert average.deviation == pytest.approx(statistics.stdev([75.0, 81.0]))


def test_there_is_no_average_without_a_complete_seed():
    assert average_over_tasks([score(task="rte", seed=1), score(task="cb", seed=2)]) == []
