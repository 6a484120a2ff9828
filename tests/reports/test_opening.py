"""What a page of a run says first, on constructed runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from multiprompt.evaluation.results import write_results
from multiprompt.files import write_json
from multiprompt.reports import opening, read_run, read_runs, write_report
from multiprompt.reports.opening import WORDS, comparison_table
from reports.fake_runs import CONFIGURATION, fake_score, write_fake_run
from reports.test_report import Page

MPT = (84.0, 82.5, 86.0, 83.5)
ORDINARY = (79.0, 78.5, 80.5, 79.0)


def run_of(folder, scores, **changes):
    run = write_fake_run(folder, **({"seeds": [1]} | changes))
    write_results(run / "results.json", "small", scores)
    return run


def draws_of(method, values, tasks=("mini-rte", "mini-cola"), **changes):
    return [
        fake_score(method=method, task=task, shots=16, draw=draw, value=value, selection="last-step", **changes)
        for task in tasks
        for draw, value in enumerate(values)
    ]


def test_the_first_sentence_is_the_paired_difference(tmp_path):
    run = run_of(tmp_path / "run", [*draws_of("mpt", MPT), *draws_of("prompt_tuning", ORDINARY)])
    (sentence,) = opening([read_run(run)]).results
    low, high = stats.ttest_rel(MPT, ORDINARY).confidence_interval()
    assert sentence == (
        f"With 16 training examples of each of 2 unseen tasks, the mean accuracy is {np.mean(MPT):.1f} with mpt and "
        f"{np.mean(ORDINARY):.1f} with prompt_tuning: mpt is ahead by {np.subtract(MPT, ORDINARY).mean():.1f} points "
        f"(95 % interval +{low:.1f} to +{high:.1f}, paired over 4 draws alone)."
    )


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (tuple(value - 3 - draw / 10 for draw, value in enumerate(MPT)), "mpt is ahead by 3.1 points (95 % interval +"),
        (
            tuple(value + 3 + draw / 10 for draw, value in enumerate(MPT)),
            "mpt is behind by 3.1 points (95 % interval -",
        ),
        (
            tuple(value + gap for value, gap in zip(MPT, (3, -3, 3, -4), strict=True)),
            "no difference is shown, and one as large as 6.3 points is left open: +0.2 (95 % interval -5.8 to +6.3",
        ),
    ],
)
def test_the_wording_follows_the_interval(tmp_path, others, said):
    run = run_of(tmp_path / "run", [*draws_of("mpt", MPT), *draws_of("prompt_tuning", others)])
    assert said in opening([read_run(run)]).results[0]


def test_a_single_training_tells_nothing(tmp_path):
    run = run_of(tmp_path / "run", [fake_score(), fake_score(method="prompt_tuning", value=61.0)])
    told = opening([read_run(run)])
    assert told.results == (
        "With all training examples of one unseen task, the accuracy is 71.2 with mpt and 61.0 with prompt_tuning: one "
        "training of each, with a difference of +10.2, does not tell which is better.",
    )
    assert told.covers == ()


def test_the_interval_says_what_it_covers(tmp_path):
    draws = run_of(tmp_path / "draws", [*draws_of("mpt", MPT), *draws_of("prompt_tuning", ORDINARY)])
    (covered,) = opening([read_run(draws)]).covers
    assert "other draws of the examples only: all draws start from the source prompt of one seed" in covered
    of_seeds = [
        fake_score(method=method, seed=seed, value=values[seed])
        for seed in (1, 2)
        for method, values in (("mpt", MPT), ("prompt_tuning", ORDINARY))
    ]
    told = opening([read_run(run_of(tmp_path / "seeds", of_seeds, seeds=[1, 2]))])
    assert "paired over 2 seeds alone" in told.results[0]
    assert told.covers == (
        "The interval covers other seeds, source training included; tasks and test rows stay the same, because the "
        "answers to them are not stored.",
    )
    both = run_of(
        tmp_path / "both",
        [
            score
            for seed in (1, 2)
            for method, values in (("mpt", MPT), ("prompt_tuning", ORDINARY))
            for score in draws_of(method, [value + (seed == 2 and method == "mpt") for value in values], seed=seed)
        ],
        seeds=[1, 2],
    )
    assert (
        opening([read_run(both)])
        .covers[0]
        .endswith("Draws of one seed share its source prompt, so they are averaged first.")
    )
    targets = CONFIGURATION["targets"] | {"source_prompt": "x.safetensors"}
    stored = run_of(tmp_path / "stored", of_seeds, seeds=[1, 2], source=None, targets=targets)
    told = opening([read_run(stored)])
    assert "of one target task" in told.results[0], "nobody knows what the stored prompt has seen"
    assert "other seeds, which start from one stored source prompt;" in told.covers[0]


def test_source_tasks_are_not_called_unseen(tmp_path):
    tasks = ("mini-rte", "mini-sst2")
    run = run_of(
        tmp_path / "run",
        [*draws_of("mpt", MPT, tasks), *draws_of("prompt_tuning", ORDINARY, tasks)],
        targets=CONFIGURATION["targets"] | {"tasks": list(tasks)},
    )
    assert "each of 2 target tasks (source tasks among them: 1)" in opening([read_run(run)]).results[0]


def test_without_mpt_or_something_to_compare_it_with_there_is_no_result(tmp_path):
    for name, scores in (("one", draws_of("mpt", MPT)), ("other", draws_of("prompt_tuning", ORDINARY)), ("none", [])):
        told = opening([read_run(run_of(tmp_path / name, scores))])
        assert (told.results, told.covers) == ((), ())
        assert len(told.models) == 1
        assert bool(told.words) == bool(scores)


def test_prompt_tuning_and_few_examples_come_first_and_the_page_has_the_rest(tmp_path):
    scores = [
        *draws_of("spot", ORDINARY),
        *(fake_score(method=method, value=value) for method, value in (("mpt", 70.0), ("prompt_tuning", 75.0))),
        *draws_of("mpt", MPT),
        *draws_of("prompt_tuning", ORDINARY),
    ]
    run = run_of(tmp_path / "run", scores)
    assert "with 16 training" in opening([read_run(run)]).results[0].lower()
    assert "with prompt_tuning" in opening([read_run(run)]).results[0]
    table = comparison_table([read_run(run)])
    assert [str(row[0]) for row in table.rows] == [
        "prompt_tuning (16 examples)",
        "prompt_tuning (all examples)",
        "spot (16 examples)",
    ]
    assert [str(cell) for cell in table.rows[1]][1:] == ["-5.0", "–", "1 training", "70.0", "75.0", "1"]
    assert table.columns[1] == "difference", "on a phone it is seen beside the name"
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert table.caption in page.text
    assert table.caption in (run / "report.md").read_text(encoding="utf-8")


def test_one_comparison_needs_no_table(tmp_path):
    run = run_of(tmp_path / "run", [*draws_of("mpt", MPT), *draws_of("prompt_tuning", ORDINARY)])
    assert comparison_table([read_run(run)]) is None
    assert "Paired differences" not in write_report(run).read_text(encoding="utf-8")


def test_what_the_model_is(tmp_path):
    run = write_fake_run(tmp_path / "run")
    (model,) = opening([read_run(run)]).models
    what = "The model is embedded, a frozen language model, pretrained by this project on generated sentences"
    assert model.startswith(what)
    write_json(run / "environment.json", {"backbone": {"name": "embedded-small", "parameters": 349_312}})
    (model,) = opening([read_run(run)]).models
    assert "embedded-small, a frozen language model of 0.35 million weights, pretrained" in model
    write_json(run / "environment.json", {"backbone": {"name": "t5-base", "parameters": 222_903_552}})
    assert opening([read_run(run)]).models == ("The model is t5-base, a frozen language model of 223 million weights.",)


def test_page_and_markdown_open_with_result_model_and_words(tmp_path):
    run = run_of(
        tmp_path / "run",
        [
            *draws_of("mpt", MPT),
            *draws_of("prompt_tuning", ORDINARY),
            fake_score(method="teacher", task="mini-sst2"),
            fake_score(method="student", task="mini-sst2"),
        ],
    )
    told = opening([read_run(run)])
    assert [word for word, _ in told.words] == ["mpt", "prompt_tuning", "teacher", "student", "constant answer"]
    html = write_report(run).read_text(encoding="utf-8")
    paragraphs = [Page(text).text for text in re.findall(r"<p.*?</p>", html)]
    assert paragraphs[:2] == [*told.results, *told.models]
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html.replace("&#x27;", "'")) == list(told.words)
    lines = (run / "report.md").read_text(encoding="utf-8").split("\n\n")
    assert lines[1:3] == [*told.results, *told.models]
    assert lines[4].splitlines() == [f"- {word}: {meaning}" for word, meaning in told.words]


def test_every_definition_fits_on_a_line():
    width = max(map(len, WORDS)) + 2
    assert all(width + len(meaning) <= 80 for meaning in WORDS.values())


def test_every_run_of_a_page_has_its_sentence(tmp_path):
    runs = [write_fake_run(tmp_path / "a"), write_fake_run(tmp_path / "b", name="other")]
    told = opening(read_runs(runs))
    assert [sentence.split(": ")[0] for sentence in told.results] == ["small <comparison>", "other"]
    assert len(told.models) == 1
    assert "small &lt;comparison&gt;: With" in write_report(runs, tmp_path / "both.html").read_text(encoding="utf-8")
