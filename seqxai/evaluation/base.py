"""What every metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Metric(ABC):
    """A number that says how good explanations of a model are: ``metric(model, inputs, attributions)``.

    A metric is a frozen dataclass whose fields are its parameters, so that it can be compared, printed and written into a table.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in tables."""

    @property
    @abstractmethod
    def higher_is_better(self) -> bool:
        """Which direction is better."""

    @abstractmethod
    def __call__(self, model: Any, inputs: Any, attributions: Any) -> float:
        """The score.

        Args:
            model: the model that was explained; not changed in any way.
            inputs: what was explained.
            attributions: the explanations, in the order of the inputs.
        """
