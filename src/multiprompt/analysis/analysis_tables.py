"""The numbers of the analyses as tables, for the terminal and for pages."""

from __future__ import annotations

import math
from collections.abc import Iterator

from multiprompt.analysis.contents import PromptContents
from multiprompt.analysis.factors import FactorAnalysis, FactorFacts
from multiprompt.analysis.similarity import Similarity
from multiprompt.analysis.transfer import Transfer
from multiprompt.reports import Cell, Table
from multiprompt.reports.score_tables import marks_of

METRIC_NAMES = {"cosine": "cosine", "euclid": "Euclidean distance"}


def similarity_table(similarity: Similarity) -> Table:
    """The matrix, with the deviation over seeds and draws; columns go by the numbers of the rows."""
    mean, deviation = similarity.mean, similarity.deviation
    rows = []
    for i, label in enumerate(similarity.labels):
        cells = [Cell(f"{i + 1} {label}")]
        for j in range(len(similarity.labels)):
            spread = f" ± {deviation[i, j]:.3f}" if i != j and not math.isnan(deviation[i, j]) else ""
            cells.append(Cell(f"{mean[i, j]:.3f}{spread}"))
        rows.append(tuple(cells))
    what = "Means of row-wise cosines" if similarity.by_rows else "Cosines of mean rows"
    over = f", ± deviation over {len(similarity.repeats)} {similarity.repeated}" if len(similarity.repeats) > 1 else ""
    columns = ("prompt", *(str(i + 1) for i in range(len(similarity.labels))))
    return Table(f"{what}{over}", columns, tuple(rows))


def transfer_tables(transfer: Transfer) -> Iterator[Table]:
    """Scores as they are, after steps, and the cosines; a row for every source."""
    for steps in transfer.kinds:
        rows = []
        for source in transfer.sources:
            cells = [transfer.cells[source, target, steps] for target in transfer.targets]
            rows.append(
                (Cell(source), *(Cell(f"{c.value:.1f}", marks_of(c.interval[0], c.majority, c.invalid)) for c in cells))
            )
        majority = [transfer.cells[transfer.sources[0], target, steps].majority for target in transfer.targets]
        footer = (Cell("constant answer"), *(Cell(f"{value:.1f}") for value in majority))
        yield Table(
            f"Dev metric of source prompts {transfer.when(steps)}",
            ("source", *transfer.targets),
            tuple(rows),
            (footer,),
        )
    known = [target for target in transfer.targets if transfer.cosines[target]]
    if known:
        rows = [
            (Cell(source), *(Cell(f"{transfer.cosines[target][source]:.3f}") for target in known))
            for source in transfer.sources[:-1]
        ]
        yield Table("Cosine of mean rows with the target's prompt", ("source", *known), tuple(rows))


def prompt_tables(contents: PromptContents) -> Iterator[Table]:
    """Neighbours, norms and factors."""
    rows = [
        (Cell(str(position)), Cell(", ".join(f"{n.token} {n.value:.2f}" for n in near)), Cell(f"{norm:.2f}"))
        for position, (near, norm) in enumerate(zip(contents.neighbours, contents.row_norms, strict=True), start=1)
    ]
    caption = f"{contents.stage}, {contents.task}: nearest vocabulary entries ({METRIC_NAMES[contents.metric]})"
    yield Table(caption, ("row", "nearest", "norm"), tuple(rows), text_columns=2)
    norms = [
        (Cell(name), *map(Cell, (str(n.rows), f"{n.mean:.2f}", *(f"{quantile:.2f}" for quantile in n.quantiles))))
        for name, n in contents.norms.items()
    ]
    heads = ("rows of", "number", "mean", "smallest", "25 %", "median", "75 %", "largest")
    yield Table("Norms of rows", heads, tuple(norms))
    if contents.factors is not None:
        yield from factor_tables(contents.factors)


def factor_tables(factors: FactorAnalysis) -> Iterator[Table]:
    """Facts about u and v as trained, and with their gauge fixed."""
    for caption, facts in (
        ("Task factors as trained; scale is ||u v|| / sqrt(l d)", factors.raw),
        ("Task factors with fixed gauge: ||u|| = sqrt(l), mean(u) > 0", factors.fixed),
    ):
        rows = tuple(_factor_row(task, own) for task, own in zip(factors.tasks, facts, strict=True))
        heads = ("task", "mean(u)", "mean(v)", "||u||", "||v||", "u < 0", "v < 0", "scale")
        yield Table(caption, heads, rows)


def _factor_row(task: str, facts: FactorFacts) -> tuple[Cell, ...]:
    numbers = (facts.mean_u, facts.mean_v, facts.norm_u, facts.norm_v)
    counts = (str(facts.negative_u), str(facts.negative_v), f"{facts.scale:.3f}")
    return (Cell(task), *(Cell(f"{number:.3f}") for number in numbers), *map(Cell, counts))


def factor_sentences(factors: FactorAnalysis) -> list[str]:
    """How much averaging the factors of several tasks loses."""
    if len(factors.tasks) < 2:
        return []
    return [
        f"mean(u) mean(v) is {factors.cancellation:.1%} away from mean(u v) over the {len(factors.tasks)} tasks; with "
        f"fixed gauge {factors.fixed_cancellation:.1%}. A target starts from the first.",
    ]
