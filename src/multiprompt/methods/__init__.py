"""Ways of adapting one frozen model to tasks, behind one protocol."""

from multiprompt.methods.base import Method, ParameterGroup, Share, TaskMethod, can_join, losses_together
from multiprompt.methods.distillation import SourceTraining
from multiprompt.methods.fine_tuning import FineTuning
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.methods.stored import StoredMethod, load_method, save_method

__all__ = [
    "FineTuning",
    "Method",
    "ParameterGroup",
    "PromptTuning",
    "Share",
    "SourceTraining",
    "StoredMethod",
    "TaskMethod",
    "can_join",
    "load_method",
    "losses_together",
    "save_method",
]
