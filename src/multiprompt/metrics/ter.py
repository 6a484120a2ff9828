"""Translation edit rate: Tercom's search for shifts as the sacrebleu package does it, many times faster.

A shift moves a run of words of the output that also occurs in the reference. Of all shifts the one that saves most
edits is taken, again and again, as long as one saves any. sacrebleu fills a table of edit distances for each of them.
Here a row of the table is a few operations on whole numbers with a bit for each cell (Hyyrö 2003), rows before the
first word that moves are kept, and a shift is scored only if it could still be the best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from multiprompt.metrics.base import METRICS, Labels, Metric, Predictions, References, Values, ratio
from multiprompt.metrics.words import one_line, stripped_references

LONGEST_RUN = 10
"""Words in the longest run that is moved."""

FARTHEST = 50
"""Most positions between a run in the output and in the reference."""

MOST_SHIFTS = 1000
"""Shifts that are looked at for one pair of texts; the round that reaches this number is not made."""

BEAM = 25
"""sacrebleu leaves out cells of the table of edit distances that are farther than this from its diagonal."""


_Row = tuple[int, int, int, int]
"""A row of the table (one word of the output) as ``(up, down, same, rises)``; bit j is about word j of the reference.

``up`` and ``down``: the distance is one more (less) than in the cell to the left. ``same``: it is that of the cell
above to the left. ``rises``: bit j + 1, it is one more than in the cell above.
"""


class _Shift(NamedTuple):
    """Words ``start ... start + length - 1`` of the output are moved; in the end they begin at ``place``.

    ``target`` is a position before the run is taken out; several within the run have different places.
    """

    start: int
    length: int
    target: int

    @property
    def place(self) -> int:
        return self.target - self.length if self.target > self.start + self.length else self.target

    @property
    def order(self) -> tuple[int, int, int]:
        return self.length, -self.start, -self.target

    def applied(self, words: Sequence[str]) -> list[str]:
        run = words[self.start : self.start + self.length]
        left = [*words[: self.start], *words[self.start + self.length :]]
        return [*left[: self.place], *run, *left[self.place :]]


class _Reference:
    """A reference, and where each of its words stands."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.positions: dict[str, list[int]] = {}
        for position, word in enumerate(words):
            self.positions.setdefault(word, []).append(position)
        self.bits = {word: sum(1 << place for place in places) for word, places in self.positions.items()}
        self.first: _Row = ((1 << len(words)) - 1, 0, 0, 0)

    def rows(self, words: Sequence[str], before: _Row) -> list[_Row]:
        """The rows of some words of the output, from the row before them."""
        every, bits = self.first[0], self.bits
        up, down, _, _ = before
        rows: list[_Row] = []
        for word in words:
            equal = bits.get(word, 0)
            same = (((equal & up) + up) ^ up) | equal | down
            rises = (down | ~(same | up)) << 1 | 1
            up, down = ((same & up) << 1 | ~(same | rises)) & every, rises & same & every
            rows.append((up, down, same, rises))
        return rows

    def wrong(self, words: Sequence[str], rows: Sequence[_Row]) -> tuple[list[bool], list[bool], list[int]]:
        """How the words are aligned: which words of the output, of the reference are wrong; the place of each of these.

        Of several equally short ways from the end of the table to its start, matches and substitutions come first,
        then words too many in the output.
        """
        output_wrong, reference_wrong = [True] * len(words), [True] * len(self.words)
        places = [-1] * len(self.words)
        i, j = len(words), len(self.words)
        while j:
            _, _, same, rises = rows[i]
            equal = i > 0 and words[i - 1] == self.words[j - 1]
            places[j - 1] = i - 1
            if i and (equal or not same >> (j - 1) & 1):
                output_wrong[i - 1] = reference_wrong[j - 1] = not equal
                i, j = i - 1, j - 1
            elif i and rises >> j & 1:
                i -= 1
            else:
                j -= 1
        return output_wrong, reference_wrong, places

    def shifts(self, words: Sequence[str], rows: Sequence[_Row]) -> Iterator[list[_Shift]]:
        """Shifts of every run that may be moved: it has a wrong word, and so has the place where it should stand."""
        output_wrong, reference_wrong, places = self.wrong(words, rows)
        for start, word in enumerate(words):
            for at in self.positions.get(word, ()):
                if abs(at - start) > FARTHEST:
                    continue
                longest = min(LONGEST_RUN, len(words) - start, len(self.words) - at)
                for length in range(1, longest + 1):
                    if words[start + length - 1] != self.words[at + length - 1]:
                        break
                    if not any(output_wrong[start : start + length]) or not any(reference_wrong[at : at + length]):
                        continue
                    if start <= places[at] < start + length:
                        continue
                    targets = [places[at - 1] + 1 if at else 0, *(places[at + k] + 1 for k in range(length))]
                    yield [_Shift(start, length, target) for target in dict.fromkeys(targets)]


def _distance(length: int, last: _Row) -> int:
    """The last cell of a table of so many words of the output."""
    return length + last[0].bit_count() - last[1].bit_count()


def _beam_matters(output: int, reference: int, edits: int) -> bool:
    """Whether a way of at most so many edits through a table of these lengths can leave sacrebleu's beam."""
    slope = reference / max(1, output)
    beam = math.ceil(slope / 2 + BEAM) if slope / 2 > BEAM else BEAM
    for i in range(1, output + 1):
        diagonal = int(i * slope)
        for j in (diagonal - beam - 1, diagonal + beam):
            # the last row is filled to its end
            left_out = 0 <= j <= reference and not (i == output and j > diagonal)
            if left_out and abs(i - j) + abs((output - i) - (reference - j)) <= edits:
                return True
    return False


def _best_shift(
    table: _Reference, words: Sequence[str], rows: Sequence[_Row], shifts: set[_Shift], fewest: int
) -> _Shift | None:
    """The shift that saves most edits: of equal ones the longest run, then the first run, then the first target."""
    edits = _distance(len(words), rows[-1])
    # the most that a shift can save: its run, or what it moves past, is taken out here and put in there
    bounds = [
        (min(2 * shift.length, 2 * abs(shift.place - shift.start), edits - fewest), *shift.order, shift)
        for shift in shifts
    ]
    best: tuple[int, ...] = (0,)
    chosen = None
    for *bound, shift in sorted(bounds, reverse=True):
        if tuple(bound) <= best:
            break
        moved = shift.applied(words)
        kept = min(shift.start, shift.place)
        last = table.rows(moved[kept:], rows[kept])[-1]
        found = (edits - _distance(len(words), last), *shift.order)
        if found > best and found[0] > 0:
            best, chosen = found, shift
    return chosen


def ter_edits(output: Sequence[str], reference: Sequence[str]) -> int:
    """Fewest shifts, insertions, deletions and substitutions that the search finds to make the reference."""
    table = _Reference(reference)
    # whatever the order of the words
    fewest = max(len(output), len(reference)) - (Counter(output) & Counter(reference)).total()
    words, made, looked_at = list(output), 0, 0
    while True:
        rows = [table.first, *table.rows(words, table.first)]
        edits = _distance(len(words), rows[-1])
        if not made and _beam_matters(len(output), len(reference), edits):
            from sacrebleu.metrics.ter import TER as Scorer

            return int(Scorer().sentence_score(" ".join(output), [" ".join(reference)]).num_edits)
        shifts: set[_Shift] = set()
        for same_run in table.shifts(words, rows):
            shifts.update(same_run)
            looked_at += len(same_run)
            if looked_at >= MOST_SHIFTS:
                return made + edits
        shift = _best_shift(table, words, rows, shifts, fewest)
        if shift is None:
            return made + edits
        words = shift.applied(words)
        made += 1


def ter_statistics(predictions: Predictions, references: References, labels: Labels = None) -> Float[np.ndarray, "n 2"]:
    """One row per example: fewest edits to any reference, mean length of the references."""
    rows = np.zeros((len(predictions), 2))
    for row, (prediction, texts) in enumerate(zip(one_line(predictions), stripped_references(references), strict=True)):
        output = prediction.lower().split()
        split = [tuple(text.lower().split()) for text in texts]
        # equal references need the same edits; only the mean length counts each of them
        rows[row] = [min(ter_edits(output, words) for words in set(split)), sum(map(len, split)) / len(split)]
    return rows


def ter_value(sums: np.ndarray) -> Values:
    """TER in points; 100 when all references are empty and some output is not, 0 when nothing is to be edited."""
    edits, length = sums[..., 0], sums[..., 1]
    return 100 * np.where(length > 0, ratio(edits, length), edits > 0)


TER = METRICS.add(
    "ter",
    Metric(
        name="ter",
        definition="Translation edit rate in points, lower is better: fewest insertions, deletions, substitutions "
        "and shifts to reach any reference, over the mean reference length, both summed over the set; lower-cased, "
        "split at white space (Tercom by sacrebleu's defaults, as in WebNLG 2017).",
        range=(0.0, float("inf")),
        statistics=ter_statistics,
        value=ter_value,
        higher_is_better=False,
    ),
)
