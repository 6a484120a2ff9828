"""Any method on one task or several, without an experiment: trained, used, saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor

from multiprompt.backbone.base import Backbone
from multiprompt.errors import CheckpointError, ConfigError, unknown_name
from multiprompt.evaluation.scoring import Evaluation
from multiprompt.methods import Method, PromptTuning, StoredMethod, load_method, save_method
from multiprompt.options import (
    AttemptOptions,
    MethodOptions,
    Methods,
    MixingOptions,
    MptOptions,
    PromptOptions,
    SpotOptions,
    TrainingOptions,
)
from multiprompt.plan import GROUPED, MULTITASK, PlannedStage
from multiprompt.prompts import Prompt, StoredPrompt, load_prompt, save_prompt
from multiprompt.prompts.trained_files import Trained
from multiprompt.recipes.alone import start_alone
from multiprompt.recipes.build import Learned, build_method, check_packages
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place, stage_training
from multiprompt.recipes.target import target_epochs
from multiprompt.recipes.use import answer_with, check_width, evaluate_method, texts_of
from multiprompt.tasks import Row
from multiprompt.training import TrainingReport, train


@dataclass(frozen=True, repr=False)
class Adapted:
    """What a method has learned for one task or several: it answers, is scored, and is saved.

    The backbone is changed only while it answers, so any number of these can use one backbone, in turn.

    Attributes:
        name: of the method.
        tasks: in the order of the task ids.
        method: the method itself; its ``with`` block puts it into the backbone.
        tensors: what it has trained.
        report: how the training went; None for what was loaded.
    """

    name: str
    tasks: tuple[PreparedTask, ...]
    method: Method
    tensors: Mapping[str, Tensor]
    report: TrainingReport | None = None

    def __repr__(self) -> str:
        numbers = sum(tensor.numel() for tensor in self.tensors.values())
        return f"Adapted({self.name!r}, {', '.join(task.name for task in self.tasks)}, {numbers:,} trained numbers)"

    @property
    def learned(self) -> StoredPrompt | StoredMethod:
        """What is saved: a prompt, or the tensors of another method."""
        names = tuple(task.name for task in self.tasks)
        model = self.method.backbone.name, self.method.backbone.fingerprint()
        if isinstance(self.method, PromptTuning):
            self.method.load(dict(self.tensors))
            return StoredPrompt(self.method.prompt, names, *model)
        return StoredMethod(self.name, dict(self.tensors), names, *model)

    def answer(self, sources: Sequence[str | Row], task: str | None = None) -> list[str]:
        """Answers to texts or rows.

        Args:
            sources: texts such as ``task.data.test[0].source``, or rows with the columns of its template.
            task: which of the tasks; None for the first.

        Returns:
            An answer to each of them, in their order.

        Raises:
            UnknownNameError: it was not adapted to the task.
            DataError: a row lacks a column, or holds something that the task cannot use.
        """
        task_id = self._position(task)
        value = self.tasks[task_id].task
        texts = texts_of(value, sources)
        with self._inside() as method:
            return answer_with(method, value, texts, task_id)

    def evaluate(self, task: str | None = None, *, ranked: bool = False) -> Evaluation:
        """The score on the test examples of a task.

        Args:
            task: which of the tasks; None for the first.
            ranked: whether the most probable label of the task is the answer, and not what the model writes.

        Returns:
            Answers, every metric of the task, and what a constant answer gets.

        Raises:
            UnknownNameError: it was not adapted to the task.
        """
        task_id = self._position(task)
        with self._inside() as method:
            return evaluate_method(method, self.tasks[task_id], task_id, ranked=ranked)

    def save(self, path: Path | str) -> None:
        """Write what was learned, as a stage of a run does; ``load_adapted`` reads it.

        Args:
            path: of a safetensors file.

        Raises:
            CheckpointError: the file cannot be written.
        """
        learned = self.learned
        if isinstance(learned, StoredPrompt):
            save_prompt(Path(path), learned)
        else:
            save_method(Path(path), learned)

    @contextmanager
    def _inside(self) -> Iterator[Method]:
        with self.method as method:
            method.load(dict(self.tensors))
            yield method

    def _position(self, task: str | None) -> int:
        names = [each.name for each in self.tasks]
        if task is not None and task not in names:
            raise unknown_name("task that this was adapted to", task, names)
        return 0 if task is None else names.index(task)


Source = Prompt | StoredPrompt | StoredMethod | Adapted


def adapt(
    backbone: Backbone,
    task: PreparedTask | Sequence[PreparedTask],
    method: str | MethodOptions = "mpt",
    *,
    source: Source | Sequence[Source] | None = None,
    training: TrainingOptions | None = None,
    prompt: PromptOptions | None = None,
    mixing: MixingOptions | None = None,
    seed: int = 42,
    place: Place | None = None,
) -> Adapted:
    """Adapt to a task by any method: what a target stage of an experiment does, to the same tensors.

    Args:
        backbone: the frozen model.
        task: what is learned; several tasks share what the method can share among them.
        method: the name of a method (``multiprompt ls methods``), or its options, such as ``LoraOptions(rank=4)``.
        source: what it starts from. ``mpt`` needs a source prompt (that of ``train_source``), ``spot`` and ``attempt``
            the prompts of source tasks; ``fine_tuning``, ``adapters`` and ``hyperformer`` can start from what the same
            method has learned on other tasks. The others take none.
        training: length, schedule, selection; 20 epochs, or fewer of large tasks, if it gives none.
        prompt: shape and start of new prompts.
        mixing: how batches of several tasks are drawn.
        seed: of first values, the order of the examples, and dropout.
        place: folder and progress of the training; None keeps and tells nothing.

    Returns:
        What was learned. It answers, is scored and is saved.

    Raises:
        UnknownNameError: there is no such method.
        ConfigError: the method cannot start from the source, or takes one task at a time, or needs a package.
        TrainingError: the loss is not finite.
    """
    tasks = (task,) if isinstance(task, PreparedTask) else tuple(task)
    options, training = _options(method), training or TrainingOptions()
    place = place or Place(PlannedStage("target", tuple(each.name for each in tasks), options.method).name)
    for each in _listed(source):
        if isinstance(each, Trained) and (other := each.other_model(backbone.name, backbone.fingerprint())):
            place.progress.message(f"a source: {other}")
    built = _build(backbone, tasks, options, source, training, prompt, seed, place)
    epochs = target_epochs([each.task for each in tasks], [len(each.train) for each in tasks])
    with built:
        report = train(
            stage_training(built, tasks, training, mixing or MixingOptions(), epochs, seed, place), place.progress
        )
        tensors = {name: tensor.clone() for name, tensor in built.tensors().items()}
    return Adapted(options.method, tasks, built, tensors, report)


def load_adapted(
    path: Path | str,
    backbone: Backbone,
    task: PreparedTask | Sequence[PreparedTask],
    method: str | MethodOptions | None = None,
    *,
    source: Source | Sequence[Source] | None = None,
    prompt: PromptOptions | None = None,
) -> Adapted:
    """Read what ``Adapted.save`` or a stage of a run has written.

    Args:
        path: of the file; ``prompt.safetensors`` or ``method.safetensors`` in the folder of a stage.
        backbone: the model that it was trained with.
        task: the task or the tasks that it was trained for, in the same order.
        method: its options, where they are not the default ones; a prompt needs none.
        source: ``attempt`` mixes the prompts of its source tasks, so it needs them again.
        prompt: shape of the prompts, for ``attempt``, ``dept`` and ``prefix_tuning``.

    Returns:
        The same as ``adapt``, without a report.

    Raises:
        CheckpointError: the file is missing or damaged, or is of another method, other tasks or another model.
        ConfigError: the method cannot be built from what is given.
    """
    tasks = (task,) if isinstance(task, PreparedTask) else tuple(task)
    stored = _read(Path(path))
    names = tuple(each.name for each in tasks)
    if stored.tasks != names:
        raise CheckpointError(f"{path} was trained for {', '.join(stored.tasks)}, not for {', '.join(names)}")
    if other := stored.other_model(backbone.name, backbone.fingerprint()):
        raise CheckpointError(f"{path} cannot be used here: {other}")
    if isinstance(stored, StoredPrompt):
        check_width("the prompt", stored.prompt.width, backbone)
        tuned = PromptTuning(backbone, stored.prompt)
        return Adapted("prompt_tuning" if method is None else _options(method).method, tasks, tuned, tuned.tensors())
    options = _options(method or stored.method)
    if options.method != stored.method:
        raise CheckpointError(f"{path} holds what {stored.method} has trained, not {options.method}")
    place = Place(PlannedStage("target", names, options.method).name)
    built = _build(backbone, tasks, options, source, TrainingOptions(), prompt, 42, place)
    with built:
        built.load(stored.tensors)  # what does not fit is said now
    return Adapted(options.method, tasks, built, stored.tensors)


def _listed(source: Source | Sequence[Source] | None) -> Sequence[Source]:
    return () if source is None else source if isinstance(source, Sequence) else (source,)


def _read(path: Path) -> StoredPrompt | StoredMethod:
    try:
        return load_method(path)
    except CheckpointError:
        return load_prompt(path)


def _options(method: str | MethodOptions) -> MethodOptions:
    """The options of a method; the default ones of a name."""
    if isinstance(method, MethodOptions):
        return method
    known = {options.method: options for options in MethodOptions.__subclasses__()}
    names = [field.name for field in fields(Methods)]
    if method not in names:
        raise unknown_name("method", method, names)
    return known[method]()


def _build(
    backbone: Backbone,
    tasks: Sequence[PreparedTask],
    options: MethodOptions,
    source: Source | Sequence[Source] | None,
    training: TrainingOptions,
    prompt: PromptOptions | None,
    seed: int,
    place: Place,
) -> Method:
    if len(tasks) > 1 and options.method not in GROUPED:
        raise ConfigError(f"{options.method} adapts to one task at a time; those that share: {', '.join(GROUPED)}")
    check_packages([options.method])
    earlier = _earlier(options, source, backbone)
    start = start_alone(backbone, tasks, options, training, seed, place, prompt, earlier)
    return build_method(options.method, start)


def _earlier(
    options: MethodOptions, source: Source | Sequence[Source] | None, backbone: Backbone
) -> Mapping[str, Learned]:
    """What a method starts from, by the names of the stages that would have learned it.

    Raises:
        ConfigError: there is nothing that the method needs, or something that it cannot start from.
    """
    method = options.method
    held = [each.learned if isinstance(each, Adapted) else each for each in _listed(source)]
    if getattr(options, "source_tasks", ()) or getattr(options, "pretrained", False):
        raise ConfigError(
            f"{method} is to be trained on source tasks first, which an experiment does; here, give what it has "
            "learned on them as source"
        )
    if method in MULTITASK.values():
        if not held:
            return {}
        if len(held) > 1 or not isinstance(held[0], StoredMethod) or held[0].method != method:
            raise ConfigError(f"{method} can start from what {method} has learned on other tasks, and nothing else")
        return {f"source-multitask_{method}": held[0]}
    if not isinstance(options, MptOptions | SpotOptions | AttemptOptions):
        if held:
            raise ConfigError(f"{method} starts from nothing that was learned before; leave out source")
        return {}
    plain = [each.prompt if isinstance(each, StoredPrompt) else each for each in held]
    prompts = [each for each in plain if isinstance(each, Prompt)]
    if not prompts or len(prompts) < len(plain):
        what = "a source prompt" if method == "mpt" else "the prompts of source tasks"
        raise ConfigError(
            f"{method} starts from {what}: give source, such as what train_source or train_teacher return"
        )
    for each in prompts:
        check_width("the prompt", each.width, backbone)
    lengths = sorted({each.length for each in prompts})
    if len(lengths) > 1:
        raise ConfigError(f"the source prompts have {lengths} rows; expected one length")
    one = "source" if method == "mpt" else "source-mixture" if getattr(options, "start", "") == "mixture" else ""
    if not one:
        return {f"teacher-{number}": each for number, each in enumerate(prompts)}
    if len(prompts) > 1:
        raise ConfigError(f"{method} starts from one source prompt; there are {len(prompts)}")
    return {one: prompts[0]}
