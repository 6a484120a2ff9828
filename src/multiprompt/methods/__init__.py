"""Ways of adapting one frozen model to tasks, behind one protocol."""

from multiprompt.methods.base import Method, ParameterGroup, move_to
from multiprompt.methods.distillation import SourceTraining
from multiprompt.methods.fine_tuning import FineTuning
from multiprompt.methods.prompt_tuning import PromptTuning

__all__ = [
    "FineTuning",
    "Method",
    "ParameterGroup",
    "PromptTuning",
    "SourceTraining",
    "move_to",
]
