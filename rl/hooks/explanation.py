"""The explanation of one decision, computed at once or when it is first looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float64

from seqxai.errors import InputError

if TYPE_CHECKING:
    from rl.hooks.explainer import Explainer


@dataclass(frozen=True, eq=False)
class Found:
    """Results of one pass over a batch of decisions.

    Attributes:
        relevance: of the observations' shape.
        explained: the scalar that was explained.
        values: Q-values or logits in the same pass.
        ledger: where the explained value went, by name.
        method: the attributor, such as ``"lrp/epsilon"``.
    """

    relevance: Float[np.ndarray, "batch ..."]
    explained: Float64[np.ndarray, " batch"]
    values: Float[np.ndarray, "batch actions"]
    ledger: dict[str, Float64[np.ndarray, " batch"]]
    method: str


@dataclass(eq=False)
class Pending:
    """A batch of decisions that will be explained in one pass, when the first of them is looked at.

    Attributes:
        explainer: who explains.
        observations: copies of what was decided on, (batch, ...); of a recurrent network (1, steps, ...).
        actions: the outputs that were chosen.
        state: a recurrent network's state before the first of the steps.
        fingerprint: of the weights at the time of the decision, where the numbers are computed later.
    """

    explainer: Explainer
    observations: np.ndarray
    actions: tuple[int, ...]
    state: Any = None
    fingerprint: tuple[float, ...] | None = None

    @cached_property
    def found(self) -> Found:
        """The results.

        Raises:
            InputError: the weights changed since the decision.
        """
        if self.fingerprint is not None and self.fingerprint != self.explainer.network.fingerprint():
            raise InputError(
                "The network's weights changed after this decision, so it can no longer be explained as it was made; look at lazy "
                "explanations before the next update, or use lazy=False."
            )
        found = self.explainer.attribute(self.observations, self.actions, self.state)
        self.state = None
        return found


class Explanation:
    """Why one decision was made; computed when one of its numbers is first asked for, if it was not before.

    Attributes:
        observation: what the decision was made on, as the environment gave it; of a recurrent network the window of the last
            observations, (steps, ...), newest last.
        action: the number of the network's output that was chosen.
        action_name: its name.
    """

    def __init__(self, pending: Pending, row: int) -> None:
        self._pending = pending
        self._row = row
        self.observation = pending.observations[row]
        self.action = pending.actions[row]
        self.action_name = pending.explainer.action_names[self.action]

    @property
    def computed(self) -> bool:
        """Whether the numbers are there already."""
        return "found" in self._pending.__dict__

    def compute(self) -> Explanation:
        """Compute now; returns itself."""
        _ = self._pending.found
        return self

    @property
    def relevance(self) -> np.ndarray:
        """How much each number of the observation spoke for (positive) or against the explained value, in its unit."""
        return self._pending.found.relevance[self._row]

    @property
    def explained(self) -> float:
        """The value that was explained."""
        return float(self._pending.found.explained[self._row])

    @property
    def q_values(self) -> Float[np.ndarray, " actions"]:
        """The network's output on this observation: Q-values or logits."""
        return self._pending.found.values[self._row]

    @property
    def ledger(self) -> dict[str, float]:
        """Where the explained value went: input, initial_state, bias, stabilizer, constant, target; they sum to it."""
        return {name: float(values[self._row]) for name, values in self._pending.found.ledger.items()}

    @property
    def balance(self) -> float:
        """``|explained - sum of the ledger|``: 0 up to rounding."""
        return abs(self.explained - sum(self.ledger.values()))

    @property
    def target(self) -> str:
        """The explained value in words, such as ``Q(LEFT) - Q(NOOP)``."""
        return self._pending.explainer.goal.label(self.action, self.q_values)

    @property
    def method(self) -> str:
        """The attributor and its composite, such as ``"lrp/epsilon-gamma-box"``."""
        return self._pending.found.method

    def __eq__(self, other: object) -> bool:
        """Whether the same action was chosen on the same observation for the same reasons (lazy ones are computed)."""
        if not isinstance(other, Explanation):
            return NotImplemented
        same = self.action == other.action and np.array_equal(self.observation, other.observation)
        return bool(same and np.array_equal(self.relevance, other.relevance) and self.ledger == other.ledger)

    def __hash__(self) -> int:
        return hash((self.action, self.observation.tobytes()))

    def __repr__(self) -> str:
        if not self.computed:
            return f"Explanation(action={self.action_name}, not computed yet)"
        return f"Explanation(action={self.action_name}, {self.target}={self.explained:.4g}, relevance {self.relevance.shape})"
