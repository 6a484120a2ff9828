"""METEOR against the original program, its alignment against all alignments of short texts, its words and tables."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.golden_values import FOLDER, OUTPUTS, REFERENCES, VALUES
from multiprompt.errors import DataError
from multiprompt.metrics import METEOR, METEOR_E2E, MeteorTables, Metric, meteor_metric, read_tables, score
from multiprompt.metrics.meteor_align import EXACT, PARAPHRASE, STEM, SYNONYM, Match, align, count_chunks
from multiprompt.metrics.meteor_words import FUNCTION_WORDS, meteor_words
from multiprompt.metrics.stemmer import stem

SMALL = read_tables(
    FOLDER / "meteor" / "function.words",
    FOLDER / "meteor" / "synonyms" / "english.synsets",
    FOLDER / "meteor" / "synonyms" / "english.exceptions",
    FOLDER / "meteor" / "paraphrases.txt",
)
"""Tables of a few words, made for the golden values."""


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("meteor", METEOR),
        ("meteor_e2e", METEOR_E2E),
        ("meteor_four_stages", meteor_metric("four stages", SMALL)),
    ],
)
def test_golden_values_of_every_segment_and_of_the_set(name: str, metric: Metric) -> None:
    statistics = metric.statistics(OUTPUTS, REFERENCES)
    assert metric.value(statistics) == pytest.approx(VALUES[name]["segments"], abs=1e-9)
    assert score(metric, OUTPUTS, REFERENCES) == pytest.approx(VALUES[name]["set"], abs=1e-9)


def test_what_is_missing_without_the_tables_of_the_original() -> None:
    # the golden texts are full of synonyms and paraphrases; docs/metrics.md has the difference on real text
    gap = VALUES["meteor_as_it_comes"]["set"] - score(METEOR, OUTPUTS, REFERENCES)
    assert 0 < gap < 0.02


def test_the_function_words_of_the_golden_values_are_the_default() -> None:
    assert SMALL.function_words == FUNCTION_WORDS == MeteorTables().function_words


def every_alignment(output: list[str], reference: list[str], start: int = 0) -> Iterator[tuple[Match, ...]]:
    """All sets of exact matches that do not overlap."""
    if start == len(reference):
        yield ()
        return
    for rest in every_alignment(output, reference, start + 1):
        yield rest
        for place, word in enumerate(output):
            if word == reference[start] and all(match.output != place for match in rest):
                yield (Match(EXACT, start, 1, place, 1), *rest)


@given(
    output=st.lists(st.sampled_from(["on", "a", "mat"]), max_size=6),
    reference=st.lists(st.sampled_from(["on", "a", "mat"]), max_size=5),
)
@settings(max_examples=200)
def test_exact_matches_are_the_most_in_the_fewest_chunks(output: list[str], reference: list[str]) -> None:
    found = align(output, reference, MeteorTables())
    best = min((-len(matches), count_chunks(matches)) for matches in every_alignment(output, reference))
    assert (-len(found), count_chunks(found)) == best
    assert all(output[match.output] == reference[match.start] for match in found)


TEXT = st.lists(
    st.sampled_from(["the", "dog", "dogs", "kid", "child", "children", "in", "spite", "of", "despite", "a", "great"]),
    max_size=12,
)


@given(output=TEXT, reference=TEXT)
@settings(max_examples=200)
def test_matches_of_all_stages_are_real_and_do_not_overlap(output: list[str], reference: list[str]) -> None:
    matches = align(output, reference, SMALL)
    for side, begin, size in ((output, 3, 4), (reference, 1, 2)):
        covered = [word for match in matches for word in range(match[begin], match[begin] + match[size])]
        assert len(set(covered)) == len(covered)
        assert all(0 <= word < len(side) for word in covered)
    for stage, start, length, place, output_length in matches:
        theirs, ours = tuple(reference[start : start + length]), tuple(output[place : place + output_length])
        if stage == EXACT:
            assert ours == theirs
        elif stage == STEM:
            assert stem(ours[0]) == stem(theirs[0])
        elif stage == SYNONYM:
            assert SMALL.synonym_sets(ours[0]) & SMALL.synonym_sets(theirs[0])
        else:
            assert stage == PARAPHRASE
            assert theirs in SMALL.paraphrases.get(ours, ()) or ours in SMALL.paraphrases.get(theirs, ())
    assert 0 <= score(meteor_metric("four stages", SMALL), [" ".join(output)], [[" ".join(reference)]]) <= 1


def test_values_by_hand() -> None:
    # all words match in one run: no penalty
    assert score(METEOR, ["A cat sat."], [["a cat sat ."]]) == 1
    # "sat" and "cat" match one by one: two chunks of one word each
    assert score(METEOR, ["sat cat"], [["cat sat"]]) == pytest.approx(1 - 0.6)
    # a content word counts 0.75 and a function word 0.25, so precision is 0.75 and recall 1; one chunk of one word
    mean = 0.75 * 1 / (0.15 * 1 + 0.85 * 0.75)
    assert score(METEOR, ["the cat"], [["cat"]]) == pytest.approx(mean * (1 - 0.6))
    # a stem match counts 0.6
    assert score(METEOR, ["cats"], [["cat"]]) == pytest.approx(0.6)
    assert score(METEOR, ["dog"], [["cat"]]) == 0
    # the best reference counts
    assert score(METEOR, ["a cat"], [["no", "a cat", "dogs"]]) == 1


def test_tables_add_matches() -> None:
    output, references = ["despite the rain"], [["in spite of the rain"]]
    with_paraphrases = meteor_metric("mine", SMALL)
    assert score(with_paraphrases, output, references) > score(METEOR, output, references)
    without = meteor_metric("mine", replace(SMALL, paraphrases={}))
    assert score(without, output, references) == score(METEOR, output, references)
    assert "exact, stem, synonym, paraphrase" in with_paraphrases.definition
    assert "stages exact, stem with" in METEOR.definition


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mr. Smith met Dr. Jones.", "mr. smith met dr. jones ."),
        ("The U.S. and the U.K., too", "the us and the uk , too"),
        ("It isn't 1,250.50 -- it's \u201c20-25\u201d\u2026", "it isn 't 1,250.50 - it 's \" 20 25 \" …"),
        ("a low-priced pub (near the river)!", "a low priced pub ( near the river ) !"),
        ("wait... what", "wait ... what"),
        ("it ends here. then goes on", "it ends here. then goes on"),  # a small letter follows: an abbreviation
        ("", ""),
    ],
)
def test_words(text: str, words: str) -> None:
    assert " ".join(meteor_words(text)) == words


@pytest.mark.parametrize(
    "pairs",
    [
        # examples of the published description of the stemmer, and its special words
        "consign:consign consigned:consign consigning:consign consignment:consign consist:consist consisted:consist",
        "consistency:consist consistent:consist consolation:consol consolations:consol consolatory:consolatori",
        "knack:knack knackeries:knackeri knaves:knave knavish:knavish kneaded:knead kneeling:kneel knightly:knight",
        "caresses:caress flies:fli dies:die agreed:agre plastered:plaster motoring:motor sing:sing",
        "conflated:conflat troubled:troubl sized:size hopping:hop hoping:hope falling:fall happy:happi say:say by:by",
        "relational:relat vietnamization:vietnam realization:realiz decisiveness:decis hopefulness:hope",
        "formalities:formal electrical:electr goodness:good adjustment:adjust adoption:adopt rate:rate control:control",
        "skies:sky dying:die news:news inning:inning proceed:proceed generous:generous arsenal:arsenal",
        "communism:communism children's:children 'tis:tis youth:youth boyish:boyish a:a is:is",
    ],
)
def test_stems(pairs: str) -> None:
    for pair in pairs.split():
        word, expected = pair.split(":")
        assert stem(word) == expected, word


@given(text=st.text())
def test_any_text_has_words_and_stems(text: str) -> None:
    for word in meteor_words(text):
        assert word == "".join(word.split())
        assert len(stem(word)) <= len(word) + 1  # "hop(ing)" gets an e back


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_tables_from_files(tmp_path: Path) -> None:
    synsets = write(tmp_path / "synsets", "car", "1 2", "automobile", "2")
    exceptions = write(tmp_path / "exceptions", "mouse", "mice", "louse", "lice mice")
    phrases = tmp_path / "paraphrases.gz"
    phrases.write_bytes(gzip.compress(b"0.5\na lot\nmuch\n0.1\na lot\nmany\n"))
    tables = read_tables(write(tmp_path / "words", "the", "a"), synsets, exceptions, phrases)
    assert tables.function_words == {"the", "a"}
    assert tables.synonym_sets("cars") == {1, 2} >= tables.synonym_sets("automobile")
    assert tables.exceptions["mice"] == ("mouse", "louse")
    assert tables.paraphrases == {("a", "lot"): (("much",), ("many",))}
    assert tables.longest_phrase == 2
    assert read_tables(synsets=str(synsets)).function_words == FUNCTION_WORDS


def test_wrong_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the METEOR table .*missing"):
        read_tables(tmp_path / "missing")
    with pytest.raises(DataError, match="has 3 lines; expected records of 2 lines each"):
        read_tables(synsets=write(tmp_path / "odd", "car", "1", "bus"))
    with pytest.raises(DataError, match="line 2: 'one'; expected numbers of sets"):
        read_tables(synsets=write(tmp_path / "text", "car", "one"))
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"0.5\na lot\nmuch\n" * 50)[:-12])
    with pytest.raises(DataError, match="cannot read the METEOR table"):
        read_tables(paraphrases=cut)
