"""``multiprompt analyse``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from multiprompt.cli.main import app
from multiprompt.files import read_json


def call(*arguments: object):
    return CliRunner().invoke(app, ["analyse", *map(str, arguments)])


def words_of(text: str) -> str:
    """Without line ends, which depend on the width of the terminal."""
    return " ".join(text.split())


def test_similarity_prints_a_matrix_and_writes_numbers_and_a_heatmap(finished, tmp_path):
    files = tmp_path / "numbers.json", tmp_path / "map.svg"
    done = call("similarity", finished, "--stage", "teacher-*", "--out", files[0], "--svg", files[1])
    assert done.exit_code == 0, done.output
    assert "Cosines of mean rows, ± deviation over 2 seeds" in words_of(done.stdout)
    assert "cluster: " in words_of(done.stdout)
    numbers = read_json(files[0])
    assert sorted(numbers["labels"]) == ["mini-qqp", "mini-squad", "mini-sst2"]
    for row in numbers["mean"]:
        assert all(f"{value:.3f}" in done.stdout for value in row)
    assert "mini-squad" in files[1].read_text(encoding="utf-8")


def test_similarity_by_rows_warns_of_other_starts(finished):
    done = call("similarity", finished, "--stage", "teacher-*", "--row-wise")
    assert "Means of row-wise cosines" in words_of(done.stdout)
    assert "note: some of these prompts start from different rows" in words_of(done.stderr)


def test_former_names_of_options_work_and_say_so(finished, tmp_path):
    files = [tmp_path / "new.json", tmp_path / "former.json"]
    new = call("similarity", finished, "--stage", "teacher-*", "--row-wise", "--out", files[0])
    former = call("similarity", finished, "--stages", "teacher-*", "--rows", "--json", files[1])
    assert (new.exit_code, former.exit_code) == (0, 0), former.output
    assert files[0].read_text(encoding="utf-8") == files[1].read_text(encoding="utf-8")
    said = [line for line in former.stderr.splitlines() if line not in new.stderr]
    names = (("--stages", "--stage"), ("--rows", "--row-wise"), ("--json", "--out"))
    assert said == [f"note: {one} is now {other}; the former name still works" for one, other in names]
    assert not any(one in call("similarity", "--help").stdout.split() for one, _ in names)


def test_transfer_prints_scores_and_advice(own_run, tmp_path):
    done = call("transfer", own_run, "--steps", 1, "--task", "mini-rte", "--out", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    for words in ("as they are", "after 1 step", "Scores are on 6 dev rows of each target, seed 1", "constant answer"):
        assert words in words_of(done.stdout)
    numbers = read_json(tmp_path / "t.json")
    assert len(numbers["cells"]) == 8
    assert set(numbers["spearman"]) == {"0", "1"}
    assert all(line in words_of(done.stdout) for line in numbers["advice"])


def test_prompt_prints_neighbours_norms_and_factors(finished, tmp_path):
    done = call("prompt", finished, "seed-2/source", "--metric", "euclid", "--nearest", 2, "--out", tmp_path / "p.json")
    assert done.exit_code == 0, done.output
    for words in ("nearest vocabulary entries (Euclidean distance)", "shared prompt", "fixed gauge", "mean(u) mean(v)"):
        assert words in words_of(done.stdout)
    assert "choose with --task" in words_of(done.stderr)
    assert len(read_json(tmp_path / "p.json")["rows"][0]["nearest"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("similarity", "nowhere"), "is not a run folder"),
        (("transfer", "nowhere"), "is not a run folder"),
        (("prompt", "nowhere", "source"), "is not a run folder"),
        (("similarity", "nowhere", "--svg", "map.png"), "ends in .svg"),
    ],
)
def test_errors_are_for_people(arguments, message):
    done = call(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output
