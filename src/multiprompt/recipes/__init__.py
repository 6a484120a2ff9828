"""Short programs that wire one experiment each."""

from multiprompt.recipes.experiment import run_experiment
from multiprompt.recipes.prepare import PreparedTask, load_task
from multiprompt.recipes.replay import evaluate_run, predict, stored_scores
from multiprompt.recipes.shipped import recipe_names, recipe_path
from multiprompt.recipes.source import train_source
from multiprompt.recipes.stage import Place
from multiprompt.recipes.target import adapt_target
from multiprompt.recipes.teacher import train_teacher, tune_prompt
from multiprompt.recipes.use import answer, evaluate

__all__ = [
    "Place",
    "PreparedTask",
    "adapt_target",
    "answer",
    "evaluate",
    "evaluate_run",
    "load_task",
    "predict",
    "recipe_names",
    "recipe_path",
    "run_experiment",
    "stored_scores",
    "train_source",
    "train_teacher",
    "tune_prompt",
]
