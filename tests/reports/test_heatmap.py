"""The heatmap: its numbers, its words, colours that can be read on, and a file of its own."""

from __future__ import annotations

import re
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest

from multiprompt.reports.heatmap import STRONGEST, heatmap_chart, heatmap_file, strength

CSS = resources.files("multiprompt.reports").joinpath("assets/report.css").read_text(encoding="utf-8")
MATRIX = np.array([[1.0, 0.8, -0.25], [0.8, 1.0, np.nan], [-0.25, np.nan, 1.0]])
SPREAD = np.array([[0.0, 0.0125, np.nan], [0.0125, 0.0, np.nan], [np.nan, np.nan, 0.0]])


def of_kind(chart: str, kind: str) -> list[str]:
    return re.findall(rf'class="{kind}"[^>]*>([^<]*)<', chart)


def test_every_cell_has_its_number_and_the_words_have_every_pair():
    chart = heatmap_chart("Like & unlike", ["a<b", "c", "d"], MATRIX, SPREAD)
    assert of_kind(chart, "value") == ["1.00", "0.80", "-0.25", "0.80", "1.00", "–", "-0.25", "–", "1.00"]
    assert chart.startswith("<svg ")
    tree = ElementTree.fromstring(chart)
    assert tree.get("role") == "img"
    assert tree.findtext("title") == "Like & unlike"
    assert tree.findtext("desc") == "a<b and c: 0.80 ± 0.013; a<b and d: -0.25; c and d: –"
    assert of_kind(chart, "label") == ["a&lt;b", "a&lt;b", "c", "c", "d", "d"]
    assert "colours from 0 to ±0.80" in chart


def test_colours_are_those_of_the_style_sheet_and_show_sign_and_size():
    chart = heatmap_chart("t", ["a", "b", "c"], MATRIX, SPREAD)
    cells = re.findall(r'class="cell (\w+)"[^>]*fill-opacity="([\d.]+)"', chart)
    assert cells[1] == ("positive", f"{STRONGEST:.2f}")
    assert cells[2][0] == "negative"
    assert 0 < float(cells[2][1]) < STRONGEST
    assert cells[5] == ("positive", "0.00")
    assert "svg .cell.positive { fill: var(--c0); }" in CSS
    assert "#" not in chart


def test_values_that_lie_close_are_told_apart():
    matrix = np.array([[1.0, 0.975, 0.985], [0.975, 1.0, 0.98], [0.985, 0.98, 1.0]])
    chart = heatmap_chart("t", ["a", "b", "c"], matrix, SPREAD)
    assert "0.985" in chart
    assert "colours from 0.975 to 0.985" in chart
    assert [strength(value, 0.975, 0.985) for value in (0.975, 0.985, 1.0)] == [0.0, 1.0, 1.0]
    assert strength(0.5, 0.5, 0.5) == 0.5


@pytest.mark.parametrize("things", [1, 5, 13, 40])
def test_cells_are_wide_enough_for_their_numbers_at_400_pixels(things):
    labels = [f"mini-t{i}" for i in range(things)]
    tree = ElementTree.fromstring(
        heatmap_chart("t", labels, np.full((things, things), -0.5), np.zeros((things, things)))
    )
    width = float(tree.get("viewBox").split()[2])
    shown = float(tree.get("width") or 400)
    assert ("least" in tree.get("class").split()) == (shown > 400)
    side = float(tree.find("rect").get("width")) * shown / width
    numbers = [text.text for text in tree.iter("text") if text.get("class") == "value"]
    assert side >= 5.6 * max(map(len, numbers))  # characters of ten pixels
    assert (width == 400) == (things <= 13)


def luminance(colour: np.ndarray) -> float:
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["c0", "c1"])
def test_numbers_can_be_read_on_every_colour(theme, colour):
    def value(name: str) -> np.ndarray:
        digits = re.findall(rf"--{name}: #(\w{{6}})", CSS)[theme]
        return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255

    for opacity in np.linspace(0, STRONGEST, 6):
        ground = opacity * value(colour) + (1 - opacity) * value("page")
        light, dark = sorted((luminance(ground), luminance(value("text"))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2, AA


def test_a_file_of_its_own_is_whole():
    whole = heatmap_file("Title", ["a", "b"], np.array([[1.0, 0.5], [0.5, 1.0]]), np.zeros((2, 2)))
    tree = ElementTree.fromstring(whole)
    space = "{http://www.w3.org/2000/svg}"
    assert tree.tag == f"{space}svg"
    style = tree.findtext(f"{space}style")
    assert "prefers-color-scheme: dark" in style
    assert "--c0:" in style
    assert tree.findtext(f"{space}title") == "Title"
    assert [child.tag for child in tree][:4] == [f"{space}{name}" for name in ("title", "desc", "style", "rect")]
