"""Seconds that every metric takes for 10,000 predictions, and for 10,000 bootstrap samples of them.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py
    OMP_NUM_THREADS=1 python benchmarks/metrics.py --data FOLDER

Generated text is made of random words, three references for each prediction; or, with a data folder, of the references
of E2E: one stands for the prediction, three others of the same meaning for its references. Every other metric gets
random answers. Time is that of the processor, as other programs may run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from pathlib import Path

import numpy as np

from multiprompt.metrics import METRICS, statistics_of

_WORDS = """
    the a an of in near by to and is are was it that with for from price range food restaurant pub cheap high low family
    friendly coffee shop river city centre customer rating Italian French Chinese Japanese serves serving offers located
    called named The Mill Blue Spice Wildwood Punter Café Rouge five three stars out area riverside people who were
    born worked airport runway length leader country built club team season player mission crew member 1,250 20-25 £20
"""
WORDS = _WORDS.split()

Texts = tuple[list[str], list[tuple[str, ...]]]


def sentence(random_source: random.Random, shared: list[str]) -> str:
    """About 20 words, most of them in the order of ``shared``."""
    words = [word if random_source.random() < 0.75 else random_source.choice(WORDS) for word in shared]
    cut = random_source.randrange(len(words))
    return " ".join([*words[cut:], *words[:cut]]) + random_source.choice((".", "!", ", isn't it?"))


def random_texts(count: int) -> Texts:
    """Predictions and three references each."""
    source = random.Random(0)
    shared = [[source.choice(WORDS) for _ in range(source.randint(10, 30))] for _ in range(count)]
    predictions = [sentence(source, words) for words in shared]
    return predictions, [tuple(sentence(source, words) for _ in range(3)) for words in shared]


def real_texts(folder: Path, count: int) -> Texts:
    """References of E2E, four of the same meaning at a time: the first is the prediction."""
    by_meaning: dict[str, list[str]] = {}
    for split in ("train", "validation", "test"):
        with gzip.open(folder / "nlg" / "e2e_nlg" / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                by_meaning.setdefault(row["meaning_representation"], []).append(row["human_reference"])
    fours = [texts[i : i + 4] for texts in by_meaning.values() for i in range(0, len(texts) - 3, 4)][:count]
    return [four[0] for four in fours], [tuple(four[1:]) for four in fours]


def random_answers(name: str, count: int) -> tuple[Texts, tuple[str, ...] | None]:
    """Numbers or label words, and the label words of the task."""
    source = random.Random(0)
    numbers = name in ("pearson", "spearman")
    draw = [f"{source.randrange(26) / 5}" if numbers else source.choice("01") for _ in range(2 * count)]
    return (draw[:count], [(gold,) for gold in draw[count:]]), None if numbers else ("0", "1")


ANSWERS = ("accuracy", "f1", "macro_f1", "matthews", "question_exact_match", "pearson", "spearman")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--data", type=Path, help="a data folder that holds nlg/e2e_nlg")
    arguments = parser.parse_args()
    texts = real_texts(arguments.data, arguments.count) if arguments.data else random_texts(arguments.count)
    total = 0.0
    for name in METRICS:
        metric = METRICS[name]
        (predictions, references), labels = random_answers(name, len(texts[0])) if name in ANSWERS else (texts, None)
        groups = [str(row // 5) for row in range(len(predictions))]
        began = time.process_time()
        statistics = statistics_of(metric, predictions, references, labels, groups)
        value = float(metric.value(statistics.sum(axis=0)))
        scored = time.process_time() - began
        drawn = np.random.default_rng(0).multinomial(len(texts[0]), np.full(100, 0.01), size=arguments.samples)
        began = time.process_time()
        metric.value(drawn @ statistics[:100])
        sampled = time.process_time() - began
        total += scored
        print(f"{name:22} {value:9.3f}   {scored:7.2f} s   values of the samples {sampled:6.3f} s", flush=True)
    print(f"{'all':22} {'':9}   {total:7.2f} s for {len(texts[0])} predictions each")


if __name__ == "__main__":
    main()
