"""What METEOR takes for words: normalising and cutting of English text, function words, tables of synonyms.

The rules of ``normalise`` are those of METEOR 1.5 for English with ``-norm``. The two lists of words are this
project's own; METEOR ships others, drawn from news text (see docs/metrics.md for what that changes).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from multiprompt.errors import DataError
from multiprompt.files import decoded
from multiprompt.text import lines_of

_FUNCTION_WORDS = """
    an the this that these those a
    i you he she it we they me him her us them my your his its our their one
    who which what when where there how
    and or but if than because while so as not no
    of in to for with on at by from about into over after up out through between during against under off down
    be is am are was were been being have has had having do does did will would can could may might shall should must
    all some any more most other such only also very just new many well
    's 't n't 're 've 'll 'd 'm s t
    . , ; : ? ! ' " ` - -- ( ) $
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say little by themselves: articles, pronouns, prepositions, conjunctions, auxiliaries, marks."""

_ABBREVIATIONS = """
    A B C D E F G H I J K L M N O P Q R S T U V W X Y Z
    Mr Mrs Ms Dr Prof St Sr Jr Rev Hon Gen Col Maj Capt Lt Sgt Cpl Cmdr Adm Gov Sen Rep Pres Supt Insp
    Messrs Mme Mlle Bros Ph vs v i.e e.g
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""Words whose full stop belongs to them."""

ABBREVIATIONS_OF_NUMBERS = frozenset(("No", "Nos", "Art", "Nr", "pp"))
"""Words whose full stop belongs to them before a number."""

# Latin letters with and without marks, and Cyrillic
_LETTER = "A-Za-zŠŽšžŸÀ-ÖØ-öø-ž\u0400-\u04ff\u0500-\u0527\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
_ALONE = re.compile(rf"([^0-9{_LETTER}\s.'`,\-‘’])", re.ASCII)
_DOTS = re.compile(r"\.{2,}")
_DOT_KEPT = "\ue000"
_COMMAS = [re.compile(pattern) for pattern in (r"([^0-9]),([^0-9])", r"([0-9]),([^0-9])", r"([^0-9]),([0-9])")]
_SINGLE_QUOTE = re.compile("[`‘’]")
_DOUBLE_QUOTE = re.compile("[“”]|''")
_HYPHEN = re.compile(rf"([0-9{_LETTER}.])-([0-9{_LETTER}])")
_APOSTROPHES = [
    (re.compile(rf"([^{_LETTER}])'([^{_LETTER}])"), r"\1 ' \2"),
    (re.compile(rf"([^0-9{_LETTER}])'([{_LETTER}])"), r"\1 ' \2"),
    (re.compile(rf"([{_LETTER}])'([^{_LETTER}])"), r"\1 ' \2"),
    (re.compile(rf"([{_LETTER}])'([{_LETTER}])"), r"\1 '\2"),
    (re.compile(r"([0-9])'(s)"), r"\1 '\2"),
]
_ANY_LETTER = re.compile(f"[{_LETTER}]")


def _full_stop(word: str, following: str) -> str:
    """A word that ends in one full stop, with the stop kept, dropped or set apart."""
    body = word[:-1]
    if "." in body and _ANY_LETTER.search(body):
        return word.replace(".", "")  # "U.S." is to match "US"
    if body in ABBREVIATIONS or "a" <= following[:1] <= "z":
        return word  # a small letter follows: the sentence goes on, so this is some abbreviation
    if body in ABBREVIATIONS_OF_NUMBERS and "0" <= following[:1] <= "9":
        return word
    return f"{body} ."


def normalise(text: str) -> str:
    """The text with its marks set apart by spaces, quotes and dashes in one form; letter case stays."""
    text = _ALONE.sub(r" \1 ", f" {text} ")
    text = _DOTS.sub(lambda dots: f" {_DOT_KEPT * len(dots.group())} ", text)
    for comma in _COMMAS if "," in text else ():
        text = comma.sub(r"\1 , \2", text)
    text = _DOUBLE_QUOTE.sub(' " ', _SINGLE_QUOTE.sub("'", text))
    text = _HYPHEN.sub(r"\1 \2", text.replace("–", "-").replace("--", "-"))
    for apostrophe, apart in _APOSTROPHES if "'" in text else ():
        text = apostrophe.sub(apart, text)
    words = text.split()
    following = [*words[1:], ""]
    done = [
        _full_stop(word, after) if len(word) > 1 and word.endswith(".") else word
        for word, after in zip(words, following, strict=False)  # one follower too many when there is no word
    ]
    return " ".join(done).replace(_DOT_KEPT, ".")


@lru_cache(65536)
def meteor_words(text: str) -> tuple[str, ...]:
    """Lower-cased words of a normalised text."""
    return tuple(normalise(text).lower().split())


# WordNet's rules for the base form of a noun, a verb, an adjective, in the order in which they are tried
_BASE_FORMS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man")),
    *(("ies", "y"), ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e")),
    *(("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
)


@dataclass(frozen=True, eq=False)
class MeteorTables:
    """What METEOR looks words up in. Without synonyms or paraphrases that stage is left out.

    Attributes:
        function_words: lower-case words that count 1 - delta.
        synonyms: for a word the numbers of its sets of synonyms.
        exceptions: for an irregular form its base forms ("mice": "mouse").
        paraphrases: for a phrase (its words) the phrases that may stand for it.
    """

    function_words: frozenset[str] = FUNCTION_WORDS
    synonyms: Mapping[str, frozenset[int]] = field(default_factory=dict)
    exceptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    paraphrases: Mapping[tuple[str, ...], tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    @cached_property
    def longest_phrase(self) -> int:
        """Words in the longest phrase that has a paraphrase."""
        return max(map(len, self.paraphrases), default=0)

    def synonym_sets(self, word: str) -> frozenset[int]:
        """Sets of synonyms that the word or its base form is in."""
        sets = self.synonyms.get(word, frozenset())
        bases = self.exceptions.get(word) or self._regular_bases(word)
        return sets.union(*(self.synonyms.get(base, frozenset()) for base in bases))

    def _regular_bases(self, word: str) -> tuple[str, ...]:
        if len(word) <= 2 or word.endswith("ss"):
            return (word,)
        for suffix, ending in _BASE_FORMS:
            base = word.removesuffix(suffix) + ending
            if word.endswith(suffix) and base in self.synonyms:
                # "s" of "handfuls" and the like: the original puts the "ful" it never took off at the end once more
                return (base + "ful",) if word.endswith("ful") else (base,)
        return ()


def _records(file: Path | str, lines_each: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Groups of lines with the number of their first line; ``.gz`` files are unpacked."""
    path = Path(file)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the METEOR table {path}: {error}") from None
    lines = lines_of(decoded(data, str(path)))
    if len(lines) % lines_each:
        raise DataError(f"{path} has {len(lines)} lines; expected records of {lines_each} lines each")
    for start in range(0, len(lines), lines_each):
        yield start + 1, tuple(lines[start : start + lines_each])


def read_tables(
    function_words: Path | str | None = None,
    synsets: Path | str | None = None,
    exceptions: Path | str | None = None,
    paraphrases: Path | str | None = None,
) -> MeteorTables:
    """Tables from files in the formats that METEOR 1.5 ships; what is not given is the default.

    Args:
        function_words: one word a line (``function/english.words``).
        synsets: a word, then the numbers of its sets of synonyms (``synonym/english.synsets``).
        exceptions: a base form, then its irregular forms (``synonym/english.exceptions``).
        paraphrases: a probability, which is not used, a phrase, a paraphrase (``paraphrase-en.gz``, or unpacked).

    Raises:
        DataError: a file that cannot be read or does not have that form.
    """
    words = FUNCTION_WORDS if function_words is None else frozenset(line for _, (line,) in _records(function_words, 1))
    sets: dict[str, frozenset[int]] = {}
    if synsets is not None:
        for number, (word, numbers) in _records(synsets, 2):
            if not all(item.isdecimal() for item in numbers.split()):
                raise DataError(f"{synsets}, line {number + 1}: {numbers!r}; expected numbers of sets of synonyms")
            sets[word] = frozenset(int(item) for item in numbers.split())
    bases: dict[str, tuple[str, ...]] = {}
    if exceptions is not None:
        for _, (base, forms) in _records(exceptions, 2):
            for form in forms.split():
                bases[form] = (*bases.get(form, ()), base)
    phrases: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    if paraphrases is not None:
        for _, (_, phrase, paraphrase) in _records(paraphrases, 3):
            phrases[tuple(phrase.split())].append(tuple(paraphrase.split()))
    return MeteorTables(words, sets, bases, {phrase: tuple(others) for phrase, others in phrases.items()})
