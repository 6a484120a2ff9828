"""What every prompt module offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class Prompt(nn.Module, ABC):
    """A stack of K prompts of P rows each, from which every example of a batch gets the one of its task.

    Parameters of a single task are separate tensors (a ``ParameterList``), never rows of one tensor: a task that is
    absent from a batch then has no gradient, and neither momentum nor weight decay moves it.
    """

    num_tasks: int
    length: int
    width: int

    @abstractmethod
    def collapse(self, tasks: list[int]) -> Float[Tensor, "K P D"]:
        """The plain prompts of the tasks with these positions, in this order."""

    def forward(self, task_ids: Int[Tensor, " B"]) -> Float[Tensor, "B P D"]:
        """The prompt of every example, given the position of its task.

        Raises:
            IndexError: a task id is not below ``num_tasks``.
        """
        if self.num_tasks == 1:
            if task_ids.any():
                raise IndexError(f"the prompt holds one task, but a batch asks for task {int(task_ids.max())}")
            # as for one of several tasks below, not expand(): so a task alone adds its gradient up as in a group
            return self.collapse([0]).index_select(0, torch.zeros_like(task_ids))
        present, index = torch.unique(task_ids, return_inverse=True)
        tasks = present.tolist()
        if tasks[0] < 0 or tasks[-1] >= self.num_tasks:
            raise IndexError(f"the prompt holds {self.num_tasks} tasks, but a batch asks for task {tasks[-1]}")
        # not [index]: on several threads its gradient is summed in an order that changes from run to run
        return self.collapse(tasks).index_select(0, index)

    def all_tasks(self) -> Float[Tensor, "K P D"]:
        """The plain prompts of all tasks."""
        return self.collapse(list(range(self.num_tasks)))
