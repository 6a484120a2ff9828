"""Ways of adapting one frozen model to tasks, behind one protocol."""

from multiprompt.methods.base import Method, ParameterGroup, TaskMethod, move_to
from multiprompt.methods.distillation import SourceTraining
from multiprompt.methods.fine_tuning import FineTuning
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.methods.stored import StoredMethod, load_method, save_method

__all__ = [
    "FineTuning",
    "Method",
    "ParameterGroup",
    "PromptTuning",
    "SourceTraining",
    "StoredMethod",
    "TaskMethod",
    "load_method",
    "move_to",
    "save_method",
]
