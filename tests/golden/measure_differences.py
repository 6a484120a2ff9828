"""How often this project's words and scores differ from those of the original programs on real text.

    /tmp/golden/bin/pip install jaxtyping regex
    PYTHONPATH=src /tmp/golden/bin/python tests/golden/measure_differences.py FOLDER

The environment is that of make_golden.py; the folder is a data folder with E2E (restaurants), MRPC and AG News (news).
Every reference of E2E and every sentence of MRPC and AG News is cut into words. Pairs for METEOR: of E2E two references
of one meaning, of MRPC the two sentences of a row. docs/metrics.md holds what this prints.

With ``--tables``, a folder with METEOR's own function words and synonyms, all four stages are compared too (three
gigabytes of memory):

    cd /tmp/tables
    unzip /tmp/golden/lib/python*/site-packages/pycocoevalcap/meteor/meteor-1.5.jar 'function/*' 'synonym/*'
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from make_golden import HERE, JAR, meteor
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from multiprompt.metrics import METEOR, Metric, meteor_metric, read_tables, statistics_of
from multiprompt.metrics.caption_words import caption_words

PAIRS = 2000


def rows(folder: Path, name: str, *splits: str) -> Iterator[dict[str, str]]:
    for split in splits:
        with gzip.open(folder / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def differing_words(texts: list[str]) -> list[tuple[str, str, str]]:
    """Texts that are cut otherwise: the text, the original's words, ours."""
    flat = [" ".join(text.split()) for text in texts]
    cut = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(flat)})
    ours = [" ".join(caption_words(text)) for text in flat]
    return [(text, cut[i][0], mine) for i, (text, mine) in enumerate(zip(flat, ours, strict=True)) if cut[i][0] != mine]


def compare_meteor(name: str, pairs: list[tuple[str, str]], with_tables: Metric | None) -> None:
    outputs, references = [output for output, _ in pairs], [[reference] for _, reference in pairs]
    exact_and_stem = ["-m", "exact stem", "-w", "1.0 0.6"]
    our_words = ["-s", str(HERE / "meteor" / "function.words")]
    comparisons: list[tuple[str, Metric, list[str]]] = [
        ("exact and stem, these function words", METEOR, [*our_words, *exact_and_stem]),
        ("exact and stem, its own function words", METEOR, exact_and_stem),
        ("as it comes: all stages", METEOR, []),
    ]
    if with_tables is not None:
        comparisons.append(("as it comes, ours with its tables", with_tables, []))
    for what, metric, options in comparisons:
        statistics = statistics_of(metric, outputs, references)
        ours, whole = metric.value(statistics), float(metric.value(statistics.sum(axis=0)))
        theirs = meteor(outputs, references, *options)
        gap = np.abs(ours - np.array(theirs["segments"]))
        print(
            f"METEOR {name}, {what}: set {theirs['set']:.4f}, ours {whole:.4f}; segments that differ "
            f"{(gap > 1e-9).sum()} of {len(pairs)}, largest difference {gap.max():.4f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--show", type=int, default=0, help="print so many texts of each kind that are cut otherwise")
    parser.add_argument("--tables", type=Path, help="a folder with function/ and synonym/ of METEOR's archive")
    options = parser.parse_args()
    with_tables = None
    if options.tables:
        synonyms = options.tables / "synonym"
        tables = read_tables(
            options.tables / "function" / "english.words",
            synonyms / "english.synsets",
            synonyms / "english.exceptions",
            JAR.parent / "data" / "paraphrase-en.gz",
        )
        with_tables = meteor_metric("with tables", tables)
    by_meaning: dict[str, list[str]] = {}
    for row in rows(options.folder, "nlg/e2e_nlg", "train", "validation", "test"):
        by_meaning.setdefault(row["meaning_representation"], []).append(row["human_reference"])
    mrpc = [(row["sentence1"], row["sentence2"]) for row in rows(options.folder, "glue/mrpc", "train")]
    texts = {
        "E2E": sorted({text for texts in by_meaning.values() for text in texts}),
        "MRPC": [sentence for pair in mrpc for sentence in pair],
        "AG News": [row["text"] for row in rows(options.folder, "others/ag_news", "test")],
    }
    compare_meteor(
        "E2E", [(texts[0], texts[1]) for texts in by_meaning.values() if len(texts) > 1][:PAIRS], with_tables
    )
    compare_meteor("MRPC", mrpc[:PAIRS], with_tables)
    for name, sentences in texts.items():
        found = differing_words(sentences)
        share = 100 * len(found) / len(sentences)
        print(f"caption words of {name}: {len(found)} of {len(sentences)} texts differ ({share:.2f} %)", flush=True)
        for shown in found[: options.show]:
            print(*shown, sep="\n    ")


if __name__ == "__main__":
    main()
