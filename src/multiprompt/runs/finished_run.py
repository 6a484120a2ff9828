"""What a finished run has trained, as an object: its scores, its prompts, answers to texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from multiprompt.backbone.base import Backbone
from multiprompt.backbone.loading import load_backbone
from multiprompt.config import task_name, to_plain
from multiprompt.errors import CheckpointError, ConfigError, refuse_one_text, shortened, unknown_name
from multiprompt.evaluation.generate import Request, generate_together
from multiprompt.evaluation.results import Score, with_selection
from multiprompt.evaluation.scoring import labels_to_rank
from multiprompt.options import Experiment, method_records, other_names
from multiprompt.plan import plan_stages, source_methods
from multiprompt.prompts import load_prompt
from multiprompt.recipes.prepare import choose_task, load_task
from multiprompt.recipes.use import (
    answer_with,
    check_sources,
    evaluate_method,
    rank_with,
    source_tokens,
    text_of,
    texts_of,
)
from multiprompt.runs.graph import node_key
from multiprompt.runs.run_folder import read_run_config
from multiprompt.runs.stage_folder import read_result
from multiprompt.runs.trained_stage import PROMPT, Restored, check_stage, restore
from multiprompt.tasks import Row, Task
from multiprompt.training import SILENT, Progress


def open_run(folder: Path | str) -> FinishedRun:
    """Open what a run has trained: to answer texts, to rank labels, to score again, to take its prompts out.

    Stages that are not finished yet are not in it. To see stages that finish later, open the run again.

    Args:
        folder: of the run.

    Returns:
        The finished stages of the run. Nothing is loaded before it is needed, and the backbone is loaded once.

    Raises:
        CheckpointError: the folder holds no run, or a record is damaged.

    Example:
        >>> run = open_run("runs/quickstart")  # doctest: +SKIP
        >>> run.answer("mini-sst2", ["sentence: the film was great."])  # doctest: +SKIP
        ['positive']
    """
    return FinishedRun(folder)


@dataclass(frozen=True)
class StoredScore:
    """A score of a run and the folder of the stage that it belongs to."""

    score: Score
    folder: Path


class FinishedRun:
    """What the finished stages of a run have trained; ``open_run`` opens one.

    All its uses share one backbone, which is loaded when it is first needed. What a stage has trained is checked and
    read when it is first used, and kept. Only weights of a whole model (fine-tuning) are read again for each use, so
    that memory does not grow with the number of tasks.

    Where several methods have trained a task, ``method`` says which is used: "mpt", "prompt_tuning", ...; None for the
    first of the target methods, or else the student. Where there are several seeds, ``seed`` says which; None for the
    first of the run. Of several numbers of training examples the largest is used, and of several draws the first.

    Args:
        folder: of the run.

    Attributes:
        folder: of the run.
        experiment: what was run.

    Raises:
        CheckpointError: the folder holds no run, or a record is damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.experiment = read_run_config(self.folder)
        self._stored = _stored_scores(self.experiment, self.folder)
        self._kept: dict[Path, Restored] = {}

    def __repr__(self) -> str:
        said = [
            f"{method} ({', '.join(tasks) if len(tasks) <= 3 else f'{len(tasks)} tasks'})"
            for method, tasks in self.methods.items()
        ]
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}: "
        return f"FinishedRun('{self.folder}', {seeds + ', '.join(said) if said else 'nothing finished'})"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that it has trained."""
        return tuple(dict.fromkeys(entry.score.task for entry in self._stored))

    @property
    def methods(self) -> dict[str, tuple[str, ...]]:
        """For every method the names of the tasks that it has trained."""
        found: dict[str, dict[str, None]] = {}
        for entry in self._stored:
            found.setdefault(entry.score.method, {})[entry.score.task] = None
        return {method: tuple(tasks) for method, tasks in found.items()}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of which something is finished."""
        return tuple(dict.fromkeys(entry.score.seed for entry in self._stored))

    @cached_property
    def backbone(self) -> Backbone:
        """The model that all was trained with, loaded when it is first needed.

        Raises:
            BackboneError: it cannot be loaded.
        """
        return load_backbone(**to_plain(self.experiment.backbone))

    def task(self, task: str) -> Task:
        """A task as the run knows it: its own definition, its limits.

        Args:
            task: its name, or the file that defines it.

        Raises:
            UnknownNameError: the run has no such task.
            CheckpointError: nothing is finished for the task.
        """
        name = task_name(task)
        self._of_tasks([name])
        return choose_task(name, self.experiment.data, self.experiment.tasks)[0]

    def scores(self) -> list[Score]:
        """Every stored score, in the order of the experiment."""
        return [entry.score for entry in self._stored]

    def evaluate(
        self, tasks: Sequence[str] | None = None, max_test: int | None = None, progress: Progress = SILENT
    ) -> list[Score]:
        """Score everything once more, on the test rows as they are now. Nothing in the folder changes.

        Args:
            tasks: only these; None for all.
            max_test: use at most so many test rows; None for the run's own limit.
            progress: told about every score.

        Raises:
            ConfigError: the tasks are one text.
            UnknownNameError: the run has no such task.
            CheckpointError: nothing is finished for a task, a file is damaged, or the backbone is another one.
        """
        refuse_one_text(tasks, "tasks")
        stored = self._of_tasks(tasks)
        data = self.experiment.data if max_test is None else replace(self.experiment.data, max_test=max_test)
        names = dict.fromkeys(entry.score.task for entry in stored)
        prepared = {name: load_task(name, self.backbone, data, self.experiment.tasks) for name in names}
        scores = []
        for folder, entries in groupby(stored, lambda entry: entry.folder):
            trained = self._kept.get(folder) or restore(self.backbone, self.experiment, folder)
            with trained.inside() as method:
                for entry in entries:
                    task = prepared[entry.score.task]
                    title = f"evaluate-{folder.name} {task.name}"
                    progress.begin(title, 1)
                    evaluation = evaluate_method(method, task, trained.learned.task_id(task.name))
                    fields = evaluation.fields_of(Score)
                    scores.append(replace(entry.score, **fields, fingerprint=task.data.fingerprint))
                    progress.end(title, f"{scores[-1].metric} {evaluation.value:.1f}")
        return scores

    def answer(
        self, task: str, texts: Sequence[str | Row], method: str | None = None, seed: int | None = None
    ) -> list[str]:
        """Answers to texts or rows of a task, in their order.

        Args:
            task: its name, or the file that defines it.
            texts: source texts in the format of the task (``multiprompt show TASK`` prints examples), or rows with the
                columns that the task makes its texts of, such as ``{"premise": "...", "hypothesis": "..."}``.
            method: "mpt", "prompt_tuning", ...; None as the class says. So is ``seed``.
            seed: of the run.

        Raises:
            ConfigError: the texts are one text.
            DataError: there is no text, one holds half of a character, or a row lacks a column or holds something that
                the task cannot use.
            UnknownNameError: the run has no such task, or has not trained it with this method.
            CheckpointError: what is asked for is not finished, a file is damaged, or the backbone is another one.
        """
        check_sources(texts)
        return self.answer_mixed([(task, text) for text in texts], method, seed)

    def answer_mixed(
        self,
        examples: Sequence[tuple[str, str | Row]],
        method: str | Mapping[str, str] | None = None,
        seed: int | None = None,
    ) -> list[str]:
        """Answers to examples of several tasks, in their order; each is the one that ``answer`` gives.

        Methods that act on the inputs of the backbone alone, as prompts do, answer in batches that mix all tasks with
        the same limit of answers and number of beams. Other methods answer one after the other.

        Args:
            examples: pairs of a task and a text or row.
            method: for all tasks, or for some of them by their names.
            seed: of the run.

        Raises:
            ConfigError: the examples are one text, or one of them is no pair.
            DataError, UnknownNameError, CheckpointError: as of ``answer``.
        """
        refuse_one_text(examples, "the examples")
        places: dict[str, list[int]] = {}
        for place, each in enumerate(examples):
            if not isinstance(each, tuple | list) or len(each) != 2:
                raise ConfigError(f"example {place + 1}: expected a pair of task and text, not {shortened(each)}")
            places.setdefault(each[0], []).append(place)
        check_sources([source for _, source in examples])
        methods = method if isinstance(method, Mapping) else dict.fromkeys(places, method)
        self._of_tasks(methods)
        asked = []  # all is checked before the backbone is loaded
        for name, own in places.items():
            entry = self._choose(name, methods.get(name), seed)
            task = self.task(entry.score.task)
            asked.append((task, entry.folder, [text_of(task, examples[place][1], place + 1) for place in own], own))
        answers: dict[int, str] = {}
        together: dict[tuple[int, int], list[tuple[Request, list[int]]]] = {}
        with ExitStack() as stack:
            for task, folder, texts, own in asked:
                trained, limits = self._trained(folder), (task.generation_length, task.beams)
                task_id = trained.learned.task_id(task.name)
                if trained.joins:
                    inside = stack.enter_context(trained.inside())
                    request = Request(inside, source_tokens(task, texts, self.backbone.coder), task_id)
                    together.setdefault(limits, []).append((request, own))
                else:
                    with trained.inside() as inside:
                        answers |= zip(own, answer_with(inside, task, texts, task_id), strict=True)
            for limits, parts in together.items():
                found = generate_together([request for request, _ in parts], *limits)
                for (_, own), texts in zip(parts, found, strict=True):
                    answers |= zip(own, texts, strict=True)
        return [answers[place] for place in range(len(examples))]

    def rank(
        self, task: str, texts: Sequence[str | Row], method: str | None = None, seed: int | None = None
    ) -> list[dict[str, float]]:
        """For every text the labels of the task with their probabilities, the most probable label first.

        A probability is that of the whole label, end-of-sequence included, divided by the sum over all labels.

        Args:
            task: its name, or the file that defines it.
            texts: as of ``answer``.
            method: see the class; so is ``seed``.
            seed: of the run.

        Raises:
            ConfigError: the task has no labels, or the texts are one text.
            DataError, UnknownNameError, CheckpointError: as of ``answer``.
        """
        check_sources(texts)
        entry = self._choose(task, method, seed)
        value = self.task(entry.score.task)
        labels_to_rank(value)
        sources = texts_of(value, texts)
        trained = self._trained(entry.folder)
        with trained.inside() as inside:
            return rank_with(inside, value, sources, trained.learned.task_id(value.name))

    def prompt(self, task: str, method: str | None = None, seed: int | None = None) -> Float[Tensor, "P D"]:
        """The trained prompt of a task as a plain matrix, which is concatenated before the embeddings of a source.

        It is read from the run's folder, without the backbone. Shared prompt and factors of a task are multiplied.

        Args:
            task: its name, or the file that defines it.
            method: see the class; so is ``seed``.
            seed: of the run.

        Raises:
            ConfigError: what the method has trained is more than a prompt, or something else.
            UnknownNameError: the run has no such task, or has not trained it with this method.
            CheckpointError: what is asked for is not finished, or a file is damaged.
        """
        entry = self._choose(task, method, seed)
        check_stage(entry.folder)
        if not (entry.folder / PROMPT).exists():
            stored = self._of_tasks([entry.score.task])
            others = sorted({each.score.method for each in stored if (each.folder / PROMPT).exists()})
            raise ConfigError(
                f"{entry.score.method} has trained no prompt that stands alone for {entry.score.task!r}; methods of "
                f"this run that have: {', '.join(others) or 'none'}"
            )
        prompt = load_prompt(entry.folder / PROMPT)
        return prompt.prompt.all_tasks()[prompt.task_id(entry.score.task)].detach().clone()

    def _of_tasks(self, tasks: Iterable[str] | None) -> list[StoredScore]:
        """The scores of some tasks, or of all."""
        names = None if tasks is None else [task_name(task) for task in tasks]
        for name in names or ():
            if name not in self.tasks:
                self._refuse_unfinished(name)
                raise unknown_name("task of this run", name, self.tasks)
        return [entry for entry in self._stored if names is None or entry.score.task in names]

    def _choose(self, task: str, method: str | None, seed: int | None) -> StoredScore:
        """What is used for a task; see the class."""
        stored, name = self._of_tasks([task]), task_name(task)
        seed = self.experiment.seeds[0] if seed is None else seed
        by_method: dict[str, StoredScore] = {}
        for entry in stored:
            known = by_method.get(entry.score.method)
            if entry.score.seed == seed and (known is None or _shots(entry) > _shots(known)):
                by_method[entry.score.method] = entry
        if seed not in self.experiment.seeds:
            seeds = ", ".join(map(str, self.seeds))
            raise CheckpointError(f"{self.folder} holds nothing for {name!r} with seed {seed}; its seeds: {seeds}")
        if method is None and by_method:
            order = (*(record.name for record in method_records()), *source_methods())
            method = next(known for known in order if known in by_method)
        if method not in by_method:
            self._refuse_unfinished(name, method, seed)
            raise unknown_name(f"method for {name!r} in this run", str(method), by_method, other_names())
        return by_method[method]

    def _refuse_unfinished(self, task: str, method: str | None = None, seed: int | None = None) -> None:
        """Raise a CheckpointError if the plan of the run has what is not there."""
        planned = plan_stages(self.experiment)
        if any(task in stage.tasks and method in (None, stage.method) for stage in planned):
            missing = f"{method or 'anything'} for {task!r}" + ("" if seed is None else f" with seed {seed}")
            raise CheckpointError(f"{self.folder} has not finished {missing}; run the experiment with --resume")

    def _trained(self, folder: Path) -> Restored:
        """What a stage has trained; kept, unless it is as large as the backbone."""
        trained = self._kept.get(folder) or restore(self.backbone, self.experiment, folder)
        if trained.size < self.backbone.parameter_count():
            self._kept[folder] = trained
        return trained


def _stored_scores(experiment: Experiment, folder: Path) -> list[StoredScore]:
    """Every score that the finished stages of a run hold, in the order of the experiment."""
    found = []
    for seed in experiment.seeds:
        for stage in plan_stages(experiment):
            place = folder / node_key(seed, stage.name)
            result = read_result(place)
            if result is not None:
                found += [StoredScore(with_selection(score, experiment), place) for score in result.scores]
    return found


def _shots(entry: StoredScore) -> float:
    return float("inf") if entry.score.shots == "all" else entry.score.shots
