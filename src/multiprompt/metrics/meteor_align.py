"""METEOR's alignment of the words of an output with those of a reference.

Four kinds of matches are looked for; a beam search then picks matches that do not overlap: as many words as
possible, in as few chunks (runs that are adjacent and in order on both sides) as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from multiprompt.metrics.meteor_words import MeteorTables
from multiprompt.metrics.stemmer import stem

BEAM = 40
"""How many partial alignments are followed."""

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)

SEARCH_WEIGHTS = (1.0, 0.5, 0.5, 0.5)
"""What a matched word of each stage counts in the search (not in the score)."""


class Match(NamedTuple):
    """Words ``start ... start + length - 1`` of the reference with words of the output from ``output`` on."""

    stage: int
    start: int
    length: int
    output: int
    output_length: int

    @property
    def reference_bits(self) -> int:
        """One bit for each word of the reference that is matched."""
        return ((1 << self.length) - 1) << self.start

    @property
    def output_bits(self) -> int:
        """One bit for each word of the output that is matched."""
        return ((1 << self.output_length) - 1) << self.output


@dataclass(frozen=True, slots=True)
class _Path:
    used_reference: int
    used_output: int
    chosen: tuple[Match, ...] = ()
    output_weight: int = 0
    reference_weight: int = 0
    chunks: int = 0
    at: int = 0
    last_end: int = -1
    distance: int = 0

    def rank(self) -> tuple[int, int, int]:
        return -(self.output_weight + self.reference_weight), self.chunks, self.distance

    def with_match(self, match: Match) -> _Path:
        weight = SEARCH_WEIGHTS[match.stage]
        broken = self.last_end != -1 and match.output != self.last_end
        return _Path(
            self.used_reference | match.reference_bits,
            self.used_output | match.output_bits,
            (*self.chosen, match),
            # the original adds to whole numbers, so a single word that is not exact adds nothing
            int(self.output_weight + match.output_length * weight),
            int(self.reference_weight + match.length * weight),
            self.chunks + broken,
            match.start + match.length,
            match.output + match.output_length,
            self.distance,
        )


def _phrase_at(
    words: Sequence[str], position: int, tables: MeteorTables, longest: int
) -> list[tuple[int, tuple[str, ...]]]:
    found = []
    for length in range(1, min(longest, len(words) - position) + 1):
        phrase = tuple(words[position : position + length])
        found += [(length, other) for other in tables.paraphrases.get(phrase, ())]
    return found


def _places(words: Sequence[str], phrase: Sequence[str]) -> list[int]:
    size = len(phrase)
    return [start for start in range(len(words) - size + 1) if tuple(words[start : start + size]) == phrase]


def _paraphrases(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> list[Match]:
    longest = max(map(len, tables.paraphrases), default=0)
    matches = []
    for start in range(len(reference)):
        for length, other in _phrase_at(reference, start, tables, longest):
            matches += [Match(PARAPHRASE, start, length, place, len(other)) for place in _places(output, other)]
    for position in range(len(output)):
        for length, other in _phrase_at(output, position, tables, longest):
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


def align(output: Sequence[str], reference: Sequence[str], tables: MeteorTables) -> tuple[Match, ...]:
    """The best matches, in the order of the reference."""
    by_start = _candidates(output, reference, tables)
    fixed = _undisputed(by_start, len(output))
    used_reference = used_output = 0
    for match in fixed.values():
        used_reference |= match.reference_bits
        used_output |= match.output_bits
    paths = [_Path(used_reference, used_output)]
    for current, matches in enumerate(by_start):
        paths.sort(key=_Path.rank)
        following: list[_Path] = []
        for path in paths[:BEAM]:
            if path.used_reference >> current & 1:
                if current < path.at:
                    following.append(path)
                elif path.at in fixed:
                    match = fixed[path.at]
                    far = abs(match.start - match.output)
                    following.append(replace(path.with_match(match), distance=path.distance + far))
                continue
            distance = path.distance
            for match in matches:
                if match.reference_bits & path.used_reference or match.output_bits & path.used_output:
                    continue
                following.append(replace(path.with_match(match), distance=distance))
                # the original adds to the path that goes without the match, not to the one that takes it
                distance += abs(match.start - match.output)
            closes = path.last_end != -1
            skipped = replace(path, chunks=path.chunks + closes, last_end=-1, at=path.at + 1, distance=distance)
            following.append(skipped)
        paths = following or paths[:1]
    closed = [replace(path, chunks=path.chunks + (path.last_end != -1)) for path in sorted(paths, key=_Path.rank)]
    return min(closed[:BEAM], key=_Path.rank).chosen


def count_chunks(matches: Sequence[Match]) -> int:
    """Runs of matches that are adjacent and in order on both sides."""
    chunks = 0
    expected: tuple[int, int] | None = None
    for match in matches:
        if (match.start, match.output) != expected:
            chunks += 1
        expected = (match.start + match.length, match.output + match.output_length)
    return chunks
