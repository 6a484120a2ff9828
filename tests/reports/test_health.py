"""The section "Is it learning?" of a report, from files alone."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from multiprompt.errors import CheckpointError
from multiprompt.evaluation.results import write_results
from multiprompt.files import write_text
from multiprompt.health import Rule
from multiprompt.reports import headline_tables, read_run, read_runs, write_report
from multiprompt.reports.learning_section import checked, noticed, share_table
from multiprompt.reports.shares import term_chart, term_shares
from reports.fake_runs import fake_score, fake_scores, write_fake_run

CHECKED = "no better than a constant answer, nothing to learn, dead training, invalid answers"
"""What the files of the runs here are enough for."""

STAGE = "target-mini-rte-mpt-all"


@pytest.fixture
def run(tmp_path):
    return write_fake_run(tmp_path / "run")


def section(run: Path) -> str:
    page = write_report(run).read_text(encoding="utf-8")
    return page[page.index("<h2>Is it learning?") : page.index("<h2>Training")]


def answer(run: Path, seed: int, given: str, stage: str = STAGE) -> None:
    """Everywhere the same answer, right for every second example."""
    rows = [{"row": str(i), "prediction": given, "references": [str(i % 2)]} for i in range(400)]
    write_text(run / f"seed-{seed}" / stage / "predictions-mini-rte.jsonl", "".join(json.dumps(r) + "\n" for r in rows))


def source_log(run: Path, seed: int, **changes) -> None:
    shared = {"gradients": {"mini-sst2": 3.0, "mini-mnli": 1.0}, "terms": {"task": 1.0, "logits": 1 / 0.9}} | changes
    terms = shared["terms"]
    loss = terms["task"] + 0.9 * (sum(terms.values()) - terms["task"])
    records = [
        {"step": 10 * i, "loss": loss, "examples": {"mini-sst2": 30 * i, "mini-mnli": 10 * i}} | shared
        for i in range(1, 31)
    ]
    records[0]["mixing"] = {"mini-sst2": 0.5, "mini-mnli": 0.5}
    write_text(run / f"seed-{seed}" / "source" / "log.jsonl", "".join(json.dumps(r) + "\n" for r in records))


def test_logs_of_earlier_releases_are_asked_what_they_can_tell(run):
    assert checked([read_run(run)]) == [Rule.BASELINE, Rule.NOTHING, Rule.DEAD, Rule.INVALID]
    found = noticed([read_run(run)])
    assert list(found) == [Rule.BASELINE, Rule.INVALID]
    assert found[Rule.INVALID][0].line.startswith(
        "target-mini-cola-prompt_tuning-16 (seeds 1, 2): 8.1 % of the outputs"
    )


def test_nothing_noticed(run):
    write_results(run / "results.json", "x", [s for s in fake_scores() if s.task != "mini-cola"])
    assert f"Nothing noticed. Checked: {CHECKED}." in section(run)
    markdown = (run / "report.md").read_text(encoding="utf-8")
    assert f"## Is it learning?\n\nNothing noticed. Checked: {CHECKED}.\n" in markdown


def test_seeds_are_put_together_and_advice_is_given_once(run):
    answer(run, 1, "1")
    answer(run, 2, "0")
    found = noticed([read_run(run)])
    (one,) = found[Rule.CONSTANT]
    assert one.line == f"{STAGE} (seeds 1, 2): 100 % of the answers are “1” (in seed 1)"
    assert STAGE not in {each.where for each in found[Rule.BASELINE]}, "the value of these scores is above it"
    shown = section(run)
    assert f"<summary>constant predictions: {STAGE}</summary>" in shown
    assert shown.count(one.advice) == 1
    assert shown.count("<details>") == len(found), "all else is folded away"
    assert f"### constant predictions\n\n{one.advice}\n\n- {STAGE}" in (run / "report.md").read_text(encoding="utf-8")


def test_draws_are_counted(run):
    experiment = {"targets": {"tasks": ["mini-rte"], "methods": {"prompt_tuning": {}}, "shots": [16], "draws": 3}}
    run = write_fake_run(run.parent / "draws", source=None, **experiment)
    scores = [
        fake_score(method="prompt_tuning", shots=16, seed=seed, draw=draw, invalid=0.1 * draw)
        for seed in (1, 2)
        for draw in range(3)
    ]
    write_results(run / "results.json", "x", scores)
    (one,) = noticed([read_run(run)])[Rule.INVALID]
    assert one.repeats == "4 of 6 repeats"
    assert one.what.endswith("(in seed 1, draw 1)")


def test_a_value_that_is_not_above_a_constant_answer(run):
    answer(run, 1, "1")
    scores = [s for s in fake_scores() if (s.task, s.method, s.seed, s.shots) != ("mini-rte", "mpt", 1, "all")]
    write_results(run / "results.json", "x", [*scores, fake_score(value=50.0, majority=50.0, interval=(45, 55))])
    found = noticed([read_run(run)])
    assert [each.where for each in found[Rule.BASELINE]] == ["target-mini-cola-prompt_tuning-16", STAGE]


def test_what_a_table_marks_is_noticed_too(run):
    """Whether answers are constant or not, and at hand or not."""
    (table, *_) = [t for t in headline_tables({"x": read_run(run).scores}) if "†" in t.marks]
    assert any("†" in cell.marks for row in table.rows for cell in row)
    assert "<summary>no better than a constant answer: target-mini-cola-prompt_tuning-16</summary>" in section(run)


def test_findings_in_the_log_are_passed_over_and_worked_out_again(run):
    path = run / "seed-1" / "source" / "log.jsonl"
    before = read_run(run)
    path.write_text(
        path.read_text(encoding="utf-8")
        + '{"step": 600, "finding": {"rule": "starved task", "where": "", "what": "x"}}\n',
        encoding="utf-8",
    )
    after = read_run(run)
    assert after.stages == before.stages
    assert noticed([after]) == noticed([before])


def test_several_runs_are_named(run, tmp_path):
    other = write_fake_run(tmp_path / "other", name="other, later")
    answer(other, 1, "1")
    (one,) = noticed(read_runs([run, other]))[Rule.CONSTANT]
    assert one.where == f"{STAGE} of other, later"


def test_an_unfinished_stage_is_asked_about_its_log_alone(tmp_path):
    folder = write_fake_run(tmp_path / "begun", finished=False)
    assert checked([read_run(folder)]) == [Rule.NOTHING, Rule.DEAD]
    assert "Nothing noticed. Checked: nothing to learn, dead training." in write_report(folder).read_text(
        encoding="utf-8"
    )
    records = [{"step": 10 * i, "loss": 1.0, "gradient_norm": 0.0} for i in range(1, 9)]
    path = folder / "seed-1" / "teacher-mini-sst2" / "log.jsonl"
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))
    assert list(noticed([read_run(folder)])) == [Rule.DEAD]


def test_a_run_that_has_not_begun_has_no_such_section(tmp_path):
    folder = write_fake_run(tmp_path / "begun", finished=False)
    (folder / "seed-1" / "teacher-mini-sst2" / "log.jsonl").unlink()
    assert "Is it learning?" not in write_report(folder).read_text(encoding="utf-8")


def test_shares_of_tasks_and_terms(run):
    for seed in (1, 2):
        source_log(run, seed)
    (source,) = ([s for s in read_run(run).stages if s.name == "source"],)
    table = share_table("source", source)
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["mini-sst2", "50 %", "75 %", "75 %"],
        ["mini-mnli", "50 %", "25 %", "25 %"],
    ]
    shares = term_shares(source)
    assert {term: points[-1] for term, points in shares.items()} == {
        "task": (300, pytest.approx(0.5)),
        "logits": (300, pytest.approx(0.5)),
    }
    chart = ElementTree.fromstring(term_chart("source", shares))
    assert "task: 50 % at step 10, 50 % at step 300" in chart.find("desc").text
    areas = [[tuple(map(float, p.split(","))) for p in a.get("points").split()] for a in chart.iter("polygon")]
    assert len(areas) == 2
    width, height = map(float, chart.get("viewBox").split()[2:])
    assert all(0 <= x <= width and 0 <= y <= height for area in areas for x, y in area)
    assert areas[0][: len(areas[0]) // 2] == areas[1][len(areas[1]) // 2 :][::-1], "one on top of the other"
    shown = section(run)
    assert "Terms of the loss, source" in shown
    assert "Shares of the tasks, source" in shown
    assert len(re.findall("<svg", shown)) == 1


def test_a_term_that_is_nearly_all_of_the_loss(run):
    source_log(run, 1, terms={"task": 1.0, "logits": 20.0})
    source_log(run, 2)
    (one,) = noticed([read_run(run)])[Rule.LOSS_SHARES]
    assert (one.where, one.repeats) == ("source", "seed 1")


@pytest.mark.parametrize("text", ["{", '{"row": 1}\n', '{"prediction": 3, "references": ["a"]}\n', "3\n"])
def test_damaged_predictions_are_named(run, text):
    write_text(run / "seed-1" / STAGE / "predictions-mini-rte.jsonl", text)
    with pytest.raises(CheckpointError, match=r"predictions-mini-rte\.jsonl is damaged"):
        read_run(run)
