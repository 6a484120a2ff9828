from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from multiprompt.cli import progress
from multiprompt.cli.progress import BarProgress, LineProgress, span, terminal_progress


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_every_ten_seconds_and_at_the_end(clock):
    out = io.StringIO()
    with terminal_progress(Console(file=out)) as lines:
        assert isinstance(lines, LineProgress)
        lines.message("3 [sources] cut")
        lines.begin("source", 1000)
        for step in range(1, 26):
            clock[0] += 1
            lines.step(step, 0.5, 1234.5)
        lines.end("source", "accuracy 71.2")
    assert out.getvalue().splitlines() == [
        "note: 3 [sources] cut",
        "source: step 10 of 1,000, loss 0.5000, 1,234 examples/s",
        "source: step 20 of 1,000, loss 0.5000, 1,234 examples/s",
        "source: accuracy 71.2 (25 s)",
    ]


def test_a_stage_that_was_trained_elsewhere_ends_without_having_begun():
    for terminal in (False, True):
        out = io.StringIO()
        with terminal_progress(Console(file=out, force_terminal=terminal, width=80, color_system=None)) as lines:
            lines.end("source", "accuracy 71.2, in 5 s")
        (line,) = [line for line in out.getvalue().splitlines() if "source" in line]
        assert line.rstrip().endswith("accuracy 71.2, in 5 s")


def test_bars_leave_one_line_for_each_stage():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, no_color=True, color_system=None)
    with terminal_progress(console) as bars:
        assert isinstance(bars, BarProgress)
        for stage in ("teacher-[a]", "source"):
            bars.begin(stage, 10)
            bars.step(7, 0.5, 10.0)
            bars.step(10, 0.4, 10.0)
            bars.message("a note")
            bars.end(stage, "accuracy 71.2")
        bars.begin("interrupted", 5)
    text = out.getvalue()
    assert "✓ teacher-[a]  accuracy 71.2  0 s" in text
    assert "✓ source" in text
    assert "note: a note" in text


LONG = "32 together, seed 0, target-mini-boolq-prompt_tuning-4-draw19 and others"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_bar_keeps_steps_loss_and_the_time_left(width):
    out = io.StringIO()
    with BarProgress(Console(file=out, force_terminal=True, width=width, color_system=None)) as bars:
        bars.begin(LONG, 12_345)
        bars.step(1, 0.5, 10.0)
        bars.step(1234, 12.3456, 12_345.0)
        bars._bars.refresh()
        bars.end("seed 0, target-mini-boolq-prompt_tuning-4-draw19", "mini-boolq accuracy 71.2")
    lines = re.sub(r"\x1b\[[0-9?]*[a-zA-Z]", "\n", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    (bar, *_) = [line for line in lines if "1234/12345" in line]
    assert re.search(r"32 toget.*[━╸].* 1234/12345 loss 12\.3456 .*left [-\d]+:[-\d]+:[-\d]+", bar)
    assert ("12,345 examples/s" in bar) == (width == 120)
    assert "mini-boolq accuracy 71.2  0 s" in " ".join(lines)


def test_lines_in_a_pipe_are_no_wider_than_a_terminal(clock):
    out = io.StringIO()
    with LineProgress(Console(file=out, width=80)) as lines:
        lines.message("own: " + "a long note " * 20)
        lines.begin(LONG, 12_345)
        clock[0] += 11
        lines.step(1234, 12.3456, 12_345.0)
    said = out.getvalue().splitlines()
    assert max(map(len, said)) <= 80
    assert f"{LONG}: step 1,234 of 12,345, loss 12.3456, 12,345 examples/s" in " ".join(said[-2:]).replace("   ", " ")


def test_a_stage_that_never_ended_is_replaced():
    with BarProgress(Console(file=io.StringIO(), force_terminal=True)) as bars:
        bars.begin("one", 5)
        bars.begin("two", 5)
        assert [task.description for task in bars._bars.tasks] == ["two"]


def test_a_resumed_stage_does_not_count_earlier_steps_as_speed():
    with BarProgress(Console(file=io.StringIO(), force_terminal=True)) as bars:
        bars.begin("one", 1000)
        bars.step(900, 0.5, 10.0)
        (task,) = bars._bars.tasks
        assert task.completed == 900
        assert task.speed is None


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3:05 min"), (7449, "2:04:09 h")])
def test_spans(seconds, text):
    assert span(seconds) == text
