"""Hand-written lists of frequent English words and word pieces, so that ordinary text needs no ``<unk>``."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FREQUENT_WORDS: tuple[str, ...] = _words(
    """
    about after again against all along already also always am among another any are around as ask away back
    became become been before began behind being best better between big body book both boy brought build
    business came case change child children city close company country could course cut days did different
    done door down during each early end enough even ever every eye face fact family far father feel few
    figure five following force form four full gave general get girl give go going government group had half
    hand hard head hear her herself high him himself his history hold house however hundred idea important
    into its itself just keep kind knew know large last later law lead least left less let life light line
    little long look made major make man many may men might million mind month more morning most mother move
    much must my name nature near need never next night nothing number off often old once only open others our
    own part past people percent person place point possible power present president problem public put rest
    run said saw say school see seem sense set several should side since small social some something soon sort
    state still story such sure system tell than their them then they thing those though thought thousand
    three through time today together told too took toward turn under until upon us use used war water way
    week well were whether whole why without woman women word would write year years yet young your entailment
    neutral contradiction equivalent acceptable positive negative similarity answer choice option premise
    hypothesis sentence passage context question query entities pronoun claim span summary review label
    """
)

WORD_PIECES: tuple[str, ...] = _words(
    """
    s es ed ing er ers est ly ion tion sion ation ations ment ments ness able ible al ial ical ic ics ive ous
    ious ful less ism ist ists ity ty ance ence ant ent ency ary ery ory ate ated ating ize ized izing ise
    ised ify ified age ship hood ward wards dom ish like man men th he in an re on at en nd or ar te co de to
    me us ta ra se le ne ro ri si la li lo el ol ur un um om ec ac ea ee ou oo ai ay ow ch sh ck ll ss st nt
    ng nk mp ph qu tr pr br cr gr pl bl cl fl sp sc sk
    """
)

PREFIXES: tuple[str, ...] = _words(
    """
    un re in im dis non pre pro con com sub super inter over under out mis anti auto de en ex trans semi micro
    multi
    """
)
