"""The Snowball stemmer of English ("Porter2"), from its published description (snowballstem.org, 2002-2015).

METEOR 1.5 was tuned with this form of the algorithm; later releases changed some words, so it is written out here.
"""

from __future__ import annotations

import re
from functools import lru_cache

_VOWELS = "aeiouy"
_SPECIAL = {
    "skis": "ski",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "idly": "idl",
    "gently": "gentl",
    "ugly": "ugli",
    "early": "earli",
    "only": "onli",
    "singly": "singl",
    **{word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")},
}
_WHOLE_AFTER_PLURALS = frozenset(("inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"))

# suffix -> what replaces it, longest first
_STEP_2 = (
    ("ization", "ize"),
    ("ational", "ate"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("iveness", "ive"),
    ("tional", "tion"),
    ("biliti", "ble"),
    ("lessli", "less"),
    ("entli", "ent"),
    ("ation", "ate"),
    ("alism", "al"),
    ("aliti", "al"),
    ("ousli", "ous"),
    ("iviti", "ive"),
    ("fulli", "ful"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("abli", "able"),
    ("izer", "ize"),
    ("ator", "ate"),
    ("alli", "al"),
    ("bli", "ble"),
    ("ogi", "og"),
    ("li", ""),
)
_STEP_3 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("alize", "al"),
    ("icate", "ic"),
    ("iciti", "ic"),
    ("ative", ""),
    ("ical", "ic"),
    ("ness", ""),
    ("ful", ""),
)
_STEP_4 = (
    *("ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ism"),
    *("ate", "iti", "ous", "ive", "ize", "ion", "al", "er", "ic"),
)
_REGION = re.compile(rf"[{_VOWELS}][^{_VOWELS}]")
_VOWEL = re.compile(rf"[{_VOWELS}]")
_SHORT_END = re.compile(rf"(?:[^{_VOWELS}][{_VOWELS}][^{_VOWELS}wxY]|^[{_VOWELS}][^{_VOWELS}])$")


def _regions(word: str) -> tuple[int, int]:
    """Where the regions R1 and R2 begin: after the first consonant that follows a vowel, and again from there."""
    first = len(word)
    for prefix in ("gener", "commun", "arsen"):
        if word.startswith(prefix):
            first = len(prefix)
            break
    else:
        found = _REGION.search(word)
        first = found.end() if found else len(word)
    found = _REGION.search(word, first)
    return first, found.end() if found else len(word)


def _plural(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _VOWEL.search(word, 0, len(word) - 2):
        return word[:-1]
    return word


def _past(word: str, first: int) -> str:
    for suffix in ("eedly", "ingly", "edly", "eed", "ing", "ed"):
        if not word.endswith(suffix):
            continue
        stem = word[: -len(suffix)]
        if suffix.startswith("ee"):
            return stem + "ee" if len(stem) >= first else word
        if not _VOWEL.search(stem):
            return word
        if stem.endswith(("at", "bl", "iz")):
            return stem + "e"
        if stem.endswith(("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")):
            return stem[:-1]
        if first >= len(stem) and _SHORT_END.search(stem):
            return stem + "e"
        return stem
    return word


def _derived(word: str, first: int) -> str:
    for suffix, short in _STEP_2:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            wrong_place = len(stem) < first
            if wrong_place or (suffix == "ogi" and not stem.endswith("l")):
                return word
            if suffix == "li" and not stem.endswith(tuple("cdeghkmnrt")):
                return word
            return stem + short
    return word


def _adjective(word: str, first: int, second: int) -> str:
    for suffix, short in _STEP_3:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            return stem + short if len(stem) >= (second if suffix == "ative" else first) else word
    return word


def _latin(word: str, second: int) -> str:
    for suffix in _STEP_4:
        if word.endswith(suffix):
            stem = word[: -len(suffix)]
            fits = len(stem) >= second and (suffix != "ion" or stem.endswith(("s", "t")))
            return stem if fits else word
    return word


def _last_letter(word: str, first: int, second: int) -> str:
    place = len(word) - 1
    if word.endswith("e") and (place >= second or (place >= first and not _SHORT_END.search(word[:-1]))):
        return word[:-1]
    if word.endswith("ll") and place >= second:
        return word[:-1]
    return word


@lru_cache(65536)
def stem(word: str) -> str:
    """The stem of a lower-case word; words of one or two characters stay."""
    if word in _SPECIAL:
        return _SPECIAL[word]
    if len(word) <= 2:
        return word
    word = word.removeprefix("'")
    # y counts as a consonant, written Y, at the beginning and after a vowel
    word = re.sub(rf"^y|(?<=[{_VOWELS}])y", "Y", word)
    first, second = _regions(word)
    for suffix in ("'s'", "'s", "'"):
        if word.endswith(suffix):
            word = word[: -len(suffix)]
            break
    word = _plural(word)
    if word in _WHOLE_AFTER_PLURALS:
        return word
    word = _past(word, first)
    if len(word) > 2 and word[-1] in "yY" and word[-2] not in _VOWELS:
        word = word[:-1] + "i"
    word = _adjective(_derived(word, first), first, second)
    return _last_letter(_latin(word, second), first, second).replace("Y", "y")
