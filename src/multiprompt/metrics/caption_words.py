"""The word rule of caption evaluation: Penn Treebank words, lower-cased, without marks.

Caption evaluation runs a Java tokeniser and drops marks from what it prints. This is a rewriting of what that
does to plain English sentences; docs/metrics.md says how often the two differ.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from multiprompt.metrics.words import CACHED_TEXTS

DROPPED = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))
"""Words that are dropped. Brackets stay, as in the original, whose list has their names in capitals."""

_ABBREVIATIONS = """
    mr mrs ms dr prof rev hon gen col maj capt lt sgt cpl gov sen rep st sr jr messrs
    bros inc ltd corp co etc vs jan feb mar apr jun jul aug sep sept oct nov dec ave blvd rd tel mt ft dept a.m p.m
"""
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""Lower-cased words that keep their full stop."""

_SPELLED = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
    "…": "...",
    "–": "--",
    "—": "--",
    "“": "``",
    "”": "''",
    '"': "''",
    "‘": "`",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "lemme": "lem me",
    "gimme": "gim me",
    "'tis": "'t is",
    "'twas": "'t was",
    "y'all": "y' all",
}
"""What some words and marks are written as."""

_CHARACTER = r"[\p{L}\p{M}\p{Nd}_]"
_TOKEN = regex.compile(
    rf"""
      (?:https?://|www\.)[^\s"<>|()]*[^\s"<>|().!?;,{{}}]          # addresses
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+
    | </?[a-z][^<>\s]*>                                            # tags
    | &(?:amp|lt|gt|quot);
    | '(?:tis|twas)\b | y'all\b | '\d\ds?\b | 'em\b
    | (?:ma'am|o'clock|ne'er|c'mon)\b
    | '(?:s|m|d|ll|re|ve)(?!{_CHARACTER}) | n't(?!{_CHARACTER})
    | ph\.d\.
    | (?:\p{{L}}\.){{2,}}(?:\p{{L}}(?!{_CHARACTER}))?                 # U.S.
    | (?<!{_CHARACTER})[-+]?(?:\d+(?:[/-]\d+)+(?!\.\d)|\d+(?:[.,:-]\d+)*)
      (?:-?{_CHARACTER}+(?:-{_CHARACTER}+)*)?
    | {_CHARACTER}+?(?=n't(?!{_CHARACTER}))
    | (?:[odl]'(?=\p{{L}}{{3}}))?{_CHARACTER}+
      (?:[-/]{_CHARACTER}+|\.(?=\p{{L}}){_CHARACTER}+|(?-i:&\p{{Lu}}+))*
    | \.{{3,}} | -{{2,}} | ``|'' | [!?]+
    | \S
    """,
    regex.VERBOSE | regex.IGNORECASE,
)
_DOT = regex.compile(r"\.(?!\.)")
_DOT_INSIDE = regex.compile(r"\.(?=[,;:])")


@lru_cache(CACHED_TEXTS)
def caption_words(text: str) -> tuple[str, ...]:
    """Lower-cased words without most marks.

    Endings such as "'s" and "n't" are words; hyphens, slashes and full stops inside a word stay, and so does the
    full stop of an abbreviation; brackets are spelled ("-lrb-"), pounds become "#" and euros "$".
    """
    text = text.replace("’", "'")
    words: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        if found.start() < end:
            continue  # the full stop of an abbreviation
        end = found.end()
        word = found.group().lower()
        numbered = word in ("no", "nos") and regex.match(r"\.\s*\d", text, pos=end)
        abbreviated = word in ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or numbered
        # a sentence does not end before a comma, so its full stop must belong to the word
        if (abbreviated and _DOT.match(text, end)) or (word[-1].isalnum() and _DOT_INSIDE.match(text, end)):
            word += "."
            end += 1
        words += _SPELLED.get(word, word).split()
    return tuple(word for word in words if word not in DROPPED)
