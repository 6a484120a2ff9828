"""METEOR's alignment of the words of an output with those of a reference.

Four kinds of matches are looked for; a beam search then picks matches that do not overlap: as many words as
possible, in as few chunks (runs that are adjacent and in order on both sides) as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from multiprompt.metrics.meteor_words import MeteorTables
from multiprompt.metrics.stemmer import stem

BEAM = 40
"""How many partial alignments are followed."""

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)

_RANK = itemgetter(0)

SEARCH_WEIGHTS = (1.0, 0.5, 0.5, 0.5)
"""What a matched word of each stage counts in the search (not in the score)."""


class Match(NamedTuple):
    """Words ``start ... start + length - 1`` of the reference with words of the output from ``output`` on."""

    stage: int
    start: int
    length: int
    output: int
    output_length: int


_Chosen = tuple["_Chosen", tuple[Match, ...]] | None
"""The matches of a path, the last ones first: paths share their beginnings."""

_Path = tuple[int, int, int, int, _Chosen]
"""A partial alignment: rank, bits of matched words of the reference and of the output, the word of the output after the
last match (``_CLOSED`` when the next match begins a chunk in any case), the matches.

The rank is one number, and the lowest is the best: more matched words first, then fewer chunks, then a shorter distance
between matched words. Only whole words count in it: the original adds to whole numbers, so a single word that is not an
exact match adds nothing.
"""

_CLOSED = -1
_CHUNK = 1 << 32
_WORD = 1 << 64


class _Step(NamedTuple):
    """How a path goes on: with a match, without one at some word of the reference, or several such steps at once.

    Attributes:
        change: of the rank, without the end of a chunk before the step.
        reference_bits: words of the reference that become matched; so ``output_bits``.
        begin: the word of the output that goes on with a chunk, ``None`` for none.
        end: the word of the output after the last match, or ``_CLOSED``.
        matches: what is matched.
    """

    change: int
    reference_bits: int
    output_bits: int
    begin: int | None
    end: int
    matches: tuple[Match, ...]

    def then(self, step: _Step) -> _Step:
        """This step and another one as one."""
        rank, reference_bits, output_bits, end, _ = _taken((*self[:3], self.end, None), step, 0)
        return _Step(rank, reference_bits, output_bits, self.begin, end, self.matches + step.matches)


_LEFT_OUT = _Step(0, 0, 0, None, _CLOSED, ())


def _step(match: Match) -> _Step:
    stage, start, length, output, output_length = match
    words = int(output_length * SEARCH_WEIGHTS[stage]) + int(length * SEARCH_WEIGHTS[stage])
    bits, output_bits = ((1 << length) - 1) << start, ((1 << output_length) - 1) << output
    return _Step(-words * _WORD, bits, output_bits, output, output + output_length, (match,))


def _taken(path: _Path, step: _Step, distance: int) -> _Path:
    """A path after a step that adds so much to its distance."""
    rank, used_reference, used_output, open_end, chosen = path
    change, reference_bits, output_bits, begin, end, matches = step
    if open_end not in (_CLOSED, begin):
        rank += _CHUNK
    if matches:
        chosen = chosen, matches
    return rank + change + distance, used_reference | reference_bits, used_output | output_bits, end, chosen


def _phrase_at(words: Sequence[str], position: int, tables: MeteorTables) -> list[tuple[int, tuple[str, ...]]]:
    found = []
    for length in range(1, min(tables.longest_phrase, len(words) - position) + 1):
        phrase = tuple(words[position : position + length])
        found += [(length, other) for other in tables.paraphrases.get(phrase, ())]
    return found


def _places(words: Sequence[str], phrase: Sequence[str]) -> list[int]:
    size = len(phrase)
    return [start for start in range(len(words) - size + 1) if tuple(words[start : start + size]) == phrase]


def _paraphrases(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> list[Match]:
    matches = []
    for start in range(len(reference)):
        for length, other in _phrase_at(reference, start, tables):
            matches += [Match(PARAPHRASE, start, length, place, len(other)) for place in _places(output, other)]
    for position in range(len(output)):
        for length, other in _phrase_at(output, position, tables):
            matches += [Match(PARAPHRASE, place, len(other), position, length) for place in _places(reference, other)]
    return matches


def _same_key(
    stage: int, output: Sequence[str], reference: Sequence[str], words: tuple[Sequence[str], Sequence[str]]
) -> list[Match]:
    """Matches of single words with equal keys; beyond the exact stage only of different words."""
    places: dict[str, list[int]] = {}
    for position, key in enumerate(output):
        places.setdefault(key, []).append(position)
    return [
        Match(stage, start, 1, position, 1)
        for start, key in enumerate(reference)
        for position in places.get(key, ())
        if stage == EXACT or words[0][position] != words[1][start]
    ]


def _synonyms(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> list[Match]:
    output_sets = [tables.synonym_sets(word) for word in output]
    reference_sets = [tables.synonym_sets(word) for word in reference]
    return [
        Match(SYNONYM, start, 1, position, 1)
        for start, sets in enumerate(reference_sets)
        for position, others in enumerate(output_sets)
        if not sets.isdisjoint(others) and output[position] != reference[start]
    ]


def _candidates(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> list[list[Match]]:
    """All matches by their first word in the reference."""
    words = (output, reference)
    matches = _same_key(EXACT, output, reference, words)
    if tuple(output) != tuple(reference):  # equal sentences need no more, and a longer search could miss that
        stems = [stem(word) for word in output], [stem(word) for word in reference]
        matches += _same_key(STEM, *stems, words)
        if tables.synonyms:
            matches += _synonyms(output, reference, tables)
        if tables.paraphrases:
            matches += _paraphrases(output, reference, tables)
    by_start: list[list[Match]] = [[] for _ in reference]
    for match in matches:
        by_start[match.start].append(match)
    return by_start


def _undisputed(by_start: list[list[Match]], output_size: int) -> dict[int, Match]:
    """Matches that overlap with no other: the search need not choose."""
    reference_cover, output_cover = [0] * len(by_start), [0] * output_size
    for match in (match for matches in by_start for match in matches):
        for word in range(match.start, match.start + match.length):
            reference_cover[word] += 1
        for word in range(match.output, match.output + match.output_length):
            output_cover[word] += 1
    return {
        start: matches[0]
        for start, matches in enumerate(by_start)
        if len(matches) == 1
        and all(cover == 1 for cover in reference_cover[start : start + matches[0].length])
        and all(cover == 1 for cover in output_cover[matches[0].output : matches[0].output + matches[0].output_length])
    }


def _after_choice(paths: Sequence[_Path], current: int, matches: Sequence[Match]) -> list[_Path]:
    """Every path with each match that begins at a word of the reference, and without any."""
    steps = [(_step(match), abs(match.start - match.output)) for match in matches]
    following = []
    for path in paths:
        _, used_reference, used_output, _, _ = path
        if used_reference >> current & 1:
            following.append(path)
            continue
        distance = 0
        for step, far in steps:
            if not (step.reference_bits & used_reference or step.output_bits & used_output):
                following.append(_taken(path, step, distance))
                # the original adds to the path that goes without the match, not to the one that takes it
                distance += far
        following.append(_taken(path, _LEFT_OUT, distance))
    return following


def align(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> tuple[Match, ...]:
    """The best matches, in the order of the reference."""
    by_start = _candidates(output, reference, tables)
    fixed = _undisputed(by_start, len(output))
    disputed = 0
    for matches in (matches for start, matches in enumerate(by_start) if start not in fixed):
        for match in matches:
            disputed |= _step(match).reference_bits
    paths: list[_Path] = [(0, 0, 0, _CLOSED, None)]
    without_choice: _Step | None = None
    next_word = 0
    for current, matches in enumerate(by_start):
        if current < next_word:
            continue  # within a longer match
        if disputed >> current & 1:
            if without_choice is not None:
                paths = [_taken(path, without_choice, 0) for path in _beam(paths)]
                without_choice = None
            paths = _after_choice(_beam(paths), current, matches)
            continue
        step = _LEFT_OUT
        if current in fixed:
            match = fixed[current]
            step = _step(match)
            step = step._replace(change=step.change + abs(match.start - match.output))
            next_word = match.start + match.length
        without_choice = step if without_choice is None else without_choice.then(step)
    if without_choice is not None:
        paths = [_taken(path, without_choice, 0) for path in _beam(paths)]
    _, _, _, _, chosen = min((_taken(path, _LEFT_OUT, 0) for path in _beam(paths)), key=_RANK)
    best: list[Match] = []
    while chosen is not None:
        chosen, matched = chosen
        best += reversed(matched)
    return tuple(reversed(best))


def _beam(paths: list[_Path]) -> list[_Path]:
    return sorted(paths, key=_RANK)[:BEAM]


def count_chunks(matches: Sequence[Match]) -> int:
    """Runs of matches that are adjacent and in order on both sides."""
    chunks = 0
    expected: tuple[int, int] | None = None
    for match in matches:
        if (match.start, match.output) != expected:
            chunks += 1
        expected = (match.start + match.length, match.output + match.output_length)
    return chunks
