"""What is shown of scores: values, published ones beside them, verdicts, findings, charts."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from scipy import stats

from multiprompt.evaluation.results import Score
from multiprompt.reports.score_tables import LEGEND, signed
from multiprompt.studies import load_study
from multiprompt.studies.cells import measure
from multiprompt.studies.study_charts import ShownPoint, ShownSeries, curve_chart, scatter_chart
from multiprompt.studies.study_definition import Choice, Claim, Line, TableDefinition
from multiprompt.studies.study_tables import (
    HEADS,
    MARKS,
    cells_of,
    claims_table,
    detail_table,
    judge_claims,
    records_of,
    shown_table,
)
from studies.test_cells import SCORE, scores_of

PAPER = TableDefinition(
    "GLUE",
    rows=(Line(label="PT", run="single", method="prompt_tuning"), Line(label="MPT", run="single", method="mpt")),
    columns=(
        Line(label="MNLI", tasks=("mnli",)),
        Line(label="WSC", tasks=("wsc",), note="52 rows"),
        Line(label="CB", tasks=("cb",), incomparable="another split"),
    ),
    published="table1",
    parameters=True,
)


def paper_scores() -> dict[str, list[Score]]:
    values = {"mnli": (81.0, 80.0), "wsc": (67.0, 60.0), "cb": (80.0, 79.0)}
    scores = []
    for task, (prompt_tuning, mpt) in values.items():
        for method, value in (("prompt_tuning", prompt_tuning), ("mpt", mpt)):
            for seed in range(3):
                at = value + 0.1 * seed
                majority = 67.3 if task == "wsc" else 35.0
                cell = {"value": at, "interval": (at - 1, at + 1), "majority": majority}
                scores.append(replace(SCORE, task=task, method=method, seed=seed, **cell))
    return {"single": scores}


def test_published_values_stand_beside_ours_with_a_verdict():
    cells = cells_of(PAPER, paper_scores(), "paper")
    by_name = {(cell.row, cell.column): cell for line in cells for cell in line}
    # published: PT 81.3 and 63.5 and 53.5, MPT 85.9 ± 0.07, 67.3 and 79.8 ± ..
    assert by_name["PT", "MNLI"].verdict == "equal"
    assert by_name["MPT", "MNLI"].verdict == "differs"
    assert by_name["MPT", "WSC"].verdict == "differs"
    assert (by_name["MPT", "CB"].verdict, by_name["MPT", "CB"].why) == ("not comparable", "another split")
    table = shown_table(PAPER, cells)
    assert table.columns == ("method", "trained per task", "MNLI", "WSC", "CB")
    assert str(table.rows[0][2]) == "81.1 ± 0.1 (paper 81.3 ± ?) ="
    assert "†" in str(table.rows[1][3])  # below the constant answer
    assert {"=", "≠", "○", "†"} <= set(table.marks)
    assert all(mark in LEGEND for mark in MARKS.values())


def test_a_mark_asks_the_interval_and_baselines_stand_below():
    """MPT's 60.1 on WSC is above 60.0, but its interval, 1 point either way by the test rows, is not."""
    scores = {"single": [replace(score, majority=60.0, shortcut=64.5) for score in paper_scores()["single"]]}
    table = shown_table(PAPER, cells_of(PAPER, scores, "mini"))
    assert [cell.marks for cell in table.rows[1][2:]] == ["", "†", ""]
    assert [[str(cell) for cell in row] for row in table.footer] == [
        ["constant answer", "–", "60.0", "60.0", "60.0"],
        ["word rule", "–", "64.5", "64.5", "64.5"],
    ]
    mixed = {"single": [replace(score, majority=60.0 + (score.method == "mpt")) for score in scores["single"]]}
    assert shown_table(PAPER, cells_of(PAPER, mixed, "mini")).footer == ()  # rows of other tasks, as in Table 3


def test_at_mini_scale_nothing_published_is_shown():
    cells = cells_of(PAPER, paper_scores(), "mini")
    assert all(cell.theirs is None and cell.verdict is None for line in cells for cell in line)


def test_records_hold_every_number():
    cells = cells_of(PAPER, paper_scores(), "paper")
    records = [dict(zip(HEADS, record, strict=True)) for record in records_of(cells)]
    assert len(records) == 6
    first = records[0]
    assert (first["row"], first["column"], first["paper"], first["verdict"]) == ("PT", "MNLI", 81.3, "equal")
    assert first["value"] == pytest.approx(81.1)
    assert first["low"] == pytest.approx(80.1, abs=0.01)
    assert (first["seeds"], first["n"], first["parameters"]) == (3, 1000, 2036)
    assert records[1]["notes"] == "52 rows"
    empty = [dict(zip(HEADS, record, strict=True)) for record in records_of(cells_of(PAPER, {}, "paper"))]
    assert all(record["value"] is None and record["verdict"] is None for record in empty)
    assert len(detail_table("x", cells).rows) == 6


def test_findings_are_told_with_their_interval():
    claims = (
        Claim(
            "MPT is better",
            Choice(method="mpt"),
            Choice(method="prompt_tuning"),
            Choice("single", tasks=("mnli",)),
            4.6,
            primary=True,
        ),
        Claim("not run", Choice(method="spot"), Choice(method="mpt"), Choice("single", tasks=("mnli",))),
    )
    table = claims_table(judge_claims(claims, paper_scores()))
    assert [str(cell) for cell in table.rows[0]] == [
        *("MPT is better (primary)", "not shown", "-1.0", "–", "–", "3 seeds alone", "+4.6"),
    ]
    assert [str(cell) for cell in table.rows[1]][1:] == ["–"] * 6
    alone = claims_table(judge_claims(claims, {run: scores[:2] for run, scores in paper_scores().items()}))
    assert "1 draws" not in {str(cell) for row in alone.rows for cell in row}


def claim_of(task: str, primary: bool = False) -> Claim:
    sides = Choice(method="mpt"), Choice(method="prompt_tuning")
    return Claim(task, *sides, Choice("single", tasks=(task,)), primary=primary)


def test_findings_are_tested_together():
    """Four findings with p of 0.03 each: the primary one holds, three others together do not, and one is reversed."""
    gaps = {"first": 1.0, "second": 1.0, "third": 1.0, "fourth": -20.0}
    scores = []
    for task, gap in gaps.items():
        for seed, noise in enumerate((-0.35, 0.0, 0.35)):
            scores.append(replace(SCORE, task=task, seed=seed, value=70.0 + gap + noise))
            scores.append(replace(SCORE, task=task, seed=seed, value=70.0, method="prompt_tuning"))
    claims = [claim_of(task, task == "first") for task in (*gaps, "not measured")]
    judged = judge_claims(claims, {"single": scores})
    alone = [each.found.p_value for each in judged[:4]]
    assert alone[0] == pytest.approx(stats.ttest_1samp([0.65, 1.0, 1.35], 0).pvalue)
    assert 0.03 < alone[0] < 0.05
    assert [each.verdict for each in judged] == ["holds", "not shown", "not shown", "reversed", None]
    assert [each.p_value for each in judged[:4]] == pytest.approx([alone[0], 3 * alone[1], 3 * alone[2], 4 * alone[3]])
    rows = [[str(cell) for cell in row] for row in claims_table(judged).rows]
    assert rows[0][:2] == ["first (primary)", "holds"]
    assert rows[1][1] == "not shown (equal within 2.0)"
    assert rows[1][3] == "+0.1 to +1.9", "the interval is each one's own"
    assert rows[1][4] == f"{alone[1]:.3f}, {3 * alone[1]:.3f}"


def test_what_is_not_shown_says_what_it_leaves_open():
    scores = [
        replace(SCORE, task="first", seed=seed, value=70.0 + gap * (method == "mpt"), method=method)
        for seed, gap in enumerate((-4.0, 1.0, 5.0))
        for method in ("mpt", "prompt_tuning")
    ]
    (judged,) = judge_claims([claim_of("first")], {"single": scores})
    low, high = stats.ttest_1samp([-4, 1, 5], 0).confidence_interval()
    assert judged.found.interval == pytest.approx((low, high))
    assert str(claims_table([judged]).rows[0][1]) == f"not shown (up to {high:.1f} is open)"


def test_metrics_of_a_small_scale_show_more_digits():
    generated = TableDefinition(
        "E2E",
        rows=(Line(label="MPT", run="large", method="mpt"),),
        columns=(
            Line(label="BLEU", tasks=("e2e",), metric="bleu_e2e"),
            Line(label="METEOR", tasks=("e2e",), metric="meteor_e2e", digits=3),
        ),
    )
    metrics = ({"bleu_e2e": 66.0, "meteor_e2e": 0.441}, {"bleu_e2e": 67.0, "meteor_e2e": 0.443})
    scores = {
        "large": [
            replace(SCORE, task="e2e", seed=seed, metrics=each, intervals={"meteor_e2e": (0.4, 0.48)})
            for seed, each in enumerate(metrics)
        ]
    }
    cells = cells_of(generated, scores, "mini")
    assert [str(cell) for cell in shown_table(generated, cells).rows[0]] == ["MPT", "66.5 ± 0.7", "0.442 ± 0.001"]
    detail = detail_table("x", cells).rows[1]
    assert [cell.text for cell in detail[1:5]] == ["0.442 ± 0.001", "0.402 to 0.482", "meteor_e2e", "–"]
    assert str(detail[0]) == "MPT (METEOR)"
    records = [dict(zip(HEADS, record, strict=True)) for record in records_of(cells)]
    assert (records[1]["metrics"], records[1]["constant answer"]) == ("meteor_e2e", None)
    claim = Claim("METEOR", Choice(method="mpt"), Choice(method="mpt"), Choice("large", tasks=("e2e",)), 0.0214, 3)
    assert str(claims_table(judge_claims((claim,), scores)).rows[0][-1]) == "+0.021"
    assert [signed(value, 3) for value in (0.0214, -0.0214, 0.0001)] == ["+0.021", "-0.021", "0.000"]


def points(values: dict[float, float], spread: float = 1.0):
    found = []
    for place, value in values.items():
        scores = scores_of({("a", seed, 0): value + spread * seed for seed in range(3)})
        ours = measure({"run": scores}, Choice("run", "mpt", "all", ("a",)))
        assert ours is not None
        found.append((place, ours))
    return tuple(found)


def test_a_curve_puts_every_mean_at_its_place_and_says_it():
    series = [ShownSeries("MPT", points({5: 60.0, 20: 70.0, 80: 65.0})), ShownSeries("PT", points({5: 50.0, 80: 55.0}))]
    drawn = ET.fromstring(curve_chart("score", "rows", series, logarithmic=True))
    dots = [each for each in drawn.iter() if each.get("class", "").startswith("dot")]
    assert len(dots) == 5
    first = [float(dot.get("cy")) for dot in dots[:3]]
    assert first[1] < first[2] < first[0]  # higher is up
    across = [float(dot.get("cx")) for dot in dots[:3]]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)  # 5, 20, 80 are evenly spread
    described = drawn.find("desc").text
    assert "MPT, 20: 71.0 ± 1.0" in described
    assert "PT, 80: 56.0 ± 1.0" in described
    assert {each.text for each in drawn.iter("text")} >= {"5", "20", "80", "rows (log scale)"}


def test_a_scatter_is_logarithmic_and_its_names_do_not_overlap():
    shown = []
    for index, (label, size) in enumerate((("MPT", 2036), ("PT", 1920), ("SPoT", 1920), ("Finetuning", 843_520))):
        scores = [replace(score, parameters=size) for score in scores_of({("a", 0, 0): 70.0 + 0.1 * index})]
        ours = measure({"run": scores}, Choice("run", "mpt", "all", ("a",)))
        assert ours is not None
        shown.append(ShownPoint(label, ours))
    chart = scatter_chart("sizes", shown)
    drawn = ET.fromstring(chart)
    names = {each.text: each for each in drawn.iter("text") if each.get("class") == "label"}
    heights = sorted(float(names[label].get("y")) for label in ("MPT", "PT", "SPoT"))
    assert all(high - low >= 12 for low, high in itertools.pairwise(heights))
    assert names["Finetuning"].get("text-anchor") == "end"  # no room on the right
    assert "trained numbers per task (log scale)" in chart
    assert "Finetuning: 843,520 trained numbers, 70.3" in drawn.find("desc").text
    places = [float(place) for place in re.findall(r'<circle class="dot method0" cx="([\d.]+)"', chart)]
    assert max(places) > 2 * min(places)


def test_every_shipped_study_can_be_shown_before_it_is_run(tmp_path):
    from multiprompt.studies import SCALES, study_names, write_study_report

    for scale in SCALES:
        write_study_report(study_names(scale), scale, tmp_path, tmp_path / f"{scale}.html")
        page = (tmp_path / f"{scale}.html").read_text(encoding="utf-8")
        for name in study_names(scale):
            assert f'<section id="{name}">' in page
            assert load_study(name, scale).title.split(",")[0] in page
