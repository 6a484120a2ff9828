from __future__ import annotations

import io

import pytest
from rich.console import Console

from multiprompt.reports import headline_tables, score_table, seed_table, to_markdown, to_rich
from multiprompt.reports.score_tables import escape_markdown, number, signed
from reports.fake_runs import fake_score, fake_scores


def find(table, first):
    return next([str(c) for c in row] for row in (*table.rows, *table.footer) if row[0].text == first)


def test_targets_come_first_then_sources():
    captions = [table.caption for table in headline_tables({"x": fake_scores()})]
    assert captions == [
        "Target tasks, all training examples",
        "Target tasks, 16 training examples",
        "Source tasks",
    ]


def test_headline_values():
    table = headline_tables({"x": fake_scores()})[0]
    assert table.columns == ("task", "constant answer", "mpt", "prompt_tuning")
    assert find(table, "mini-rte") == ["mini-rte (accuracy)", "52.5", "76.5 ± 0.7", "70.5 ± 0.7"]
    assert find(table, "average") == ["average", "26.2", "59.2 ± 0.4", "54.8 ± 0.4"]
    assert find(table, "parameters per task") == ["parameters per task", "", "4,321", "4,321"]


def test_many_methods_have_a_row_each():
    methods = [f"method {number}" for number in range(6)]
    scores = [
        fake_score(
            task=task,
            method=method,
            value=base + number,
            interval=(base + number - 1, base + number + 1),
            parameters=100 * number,
            majority=base + 1,
        )
        for task, base in (("mini-rte", 60.0), ("mini-cola", 20.0))
        for number, method in enumerate(methods)
    ]
    (table,) = headline_tables({"x": scores})
    assert table.columns == ("method", "mini-rte (accuracy)", "mini-cola (accuracy)", "average", "parameters per task")
    assert [row[0].text for row in table.rows] == methods
    assert find(table, "method 5") == ["method 5", "65.0", "25.0", "45.0", "500"]
    assert find(table, "constant answer") == ["constant answer", "61.0", "21.0", "41.0", ""]
    assert [find(table, f"method {number}")[1] for number in (1, 2, 3)] == ["61.0 †", "62.0 †", "63.0"]
    # five methods stand side by side, and so do six on six tasks
    assert headline_tables({"x": [s for s in scores if s.method != "method 5"]})[0].columns[0] == "task"
    tasks = [fake_score(task=f"task {number}", method=method) for number in range(6) for method in methods]
    assert headline_tables({"x": tasks})[0].columns[0] == "task"


def test_every_stage_on_source_tasks_stands_among_the_source_tasks():
    roles = ("teacher", "student", "mixture", "attention")
    scores = [fake_score(task="mini-sst2", method=role, value=90.0 + i) for i, role in enumerate(roles)]
    targets, sources = headline_tables({"x": [*scores, fake_score()]})
    assert targets.columns == ("task", "constant answer", "mpt")
    assert sources.caption == "Source tasks"
    assert sources.columns == ("task", "constant answer", *roles)
    assert find(sources, "mini-sst2")[2:] == ["90.0", "91.0", "92.0", "93.0"]


def test_low_and_invalid_values_are_marked_and_explained():
    table = headline_tables({"x": fake_scores()})[1]
    assert find(table, "mini-cola")[-1] == "0.0 ± 0.0 †‡"
    assert find(table, "mini-rte")[-1] == "61.5 ± 0.7"
    assert table.marks == "†‡"
    assert "not safely above the constant answer" in to_markdown(table)
    assert headline_tables({"x": fake_scores()})[0].marks == ""


@pytest.mark.parametrize(("low", "marks"), [(52.5, "†"), (52.6, ""), (30.0, "†")])
def test_a_value_whose_interval_reaches_the_constant_answer_is_marked(low, marks):
    (table,) = headline_tables({"x": [fake_score(value=60.0, interval=(low, 64.0))]})
    assert table.rows[0][-1].marks == marks


def test_a_rule_on_words_is_a_column_where_a_task_has_one():
    scores = [fake_score(shortcut=92.0), fake_score(task="mini-sst2", method="mpt")]
    (table,) = headline_tables({"x": scores})
    assert table.columns[:3] == ("task", "constant answer", "word rule")
    assert find(table, "mini-rte")[1:3] == ["52.5", "92.0"]
    assert find(table, "mini-sst2")[1:3] == ["52.5", "–"]
    assert find(table, "average")[1:3] == ["52.5", "–"]
    detail = score_table({"x": scores})
    assert [row[detail.columns.index("word rule")].text for row in detail.rows] == ["92.0", "–"]


def test_one_seed_has_no_deviation_and_one_task_no_average():
    (table,) = headline_tables({"x": [fake_score()]})
    assert find(table, "mini-rte")[-1] == "71.2"
    assert [row[0].text for row in table.footer] == ["parameters per task"]


def test_an_average_over_fewer_tasks_is_not_shown():
    scores = [score for score in fake_scores() if (score.task, score.method) != ("mini-rte", "prompt_tuning")]
    table = headline_tables({"x": scores})[0]
    assert find(table, "average")[-2:] == ["59.2 ± 0.4", "–"]
    assert find(table, "mini-rte")[-1] == "–"


def test_several_runs_stand_side_by_side():
    tables = headline_tables({"a": fake_scores(), "b": fake_scores((1,))})
    assert tables[0].columns[2:] == ("mpt · a", "prompt_tuning · a", "mpt · b", "prompt_tuning · b")
    assert find(tables[0], "mini-rte")[2:] == ["76.5 ± 0.7", "70.5 ± 0.7", "76.0", "70.0"]
    both = score_table({"a": fake_scores(), "b": fake_scores()})
    assert str(both.rows[-1][0]) == "mini-mnli (student, all examples, b)"


def test_every_score_has_what_is_needed_to_judge_it():
    table = score_table({"x": fake_scores()})
    assert len(table.rows) == 12
    assert [str(cell) for cell in table.rows[0]] == [
        *("mini-rte (mpt, all examples)", "76.5 ± 0.7", "72.0 to 80.5", "52.5"),
        *("accuracy", "–", "0.0 %", "400", "2"),
    ]
    assert table.columns[1] == "value", "on a phone it is seen beside the name"
    assert table.rows[-1][0].note == "student, all examples"


def few_shot_scores(selection="last-step", draws=3):
    return [
        fake_score(method=method, shots=16, seed=seed, draw=draw, value=60.0 + 2 * draw + seed, selection=selection)
        for seed in (1, 2)
        for draw in range(draws)
        for method in ("mpt", "prompt_tuning")
    ]


def test_tables_say_how_many_draws_there_were_and_how_tensors_were_chosen():
    scores = {"x": [*few_shot_scores(), fake_score(selection="full-dev")]}
    tables = headline_tables(scores)
    assert [table.caption for table in tables] == [
        "Target tasks, all training examples",
        "Target tasks, 16 training examples, 3 draws, last-step",
    ]
    assert find(tables[1], "mini-rte")[-1] == "63.5 ± 1.9"
    table = score_table(scores)
    assert table.columns[5] == "selection"
    assert table.columns[-2:] == ("seeds", "repeats")
    shown = [[row[0].note, *(str(row[i]) for i in (5, -2, -1))] for row in table.rows]
    assert shown[0] == ["mpt, all examples", "full-dev", "1", "1"]
    assert shown[1] == ["mpt, 16 examples", "last-step", "2", "6"]
    seeds = seed_table(scores)
    assert [str(cell) for cell in seeds.rows[4][:2]] == ["mini-rte (mpt, 16 examples, seed 1, draw 2)", "accuracy 71.2"]
    assert seeds.rows[-1][0].note == "mpt, all examples, seed 1", "all examples are not drawn"


def test_without_draws_and_few_examples_no_column_is_added():
    scores = {"x": [fake_score(seed=1), fake_score(seed=2)]}
    assert not {"selection", "repeats"} & set(score_table(scores).columns)
    assert "draw" not in seed_table(scores).columns
    assert headline_tables({"x": [fake_score(shots=16)]})[0].caption == "Target tasks, 16 training examples"


def test_runs_of_both_protocols_are_told_apart():
    scores = {"a": few_shot_scores("full-dev", draws=2), "b": few_shot_scores("last-step")}
    (table,) = headline_tables(scores)
    assert table.caption == "Target tasks, 16 training examples, 2 to 3 draws"
    assert table.columns[2] == "mpt · a, full-dev"
    assert table.columns[-1] == "prompt_tuning · b, last-step"


def test_every_seed_has_all_metrics():
    row = next(r for r in seed_table({"x": fake_scores()}).rows if r[0].text == "mini-cola")
    assert row[1].text == "matthews 33.0, accuracy 80.0"


def test_no_scores_make_no_tables():
    assert headline_tables({"x": []}) == []


def test_markdown_is_a_table():
    lines = to_markdown(headline_tables({"x": fake_scores()})[0]).splitlines()
    assert lines[2] == "| task | constant answer | mpt | prompt_tuning |"
    assert lines[3] == "| --- | ---: | ---: | ---: |"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a|b", r"a\|b"), ("<b>", r"\<b\>"), ("two\nlines", "two lines"), ("a_b", "a_b"), ("_a_", r"\_a\_"), ("*", r"\*")],
)
def test_markdown_escapes(text, escaped):
    assert escape_markdown(text) == escaped


def test_the_terminal_table_fits_80_columns():
    out = io.StringIO()
    console = Console(file=out, width=80)
    for table in headline_tables({"x": fake_scores()}):
        console.print(to_rich(table))
    assert "…" not in out.getvalue()
    assert "mini-rte (accuracy)               52.5   76.5 ± 0.7      70.5 ± 0.7" in out.getvalue()


def test_brackets_in_names_are_no_markup_on_the_terminal():
    out = io.StringIO()
    Console(file=out, width=120).print(to_rich(headline_tables({"x": [fake_score(task="[red]odd[/red]")]})[0]))
    assert "[red]odd[/red]" in out.getvalue()


def test_minus_zero_is_zero():
    assert number(-0.01) == "0.0"


def test_points_with_their_sign():
    assert [signed(value) for value in (1.26, -0.04, 0.04, -2)] == ["+1.3", "0.0", "0.0", "-2.0"]
