"""What every prompt module offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor, nn

from multiprompt.batch import Tasks


class Prompt(nn.Module, ABC):
    """A stack of K prompts of P rows each, from which every example of a batch gets the one of its task.

    Parameters of a single task are separate tensors (a ``ParameterList``), never rows of one tensor: a task that is
    absent from a batch then has no gradient, and neither momentum nor weight decay moves it.
    """

    num_tasks: int
    length: int
    width: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_tasks} x [{self.length}, {self.width}])"

    @abstractmethod
    def collapse(self, tasks: list[int]) -> Float[Tensor, "K P D"]:
        """The plain prompts of the tasks with these positions, in this order."""

    def forward(self, task_ids: Int[Tensor, " B"]) -> Float[Tensor, "B P D"]:
        """The prompt of every example, given the position of its task.

        Raises:
            IndexError: a task id is not below ``num_tasks``.
        """
        return self.of_examples(Tasks.of(task_ids.cpu().numpy(), task_ids.device))

    def of_examples(self, tasks: Tasks) -> Float[Tensor, "B P D"]:
        """The prompt of every example, given what the host knows of their tasks.

        Raises:
            IndexError: a task is not below ``num_tasks``.
        """
        if tasks.present[0] < 0 or tasks.present[-1] >= self.num_tasks:
            held = "one task" if self.num_tasks == 1 else f"{self.num_tasks} tasks"
            raise IndexError(f"the prompt holds {held}, but a batch asks for task {tasks.present[-1]}")
        # not [index]: on several threads its gradient is summed in an order that changes from run to run
        return self.collapse(list(tasks.present)).index_select(0, tasks.index)

    def all_tasks(self) -> Float[Tensor, "K P D"]:
        """The plain prompts of all tasks."""
        return self.collapse(list(range(self.num_tasks)))
