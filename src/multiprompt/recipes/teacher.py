"""Stage 1a: a teacher prompt for a source task, by ordinary prompt tuning (section 3.2 and appendix A)."""

from __future__ import annotations

from multiprompt.backbone.base import Backbone
from multiprompt.options import MixingOptions, PromptOptions, TeacherOptions
from multiprompt.prompts import SoftPrompt
from multiprompt.recipes.alone import train_prompt
from multiprompt.recipes.prepare import PreparedTask
from multiprompt.recipes.stage_training import Place
from multiprompt.training import TrainingReport

TEACHER_EPOCHS = 10
"""Not given in the paper; the number of epochs of its large target tasks."""


def train_teacher(
    backbone: Backbone,
    task: PreparedTask,
    options: TeacherOptions | None = None,
    prompt: PromptOptions | None = None,
    seed: int = 42,
    place: Place | None = None,
) -> tuple[SoftPrompt, TrainingReport]:
    """Train the teacher of a source task: one plain prompt on one task, from the start that the options name.

    Args:
        backbone: the frozen model.
        task: what it learns.
        options: rate and length; 10 epochs if they give none.
        prompt: shape and start of the prompt.
        seed: of the start, the order of the examples, and dropout.
        place: folder and progress of the stage; None keeps and tells nothing.

    Returns:
        The prompt with the best dev metric, and how the training went.

    Raises:
        TrainingError: the loss is not finite.
    """
    options, prompt = options or TeacherOptions(), prompt or PromptOptions()
    place = place or Place(f"teacher-{task.name}")
    rest = options.training, MixingOptions(), TEACHER_EPOCHS, seed, place, prompt
    soft, report = train_prompt("teacher", backbone, [task], options, *rest)
    assert isinstance(soft, SoftPrompt), "prompt tuning trains a plain prompt"
    return soft, report
