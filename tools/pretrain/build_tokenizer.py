"""Build the tokenizer of the embedded model: Unigram over an explicit vocabulary, as T5 does it.

Pieces are written ``▁word`` as in T5. Every word of the little world is one piece; frequent English words,
word pieces and all printable ASCII characters follow, so that any ASCII text is encoded without ``<unk>`` and
decoded to itself (in lower case, with runs of white space as one space). Ids: ``<pad>`` 0, ``</s>`` 1,
``<unk>`` 2.

Usage: python tools/pretrain/build_tokenizer.py FOLDER
"""

from __future__ import annotations

import re
import string
import sys
from pathlib import Path

from english import FREQUENT_WORDS, PREFIXES, WORD_PIECES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

import skills
from multiprompt.mini import world

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"
SENTINELS = 20

# Equal scores for all whole words: then one piece always beats two. Rarer kinds of pieces only fill in.
WORD_SCORE, PIECE_SCORE, CHARACTER_SCORE = -2.0, -4.0, -8.0


def world_words() -> list[str]:
    """Return every word that the little world and its instructions can contain, in alphabetical order."""
    words = set(re.findall(r"@?[a-z0-9]+", " ".join([*world.vocabulary_texts(), *skills.vocabulary_texts()])))
    return sorted(word for word in words if len(word) > 1)


def pieces() -> list[tuple[str, float]]:
    """Return the vocabulary in the order of its ids, with scores."""
    characters = [chr(code) for code in range(33, 127) if chr(code) not in string.ascii_uppercase]
    scored: dict[str, float] = {PAD: 0.0, EOS: 0.0, UNK: 0.0}
    for group, score in (
        ([".", ",", "?", ":"], WORD_SCORE),
        ([f"▁{digit}" for digit in string.digits], WORD_SCORE),
        ([f"▁{word}" for word in world_words()], WORD_SCORE),
        ([f"▁{word}" for word in FREQUENT_WORDS], WORD_SCORE),
        ([f"▁{prefix}" for prefix in PREFIXES], PIECE_SCORE),
        ([*WORD_PIECES], PIECE_SCORE),
        (["▁"], CHARACTER_SCORE),
        (characters, CHARACTER_SCORE),
        ([f"▁{character}" for character in characters], CHARACTER_SCORE),
    ):
        for piece in group:
            scored.setdefault(piece, score)
    for index in reversed(range(SENTINELS)):
        scored[f"<extra_id_{index}>"] = 0.0
    return list(scored.items())


def build() -> PreTrainedTokenizerFast:
    """Assemble normaliser, pre-tokenizer, model, post-processor and decoder."""
    tokenizer = Tokenizer(Unigram(pieces(), unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", EOS], pair=["$A", EOS, "$B", EOS], special_tokens=[(EOS, 1)]
    )
    sentinels = [AddedToken(f"<extra_id_{i}>", special=True, normalized=False) for i in range(SENTINELS)]
    tokenizer.add_special_tokens([PAD, EOS, UNK])
    tokenizer.add_special_tokens(sentinels)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[token.content for token in sentinels],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def main() -> None:
    """Write the tokenizer into the folder given on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    tokenizer = build()
    tokenizer.save_pretrained(folder)
    print(f"{len(tokenizer)} pieces, {len(world_words())} of them words of the little world, written to {folder}")


if __name__ == "__main__":
    main()
