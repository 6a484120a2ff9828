"""Seconds that every metric takes for 10,000 predictions, and for 10,000 bootstrap samples of them, on one thread."""

from __future__ import annotations

import argparse
import random
import time

import numpy as np

from multiprompt.metrics import METRICS, statistics_of

WORDS = """
    the a an of in near by to and is are was it that with for from price range food restaurant pub cheap high low family
    friendly coffee shop river city centre customer rating Italian French Chinese Japanese serves serving offers located
    called named The Mill Blue Spice Wildwood Punter Café Rouge five three stars out area riverside people who were
    born worked airport runway length leader country built club team season player mission crew member 1,250 20-25 £20
""".split()


def sentence(random_source: random.Random, shared: list[str]) -> str:
    """About 20 words, most of them in the order of ``shared``."""
    words = [word if random_source.random() < 0.75 else random_source.choice(WORDS) for word in shared]
    cut = random_source.randrange(len(words))
    return " ".join([*words[cut:], *words[:cut]]) + random_source.choice((".", "!", ", isn't it?"))


def rows(name: str, count: int) -> tuple[list[str], list[tuple[str, ...]], tuple[str, ...] | None, list[str]]:
    """Predictions, references (3 for generated text), label words and groups that suit the metric."""
    source = random.Random(0)
    groups = [str(row // 5) for row in range(count)]
    if name in ("pearson", "spearman"):
        draw = [f"{source.randrange(26) / 5}" for _ in range(2 * count)]
        return draw[:count], [(gold,) for gold in draw[count:]], None, groups
    if name in ("accuracy", "f1", "macro_f1", "matthews", "question_exact_match"):
        draw = [source.choice("01") for _ in range(2 * count)]
        return draw[:count], [(gold,) for gold in draw[count:]], ("0", "1"), groups
    shared = [[source.choice(WORDS) for _ in range(source.randint(10, 30))] for _ in range(count)]
    predictions = [sentence(source, words) for words in shared]
    references = [tuple(sentence(source, words) for _ in range(3)) for words in shared]
    return predictions, references, None, groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=10_000)
    arguments = parser.parse_args()
    total = 0.0
    for name, metric in ((name, METRICS[name]) for name in METRICS):
        predictions, references, labels, groups = rows(name, arguments.count)
        began = time.perf_counter()
        statistics = statistics_of(metric, predictions, references, labels, groups)
        value = float(metric.value(statistics.sum(axis=0)))
        scored = time.perf_counter() - began
        drawn = np.random.default_rng(0).multinomial(arguments.count, np.full(100, 0.01), size=arguments.samples)
        began = time.perf_counter()
        metric.value(drawn @ statistics[:100])
        sampled = time.perf_counter() - began
        total += scored
        print(f"{name:22} {value:9.3f}   {scored:7.2f} s   values of the samples {sampled:6.3f} s", flush=True)
    print(f"{'all':22} {'':9}   {total:7.2f} s for {arguments.count} predictions each")


if __name__ == "__main__":
    main()
