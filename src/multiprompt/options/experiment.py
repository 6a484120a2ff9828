"""What an experiment is: frozen dataclasses whose defaults are the values of the paper.

Defaults live here and in ``methods.py``. ``config.py`` reads these from YAML and writes them back.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, replace
from typing import Literal

from multiprompt.definition import TaskDefinition
from multiprompt.errors import ConfigError, option_error
from multiprompt.options.checks import check_distinct, check_positive, check_values
from multiprompt.options.methods import Methods, MptOptions

Selection = Literal["full-dev", "last-step"]
"""Which tensors of a training are kept: those with the best value on the whole dev set, or those of the last step."""


EVALUATION_STEPS = 20
"""Fewest steps between the evaluations that ends of epochs ask for: epochs of tiny tasks are shorter."""


@dataclass(frozen=True)
class BackboneOptions:
    """The frozen language model."""

    name: str = "embedded"
    """Name of the model: "embedded", "embedded-small", the name of a model on the hub, or a folder."""
    revision: str | None = None
    """Commit or tag of the model on the hub."""
    device: str = "auto"
    """Device of the model: "auto", "cpu", "cuda", "cuda:1", ..."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen weights; "auto" is bfloat16 on a GPU that computes in it and float32 elsewhere. Trained
    tensors of every method, the optimiser and the loss are float32 always."""
    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """Attention implementation; "auto" is eager on a CPU, where it was measured to be faster, and sdpa on a GPU."""

    def __post_init__(self) -> None:
        check_values(self, "backbone")


@dataclass(frozen=True)
class DataOptions:
    """Where rows come from and how many are used.

    Raises:
        ConfigError: a limit is not above 0.
    """

    location: str | None = None
    """Folder laid out as <benchmark>/<dataset>/<split>.jsonl.gz; None for the hub (mini tasks are generated)."""
    max_train: int | None = None
    """Largest number of training rows of each task; None for all."""
    max_dev: int | None = None
    """Largest number of dev rows of each task, which choose the checkpoint; None for all."""
    max_test: int | None = None
    """Largest number of test rows of each task; None for all."""
    split_seed: int = 42
    """Seed of the permutation that makes dev and test sets; it does not depend on the training seeds."""
    max_source_length: int | None = None
    """Largest number of tokens of a source (prompt not counted), for all tasks; None for each task's own limit."""
    label_coding: Literal["glue", "consistent"] = "glue"
    """Labels of the generated mini tasks: as in GLUE, or with one polarity for all of them."""
    task_names: bool = False
    """Put the name of the task before the texts of the generated mini tasks, as the public tasks have it."""
    compat: Literal["none", "attempt"] = "none"
    """Repeat quirks of published code that change numbers; see docs/tasks.md. Every result says so."""

    def __post_init__(self) -> None:
        check_values(self, "data")
        if not -(2**63) <= self.split_seed < 2**63:
            raise option_error("data", f"split_seed is {self.split_seed}; expected a whole number of 64 bits")
        check_positive(self, "data", "max_train", "max_dev", "max_test", "max_source_length")


@dataclass(frozen=True)
class PromptOptions:
    """Shape and first value of the prompts.

    Raises:
        ConfigError: a size is not above 0, or the start contradicts text or path.
    """

    length: int = 100
    """Rows of a prompt (l)."""
    start: Literal["vocabulary", "normal", "uniform", "text", "saved"] = "vocabulary"
    """First value of a prompt: rows of the embedding, N(0, 1), U(-0.5, 0.5), the embedding of a text, or a stored
    prompt."""
    text: str | None = None
    """Text whose embedding is the first value, with start "text"."""
    path: str | None = None
    """File prompt.safetensors of an earlier run, with start "saved"."""
    rank: int = 1
    """Rank of the task matrices."""
    factor_start: Literal["ones", "near_one", "peft"] = "ones"
    """First values of u and v; see prompts.start_task_factors."""
    factor_spread: float = 0.1
    """Standard deviation of the factor start "near_one"."""

    def __post_init__(self) -> None:
        check_values(self, "prompt")
        check_positive(self, "prompt", "length", "rank", "factor_spread")
        if (self.start == "text") != (self.text is not None):
            raise ConfigError("prompt.text and prompt.start: text go together; give both or neither")
        if (self.start == "saved") != (self.path is not None):
            raise ConfigError("prompt.path and prompt.start: saved go together; give both or neither")


@dataclass(frozen=True)
class TrainingOptions:
    """One optimisation: length, schedule, selection.

    Raises:
        ConfigError: a value is out of its range, or two of them contradict.
    """

    steps: int | None = None
    """Number of optimiser steps; give this or epochs."""
    epochs: float | None = None
    """Number of passes over the training examples (of all tasks together); give this or steps."""
    batch_size: int = 32
    """Number of examples of a step."""
    max_micro_batch: int | None = None
    """Largest number of examples in one pass, to save memory; gradients do not depend on it."""
    optimiser: Literal["adamw", "adafactor"] = "adamw"
    """Optimiser: AdamW, or Adafactor without parameter scaling as in Lester et al. (2021)."""
    schedule: Literal["linear", "constant"] = "linear"
    """Learning rate after the warm-up: it falls to zero, or stays constant."""
    warmup_ratio: float = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    weight_decay: float = 1e-5
    """Decoupled weight decay; tensors of tasks that are absent from a batch are not decayed."""
    clip: float = 1.0
    """Largest norm of the gradient; a larger gradient is scaled down to it."""
    dropout: bool = True
    """Whether the dropout of the frozen model is on while the prompt is trained."""
    evaluate_every: int | None = None
    """Number of steps between evaluations on the dev set; None for one evaluation, at the end."""
    evaluate_each_epoch: bool = False
    """Whether the dev set is evaluated once an epoch where that is sooner, at least 20 steps apart."""
    select: Literal["best", "last"] = "best"
    """Tensors that are kept: those with the best dev metric, or those of the last step."""
    patience: int | None = None
    """Number of evaluations without a better dev metric after which the training ends; None trains all steps."""
    checkpoint_seconds: float = 30.0
    """Shortest time between two checkpoints, in seconds. The time is longer for large checkpoints: no more than 10 MB a
    second are written on average. A resumed training is exact wherever its checkpoint was written."""
    log_every: int = 10
    """Number of steps between two lines of the log."""

    def __post_init__(self) -> None:
        check_values(self, "training")
        check_positive(self, "training", "steps", "epochs", "batch_size", "max_micro_batch", "clip")
        check_positive(self, "training", "evaluate_every", "log_every", "patience")
        looks = self.select == "best" and (self.evaluate_every is not None or self.evaluate_each_epoch)
        if self.patience is not None and not looks:
            raise option_error(
                "training",
                f"patience is {self.patience}, but no better tensors are looked for: give evaluate_every (or "
                "evaluate_each_epoch) and select: best too",
            )
        if self.steps is not None and self.epochs is not None:
            raise option_error(
                "training", f"steps is {self.steps} and epochs is {self.epochs}: they contradict; give one"
            )
        if not 0 <= self.warmup_ratio < 1:
            raise option_error("training", f"warmup_ratio is {self.warmup_ratio}; expected a share from 0 to below 1")
        if self.weight_decay < 0:
            raise option_error("training", f"weight_decay is {self.weight_decay}; expected 0 or more")

    def steps_for(self, examples: int, default_epochs: float) -> int:
        """Number of optimiser steps for a training set of this size."""
        if self.steps is not None:
            return self.steps
        epochs = default_epochs if self.epochs is None else self.epochs
        return max(1, round(epochs * examples / min(self.batch_size, examples)))

    def in_steps(self, examples: int) -> TrainingOptions:
        """The same training with the time between evaluations in steps, for a training set of this size.

        An epoch has as many steps as make up the examples, those of all tasks together.
        """
        if not self.evaluate_each_epoch:
            return self
        epoch = max(EVALUATION_STEPS, round(examples / min(self.batch_size, examples)))
        return replace(self, evaluate_every=min(epoch, self.evaluate_every or epoch), evaluate_each_epoch=False)

    def without_dev(self, steps: int | None) -> TrainingOptions:
        """The same training of so many steps, or of its default length, whose last tensors are kept."""
        length = replace(self, steps=steps, epochs=None, patience=None)
        return replace(length, select="last", evaluate_every=None, evaluate_each_epoch=False)

    def evaluations(self, steps: int) -> int:
        """Evaluations on the dev set in the first so many steps of a training, its end included."""
        return math.ceil(steps / (self.evaluate_every or max(1, steps)))

    def selection(self, steps: int) -> Selection:
        """The protocol of a training of so many steps. One evaluation, at the end, leaves nothing to choose from."""
        chosen = self.select == "best" and self.evaluate_every is not None and self.evaluate_every < steps
        return "full-dev" if chosen else "last-step"


@dataclass(frozen=True)
class TeacherOptions:
    """Teachers: ordinary prompt tuning on every source task.

    Raises:
        ConfigError: the learning rate is not above 0.
    """

    learning_rate: float = 0.3
    """Learning rate of the prompt."""
    training: TrainingOptions = TrainingOptions()
    """Training of a teacher: 10 epochs unless steps or epochs are given."""

    def __post_init__(self) -> None:
        check_values(self, "teachers")
        check_positive(self, "teachers", "learning_rate")


@dataclass(frozen=True)
class DistillationOptions:
    """What the student learns from the teachers (Eq. 5).

    Raises:
        ConfigError: the temperature is not above 0, or the weight is below it.
    """

    kind: Literal["full", "no_hidden", "prompt_distance", "none"] = "full"
    """Terms of the loss beside the task loss: logits and hidden states; logits alone; the distance between prompts in
    place of both; none."""
    weight: float = 0.9
    """Weight of every distillation term (lambda)."""
    temperature: float = 2.0
    """Temperature of the output distributions; not given in the paper."""
    hidden: Literal["last", "all"] = "last"
    """Hidden states that are compared: those of the last layer, or of all layers, each normalised."""

    def __post_init__(self) -> None:
        check_values(self, "distillation")
        check_positive(self, "distillation", "temperature")
        if self.weight < 0:
            raise option_error("distillation", f"weight is {self.weight}; expected 0 or more (the paper uses 0.9)")


@dataclass(frozen=True)
class MixingOptions:
    """How batches of several tasks are drawn.

    Raises:
        ConfigError: a limit is not above 0.
    """

    mode: Literal["proportional", "uniform_tasks", "iid"] = "proportional"
    """How tasks are drawn for a batch; see data.TaskSampler."""
    size_cap: int = 2**18
    """Number of examples beyond which a task's size no longer raises its share."""
    max_tasks: int | None = None
    """Largest number of tasks that a batch draws from (kappa); None for all."""

    def __post_init__(self) -> None:
        check_values(self, "mixing")
        check_positive(self, "mixing", "size_cap", "max_tasks")


@dataclass(frozen=True)
class SourceOptions:
    """Source training: one shared prompt from many tasks.

    Raises:
        ConfigError: a rate is not above 0, a task is named twice, or there are too few for the way of mixing.
    """

    tasks: tuple[str, ...] = ("mnli", "qnli", "qqp", "sst2", "squad", "record")
    """Names of the source tasks."""
    decomposed: bool = True
    """Whether the shared prompt has a matrix for each task. False trains one plain prompt (ablation, Table 6)."""
    learning_rate: float = 0.3
    """Learning rate of the shared prompt."""
    factor_learning_rate: float = 0.3
    """Learning rate of u and v."""
    distillation: DistillationOptions = DistillationOptions()
    """What is learned from the teachers."""
    mixing: MixingOptions = MixingOptions()
    """How batches are drawn from the tasks."""
    training: TrainingOptions = TrainingOptions()
    """Training of the shared prompt: 5 epochs over the mixture unless steps or epochs are given."""

    def __post_init__(self) -> None:
        check_values(self, "source")
        check_positive(self, "source", "learning_rate", "factor_learning_rate")
        check_distinct("source.tasks", self.tasks)
        if not self.tasks:
            raise ConfigError("source.tasks is empty; name the source tasks, or leave out the section source")
        if len(self.tasks) < 2 and self.mixing.mode != "iid":
            raise ConfigError("source.tasks needs two tasks or more (source.mixing.mode: iid allows one)")


@dataclass(frozen=True)
class TargetOptions:
    """Target adaptation, and the methods that it is compared with.

    Raises:
        ConfigError: there is no task or no method, a task is named twice, or a number is not above 0.
    """

    tasks: tuple[str, ...] = ()
    """Names of the target tasks."""
    methods: Methods = field(default_factory=lambda: Methods(mpt=MptOptions()))
    """Methods that adapt to the target tasks, each with the options that differ from its defaults."""
    shots: tuple[int | Literal["all"], ...] = ("all",)
    """Numbers of training examples: "all", or k examples that are drawn for every seed."""
    draws: int = 1
    """Number of draws of the k examples. Every draw is trained from the same source prompt; "all" is trained once."""
    balanced: bool = True
    """Whether the k examples are drawn evenly over the classes, if k allows it."""
    group: bool = False
    """Whether all target tasks are adapted together, with one shared prompt."""
    source_prompt: str | None = None
    """File prompt.safetensors of a source stage to start from; None for this run's own source stage."""
    mixing: MixingOptions = MixingOptions()
    """How the batches of a group are drawn from its tasks."""
    training: TrainingOptions = TrainingOptions()
    """Training with all examples: 20 epochs up to 10,000 examples and 10 above, unless steps or epochs are given."""
    few_shot_training: TrainingOptions = TrainingOptions(steps=1000, evaluate_every=50)
    """Training with k examples."""

    def __post_init__(self) -> None:
        check_values(self, "targets")
        check_positive(self, "targets", "draws")
        check_distinct("targets.tasks", self.tasks)
        if not self.tasks:
            raise ConfigError("targets.tasks is empty; name at least one task, or leave out the section targets")
        if not self.methods.chosen():
            raise ConfigError("targets.methods is empty; name at least one method, such as mpt")
        check_distinct("targets.shots", self.shots)
        if not self.shots:
            raise ConfigError("targets.shots is empty; give numbers of training examples, or 'all'")
        for shots in self.shots:
            if shots != "all" and not (isinstance(shots, int) and shots >= 1):
                raise ConfigError(f"targets.shots has {shots!r}; expected 'all' or numbers of 1 or more")
        if self.group and len(self.tasks) < 2:
            raise ConfigError("targets.group adapts several tasks together; name at least two in targets.tasks")


@dataclass(frozen=True)
class Experiment:
    """A whole experiment. Sections that are left out are stages that do not run.

    Raises:
        ConfigError: two sections contradict, or a method lacks the section that it starts from.
    """

    name: str
    """Name of the experiment, shown in reports."""
    seeds: tuple[int, ...] = (42,)
    """Seeds of the experiment; every stage runs once for each."""
    together: bool = True
    """Whether stages of prompt methods are trained side by side, in joint passes through the backbone. Each stage ends
    as it would alone, up to the rounding of float32. False trains one after the other; then a run that is stopped and
    resumed ends bitwise the same."""
    backbone: BackboneOptions = BackboneOptions()
    """The frozen model."""
    data: DataOptions = DataOptions()
    """Where rows come from."""
    tasks: dict[str, TaskDefinition] = field(default_factory=dict)
    """Your own tasks by name. The path of a task file among source.tasks or targets.tasks puts the task here."""
    prompt: PromptOptions = PromptOptions()
    """Shape and start of the prompts of all stages."""
    teachers: TeacherOptions = TeacherOptions()
    """How the teachers are trained, from which the shared prompt is distilled."""
    source: SourceOptions | None = None
    """Source training; None for none."""
    targets: TargetOptions | None = None
    """Target adaptation; None for none."""

    def __post_init__(self) -> None:
        check_distinct("seeds", self.seeds)
        if not self.seeds:
            raise ConfigError("seeds is empty; give at least one number")
        if self.source is None and self.targets is None:
            raise ConfigError("the experiment has neither a section source nor a section targets: nothing to do")
        if self.targets and self.targets.methods.mpt and not (self.source or self.targets.source_prompt):
            raise ConfigError(
                "targets.methods has mpt, which starts from a source prompt: add a section source, or set "
                "targets.source_prompt to a stored one"
            )
        if self.targets and self.source and self.targets.source_prompt:
            raise ConfigError("targets.source_prompt and the section source contradict; give one of them")
        self._check_source_tasks()

    def _check_source_tasks(self) -> None:
        methods = self.targets.methods if self.targets else Methods()
        for name in ("spot", "attempt"):
            if getattr(methods, name) and not self.source:
                raise ConfigError(f"targets.methods.{name} starts from source prompts: add a section source")
        targets = self.targets.tasks if self.targets else ()
        for name, options in methods.chosen().items():
            if getattr(options, "source_tasks", ()) and not self.source:
                raise ConfigError(
                    f"targets.methods.{name}.source_tasks are trained on as the section source says: add that section"
                )
            for task in getattr(options, "nearest", ()):
                if task not in targets:
                    raise ConfigError(f"targets.methods.{name}.nearest names {task!r}, which is not in targets.tasks")
        known = ("retrieved", "weighted", "mixture", *(self.source.tasks if self.source else ()))
        if methods.spot and methods.spot.start not in known:
            start, close = methods.spot.start, difflib.get_close_matches(methods.spot.start, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected {', '.join(known)}"
            raise ConfigError(f"targets.methods.spot.start is {start!r}, which is no source task; {hint}")
