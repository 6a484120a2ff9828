"""A study from the command line: run, stopped, gone on with, and its report."""

from __future__ import annotations

import csv
import re

import pytest
from typer.testing import CliRunner

from multiprompt.cli.main import app

SMALL = (
    "seeds=[0, 1]",
    "data.max_train=40",
    "data.max_dev=8",
    "data.max_test=16",
    "prompt.length=4",
    "teachers.training.steps=2",
    "source.training.steps=2",
    "source.training.batch_size=8",
    "targets.training.steps=2",
    "targets.few_shot_training.steps=2",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Table 6 with two steps a stage."""
    folder = tmp_path_factory.mktemp("study")
    result = CliRunner().invoke(app, ["reproduce", "table6", *SMALL, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_a_table_from_one_command(made):
    folder, output = made
    assert "Four unseen tasks" in output
    assert "What holds" in output
    page = (folder / "table6" / "report.html").read_text(encoding="utf-8")
    assert page.count("<table>") >= 3
    assert "://" not in re.sub(r"http://www.w3.org", "", page)  # nothing to load
    assert "Not finished" not in page
    rows = list(csv.DictReader((folder / "table6" / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 2 * 4 * 5  # all rows and 32, four variants, four tasks and their mean
    for row in rows:
        assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
        assert (row["seeds"], row["paper"], row["verdict"]) == ("2", "", "")
    mean = next(row for row in rows if row["row"] == "both" and row["column"] == "average")
    tasks = [row for row in rows if (row["table"], row["row"]) == (mean["table"], "both") and row is not mean]
    assert float(mean["value"]) == pytest.approx(sum(float(row["value"]) for row in tasks) / 4)
    assert "| neither |" in (folder / "table6" / "report.md").read_text(encoding="utf-8")


def test_what_runs_share_is_done_once(made):
    """The teachers of three variants: those of the second come from the first."""
    folder, _ = made
    one, other = (
        (folder / "table6" / run / "seed-0" / "teacher-mini-mnli" / "prompt.safetensors").read_bytes()
        for run in ("both", "distillation")
    )
    assert one == other
    assert not (folder / "table6" / "decomposition" / "seed-0" / "teacher-mini-mnli").exists()


def test_a_second_time_needs_resume_and_does_nothing_anew(made):
    folder, _ = made
    again = CliRunner().invoke(app, ["reproduce", "table6", *SMALL, "--out", str(folder)])
    assert again.exit_code == 1
    assert "holds runs of table6 already; add --resume" in again.output
    log = folder / "table6" / "both" / "seed-0" / "source" / "log.jsonl"
    before = log.stat().st_mtime_ns
    resumed = CliRunner().invoke(app, ["reproduce", "table6", *SMALL, "--out", str(folder), "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert log.stat().st_mtime_ns == before


def test_an_unfinished_study_says_what_is_missing(made, tmp_path):
    from multiprompt.studies import show, write_study_report

    folder, _ = made
    (tmp_path / "table6").mkdir()
    for run in ("both", "neither"):
        (tmp_path / "table6" / run).symlink_to(folder / "table6" / run)
    shown = show("table6", "mini", tmp_path)
    assert shown.missing == ("table6/decomposition: not begun", "table6/distillation: not begun")
    out = tmp_path / "out" / "report.html"
    write_study_report(["table6"], "mini", tmp_path, out)
    page = out.read_text(encoding="utf-8")
    assert "Not finished." in page
    claims = next(table for table in shown.tables if table.caption == "What holds")
    assert [row[1].text for row in claims.rows[:2]] == ["–", "–"]
    assert claims.rows[3][1].text in ("holds", "reversed", "not shown")


def test_a_dry_run_needs_no_network_and_prints_costs():
    result = CliRunner().invoke(app, ["reproduce", "all", "--scale", "paper", "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "table5/large" in result.output
    assert re.search(r"[\d,]+ GPU-hours in all, by arithmetic", result.output)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tabel6"], "did you mean 'table6'"),
        (["table6", "seeds=[]"], "seeds is empty"),
        (["table6", "source.learning_rat=1"], "did you mean 'learning_rate'"),
        (["table6", "--threads-per-stage", "2"], "give --ray ADDRESS too"),
    ],
)
def test_wrong_use_is_explained(arguments, says, tmp_path):
    result = CliRunner().invoke(app, ["reproduce", *arguments, "--out", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert says in result.output
    assert not (tmp_path / "none").exists()


def test_a_heatmap_shows_the_prompts_that_are_there(made):
    from multiprompt.reports import read_run
    from multiprompt.studies.study_definition import Choice, HeatmapDefinition
    from multiprompt.studies.study_report import _heatmap

    folder, _ = made
    run = read_run(folder / "table6" / "both")
    tasks = ("mini-rte", "mini-boolq", "mini-mrpc", "mini-paws")
    (chart,) = _heatmap(HeatmapDefinition("cosines", Choice("both", "mpt", "all", tasks)), run)
    assert chart.svg.count("mini-boolq") >= 2
    assert "mini-paws" not in chart.svg  # not trained
    assert not list(_heatmap(HeatmapDefinition("cosines", Choice("both", "mpt", "all", tasks[3:])), run))
    assert not list(_heatmap(HeatmapDefinition("cosines", Choice("both", "mpt", "all", tasks)), None))


def test_figures_are_drawn_on_the_page_and_told_in_the_markdown(made, tmp_path):
    from multiprompt.studies import write_study_report

    folder, _ = made
    (tmp_path / "figure5").mkdir()
    (tmp_path / "figure5" / "l20").symlink_to(folder / "table6" / "both")
    write_study_report(["figure5"], "mini", tmp_path, tmp_path / "report.html")
    (said,) = re.findall(r"<desc>(MPT, 20: .*)</desc>", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"(drawn on the page): {said}." in (tmp_path / "report.md").read_text(encoding="utf-8")
