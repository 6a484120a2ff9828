"""Ways of adapting one frozen model to tasks, behind one protocol."""

from multiprompt.methods.arithmetic import Item
from multiprompt.methods.base import Method, ParameterGroup, Share, TaskMethod, can_join, losses_together
from multiprompt.methods.build import build_method, check_packages
from multiprompt.methods.distillation import SourceTraining
from multiprompt.methods.fine_tuning import FineTuning
from multiprompt.methods.prompt_tuning import PromptTuning
from multiprompt.methods.start import Learned, Start
from multiprompt.methods.stored import StoredMethod, load_learned, load_method, save_method

__all__ = [
    "FineTuning",
    "Item",
    "Learned",
    "Method",
    "ParameterGroup",
    "PromptTuning",
    "Share",
    "SourceTraining",
    "Start",
    "StoredMethod",
    "TaskMethod",
    "build_method",
    "can_join",
    "check_packages",
    "load_learned",
    "load_method",
    "losses_together",
    "save_method",
]
