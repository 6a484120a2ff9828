from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from multiprompt.config import build_experiment
from multiprompt.errors import CheckpointError, ConfigError
from multiprompt.evaluation.results import write_results
from multiprompt.evaluation.summaries import summarise
from multiprompt.files import write_text
from multiprompt.plan import plan_stages
from multiprompt.reports import read_run, write_report
from multiprompt.reports.html import duration, how_to_read, lead
from multiprompt.reports.score_charts import MOST_POINTS, score_chart, thin
from multiprompt.studies import write_study_report
from multiprompt.text import printable
from multiprompt.training.log import JsonLog
from reports.fake_runs import CONFIGURATION, fake_log, fake_score, write_fake_run

VOID = {"meta", "br", "link", "img"}


class Page(html.parser.HTMLParser):
    """Checks that tags are balanced, and counts them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path):
    return write_fake_run(tmp_path / "run")


def test_the_page_is_whole(run):
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert "76.5 ±\u00a00.7" in page.text  # a phone cuts no deviation in two
    assert "small <comparison>" in page.text
    assert page.tags.count("table") == page.tags.count("caption") >= 5
    assert ("scope", "col") in page.attributes
    assert ("scope", "row") in page.attributes
    assert "Not finished" not in page.text
    assert "cut to 256 tokens & more" in page.text
    assert "factor_start: ones" in page.text, "the resolved configuration"
    assert "3.11.9" in page.text, "the environment"


def test_the_page_needs_no_network_and_no_script(run):
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.attributes
    assert not [name for name, _ in page.attributes if name in ("src", "href", "srcset")]
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_policy_of_a_page_allows_its_style_and_nothing_else(run, tmp_path):
    write_study_report(["figure5", "table6"], "mini", tmp_path, tmp_path / "study.html")
    for path in (write_report(run), tmp_path / "study.html"):
        text = path.read_text(encoding="utf-8")
        page = Page(text)
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
        (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        assert text.index("Content-Security-Policy") < text.index("<style>")
        # Attributes with a style, scripts, and what loads something would be refused.
        assert "style" not in dict(page.attributes)
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        assert not {"script", "link", "img", "iframe", "form", "base", "object"} & set(page.tags)


def test_runs_seeds_and_draws_are_counted_apart(tmp_path):
    one = read_run(write_fake_run(tmp_path / "one", seeds=[1]))
    two = read_run(write_fake_run(tmp_path / "two", name="two", seeds=[2]))
    more = read_run(write_fake_run(tmp_path / "more", name="more", seeds=[1, 2, 3]))
    assert lead([one])[2] == "1 seed"
    assert lead([more])[2] == "3 seeds"
    assert lead([one, two])[2] == "2 runs of 1 seed each"
    assert lead([one, more])[2] == "2 runs of 1 to 3 seeds each"
    drawn = replace(two, scores=tuple(fake_score(shots=16, seed=2, draw=draw) for draw in range(4)))
    assert lead([drawn])[3] == "4 draws of few examples for each seed"
    assert lead([one, drawn])[3] == "1 to 4 draws of few examples for each seed"


def test_the_time_is_that_of_all_stages(run):
    """Two teachers that were trained together have taken the same time each."""
    shown = read_run(run)
    stages = {(score.seed, score.method, score.shots, score.task) for score in shown.scores}
    students = {(score.seed, score.method) for score in shown.scores if score.method == "student"}
    trained = len(stages) - sum(score.method == "student" for score in shown.scores) + len(students)
    assert lead([shown])[-1] == f"{duration(61.5 * trained)} of training"


def test_both_kinds_of_intervals_are_explained(run):
    scores = [
        fake_score(method=method, seed=seed, value=70 + gap * seed)
        for seed in (1, 2)
        for method, gap in (("mpt", 2), ("spot", 1))
    ]
    write_results(write_fake_run(run.parent / "several") / "results.json", "small", scores)
    text = how_to_read([read_run(run.parent / "several")])
    assert "in the charts and under “Every score”, is a bootstrap over the test examples" in text
    assert "paired difference" in text
    assert "it covers the seeds and, where the answers are stored, the test rows" in text
    assert "does not say that two methods are equal" in text
    alone = read_run(write_fake_run(run.parent / "alone", seeds=[1]))
    assert "Student" not in how_to_read([alone]), "one training of each has no interval"


def test_every_chart_is_drawn_and_described(run):
    charts = re.findall(r"<svg.*?</svg>", write_report(run).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(charts) == 2 + len(plan_stages(read_run(run).experiment))
    curves = 0
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.find("title").text
        assert root.find("desc").text
        width, height = map(float, root.get("viewBox").split()[2:])
        for line in root.iter("polyline"):
            curves += 1
            assert line.get("points")
            for place in line.get("points").split():
                x, y = map(float, place.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height
    assert curves >= len(plan_stages(read_run(run).experiment)), "one of each stage"


@pytest.mark.parametrize("count", [2, 6, 7, 14])
def test_a_chart_tells_its_methods_apart(count):
    names = [f"method {number}" for number in range(count)]
    (summary,) = summarise([fake_score()])
    chart = score_chart("scores", {task: [(name, summary) for name in names] for task in ("one", "two")})
    root = ElementTree.fromstring(chart)
    dots = [dot.get("class") for dot in root.iter("circle")]
    texts = [text.text for text in root.iter("text")]
    assert len(dots) == 2 * count
    if count <= 6:
        assert len(set(dots)) == count, "by colour"
    else:
        assert [text for text in texts if text in names] == [*names, *names], "by name"
    assert {"one", "two"} < set(texts)
    height = float(root.get("viewBox").split()[3])
    places = [float(text.get("y")) for text in root.iter("text")] + [
        float(dot.get("cy")) for dot in root.iter("circle")
    ]
    assert 0 < min(places) <= max(places) < height


def test_names_are_escaped_everywhere(tmp_path):
    run = write_fake_run(tmp_path / "run", name='<img src=x onerror="alert(1)">')
    text = write_report(run).read_text(encoding="utf-8")
    assert "<img" not in text
    assert "<img" not in (run / "report.md").read_text(encoding="utf-8").replace(r"\<img", "").replace(
        "    name: <img", ""
    ).replace("    name: '<img", "")


def test_the_markdown_holds_the_tables(run):
    write_report(run)
    text = (run / "report.md").read_text(encoding="utf-8")
    assert "| mini-rte (accuracy) | 52.5 | 76.5 ± 0.7 | 70.5 ± 0.7 |" in text
    assert "## Notes" in text
    assert "    prompt:\n" in text


def test_a_report_is_the_same_every_time(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_an_unfinished_run_is_reported_as_what_is_there(tmp_path):
    run = write_fake_run(tmp_path / "run", finished=False)
    text = Page(write_report(run).read_text(encoding="utf-8")).text
    assert "Not finished." in text
    assert "seed 1: teacher-mini-sst2, last seen at step 40" in text
    assert "seed 2: 11 of 11 stages, not begun" in text
    assert "Every score" not in text
    assert "teacher-mini-sst2: training loss" in text


def test_an_empty_log_is_no_chart(tmp_path):
    run = write_fake_run(tmp_path / "run")
    write_text(run / "seed-1" / "source" / "log.jsonl", "")
    write_text(run / "seed-2" / "source" / "log.jsonl", '{"step": 5, "dev": 1.0}\n')
    assert "source: training loss" not in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("losses", [[0.0, 0.0], [1e-9, 2e-9], [-3.0, -2.0], [5e8]])
def test_odd_losses_can_be_drawn(tmp_path, losses):
    run = write_fake_run(tmp_path / "run")
    log = "".join(
        f'{{"step": {i + 1}, "loss": {loss}}}\n{{"step": {i + 1}, "dev": 0}}\n' for i, loss in enumerate(losses)
    )
    write_text(run / "seed-1" / "source" / "log.jsonl", log)
    assert "source: training loss" in Page(write_report(run).read_text(encoding="utf-8")).text


def test_several_runs_make_one_page(tmp_path):
    runs = [write_fake_run(tmp_path / "a"), write_fake_run(tmp_path / "b", name="other", seeds=[1])]
    page = Page(write_report(runs, tmp_path / "both.html").read_text(encoding="utf-8"))
    assert "mpt · other" in page.text
    assert "Resolved configuration of other" in page.text
    assert (tmp_path / "both.md").exists()


def test_draws_share_a_chart_and_are_counted(tmp_path):
    run = write_fake_run(tmp_path / "run", seeds=[1], targets=CONFIGURATION["targets"] | {"draws": 3})
    assert len(read_run(run).experiment.targets.shots) == 2
    few = [fake_score(shots=16, draw=draw, selection="last-step", seconds=60.0) for draw in range(3)]
    write_results(run / "results.json", "small", few)
    text = write_report(run).read_text(encoding="utf-8")
    page = Page(text)
    assert "3 draws of few examples for each seed" in page.text
    assert "3 min 0 s of training" in page.text
    assert "a curve for every seed and draw" in page.text
    assert "Every seed and draw, with all metrics" in page.text
    assert "the draws of one seed share it" in page.text
    caption = "Target tasks, 16 training examples, 3 draws, last-step"
    assert f"{caption}: values and 95 % intervals" in page.text, "the chart stands beside its table"
    assert "target-mini-rte-mpt-16-draw1" not in page.text
    (chart,) = re.findall(r"<svg[^>]*><title>target-mini-rte-mpt-16: .*?</svg>", text, flags=re.DOTALL)
    assert chart.count('class="curve loss') == 3
    assert "seed 1, draw 2: loss" in chart
    assert "3 draws, last-step" in (run / "report.md").read_text(encoding="utf-8")


def test_a_missing_draw_is_named(tmp_path):
    run = write_fake_run(tmp_path / "run", seeds=[1], targets=CONFIGURATION["targets"] | {"draws": 2})
    (run / "seed-1" / "target-mini-rte-mpt-16-draw1" / "result.json").unlink()
    assert read_run(run).missing == ("seed 1: target-mini-rte-mpt-16-draw1, last seen at step 600",)


def test_old_results_say_how_tensors_were_chosen_by_their_configuration(run):
    assert {score.selection for score in read_run(run).scores if score.shots == 16} == {"full-dev"}
    assert "Target tasks, 16 training examples, full-dev" in Page(write_report(run).read_text(encoding="utf-8")).text


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [write_fake_run(tmp_path / "a"), write_fake_run(tmp_path / "b")]
    assert (
        f"mpt · small <comparison> ({tmp_path / 'b'})"
        in Page(write_report(runs, tmp_path / "x.html").read_text(encoding="utf-8")).text
    )


def test_a_report_of_wrong_arguments(tmp_path, run):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match="named twice"):
        write_report([run, run], tmp_path / "x.html")
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        write_report(run, tmp_path / "x.md")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.json", '{"version": 1, "exper', r"results\.json cannot be read as JSON"),
        ("results.json", '{"version": 7}', "has version 7"),
        ("environment.json", "[]", "environment.json is damaged"),
        ("seed-1/source/log.jsonl", '{"step"\n' + fake_log(20, 1), "line 1 is damaged"),
        ("seed-1/source/log.jsonl", "3\n" + fake_log(20, 1), "line 1 is damaged"),
        ("config.yaml", "name: [", "config.yaml is not YAML"),
    ],
)
def test_a_damaged_file_is_one_clear_error(run, name, content, message):
    write_text(run / name, content)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        write_report(run)


def test_stage_names_of_a_group_without_teachers():
    experiment = build_experiment(
        {
            "name": "x",
            "source": {"tasks": ["sst2", "mnli"], "distillation": {"kind": "none"}},
            "targets": {"tasks": ["rte", "cb"], "methods": {"mpt": {}, "bitfit": {}, "adapters": {}}, "group": True},
        }
    )
    assert [stage.name for stage in plan_stages(experiment)] == [
        "source",
        "target-group-mpt-all",
        "target-group-adapters-all",
        "target-rte-bitfit-all",
        "target-cb-bitfit-all",
    ]


def test_thinning_keeps_the_mean_and_the_last_step():
    points = tuple((step, float(step % 5)) for step in range(1, 1001))
    thinned = thin(points)
    assert len(thinned) <= MOST_POINTS
    assert thinned[-1][0] == 1000
    assert thin(points[:20]) == points[:20]


def test_reports_do_not_load_torch():
    code = "import sys, multiprompt.reports; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "False"


def test_an_answer_with_other_line_separators_is_one_record(tmp_path):
    folder = write_fake_run(tmp_path / "run")
    before = read_run(folder)
    log = folder / "seed-1" / "teacher-mini-sst2" / "log.jsonl"
    finding = {"step": 1, "finding": {"rule": "x", "where": "", "what": "all are a\u2028b\x85c", "advice": ""}}
    lines = log.read_text(encoding="utf-8")
    write_text(log, json.dumps(finding, ensure_ascii=False) + "\n" + lines)
    assert read_run(folder) == before
    kept, dropped = JsonLog(log).cut(10**9)
    assert (kept[0], len(kept), dropped) == (finding, lines.count("\n") + 1, [])


def test_a_report_in_markdown_holds_no_control_characters(tmp_path):
    folder = write_fake_run(tmp_path / "run", name="a\x1b[31m\u202eb")
    text = write_report(folder).with_suffix(".md").read_text(encoding="utf-8")
    assert "a\\x1b[31m\\u202eb" in text.replace("\\[", "[")
    assert printable(text) == text
