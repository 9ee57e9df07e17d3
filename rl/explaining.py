"""From a trajectory to one explanation per decision, all at once or part by part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

import seqxai
from rl import targets
from rl.checkpoints.agent import Agent
from rl.checks import whole_number
from rl.targets import check_target as check_target
from rl.trajectory import Trajectory
from seqxai.errors import InputError

Q_TOLERANCE = 1e-3
"""How far the Q-values may move between playing one decision at a time and explaining a batch: float32 rounding."""

BATCH = 64
"""Decisions per pass: larger ones are not faster."""


@dataclass(frozen=True, eq=False)
class ExplainedPart:
    """Some decisions with their relevance.  Row i of each array belongs to decision ``rows[i]``.

    Attributes:
        rows: which decisions of the trajectory.
        relevance: how much each pixel of each plane spoke for (positive) or against the explained value, in its unit.
        explained: the value that was explained.
        q_values: the network's output in the same pass.
        ledger: where the explained value went, by name; the entries sum to it.
    """

    rows: Int64[np.ndarray, " part"]
    relevance: Float32[np.ndarray, "part 4 84 84"]
    explained: Float64[np.ndarray, " part"]
    q_values: Float32[np.ndarray, "part actions"]
    ledger: dict[str, Float64[np.ndarray, " part"]]

    def __len__(self) -> int:
        """Number of decisions."""
        return len(self.rows)

    @property
    def balance(self) -> Float64[np.ndarray, " part"]:
        """``|explained - sum of the ledger|``: 0 up to rounding when no relevance was lost or invented."""
        return np.abs(self.explained - sum(self.ledger.values(), np.zeros(len(self.explained))))


    def moments(self) -> Iterator[Moment]:
        """The decisions one by one."""
        balance = self.balance
        for i, decision in enumerate(self.rows.tolist()):
            ledger = {name: float(values[i]) for name, values in self.ledger.items()}
            yield Moment(decision, self.relevance[i], float(self.explained[i]), self.q_values[i], ledger, float(balance[i]))


@dataclass(frozen=True, eq=False)
class Moment:
    """One explained decision.

    Attributes:
        decision: its number in the trajectory.
        relevance: of every pixel of the four planes, newest last.
        explained: the value that was explained.
        q_values: the network's output.
        ledger: where the explained value went, by name.
        balance: how far the ledger's sum is from it.
    """

    decision: int
    relevance: Float32[np.ndarray, "4 84 84"]
    explained: float
    q_values: Float32[np.ndarray, " actions"]
    ledger: dict[str, float]
    balance: float

    @property
    def shares(self) -> Float64[np.ndarray, " 4"]:
        """Each plane's share of the absolute relevance; all 0 where there is none."""
        sums = np.abs(self.relevance).sum(axis=(1, 2), dtype=np.float64)
        return sums / (sums.sum() or 1.0)


class Decisions(ABC):
    """The explained decisions of a trajectory, however they are kept.

    Attributes:
        trajectory: what was explained.
        method: the attributor, such as ``"lrp/epsilon-gamma-box"``.
        composite: the composite's name.
        target: what was asked for, see :mod:`rl.targets`.
        subjects: index of the action that is explained.
        rules: (layer, its rule with all parameters), in the order of the network.
        quantity: what the agent's outputs are: ``"Q"``, or ``"logit"`` of a policy.
    """

    trajectory: Trajectory
    method: str
    composite: str
    target: str
    subjects: Int64[np.ndarray, " decisions"]
    rules: tuple[tuple[str, str], ...]
    quantity: str

    def __len__(self) -> int:
        """Number of decisions."""
        return len(self.trajectory)

    @abstractmethod
    def part(self, rows: Int64[np.ndarray, " part"]) -> ExplainedPart:
        """The explanations of some decisions."""

    def parts(self, start: int = 0, stop: int | None = None, size: int = BATCH) -> Iterator[ExplainedPart]:
        """The explanations in order, some at a time.

        Args:
            start: first decision.
            stop: one past the last; None for all.
            size: decisions per part.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        for first in range(start, stop, size):
            yield self.part(np.arange(first, min(first + size, stop)))

    def label(self, decision: int) -> str:
        """The explained value in words, such as ``Q(LEFT)`` or ``Q(LEFT) - Q(NOOP)``."""
        trajectory = self.trajectory
        subject, values = int(self.subjects[decision]), trajectory.q_values[decision]
        return targets.label(self.target, trajectory.actions, subject, values, self.quantity)


@dataclass(frozen=True, eq=False)
class Explained(Decisions):
    """Every decision of a trajectory with its relevance, all in memory: 110 kB each.

    Attributes:
        trajectory: what was explained.
        relevance: how much each pixel of each plane spoke for (positive) or against the explained value, in its unit.
        explained: the value that was explained: a Q-value, a difference of values, or the value of the state.
        q_values: the network's output in the same pass.
        ledger: where the explained value went, by name; the entries sum to it.
        method: the attributor, such as ``"lrp/epsilon-gamma-box"``.
        composite: the composite's name.
        target: what was asked for: one of :data:`rl.targets.KINDS` or an action.
        subjects: index of the action whose value was explained.
        rules: (layer, its rule with all parameters), in the order of the network.
        quantity: what the agent's outputs are.
    """

    trajectory: Trajectory
    relevance: Float32[np.ndarray, "decisions 4 84 84"]
    explained: Float64[np.ndarray, " decisions"]
    q_values: Float32[np.ndarray, "decisions actions"]
    ledger: dict[str, Float64[np.ndarray, " decisions"]]
    method: str
    composite: str
    target: str
    subjects: Int64[np.ndarray, " decisions"]
    rules: tuple[tuple[str, str], ...] = ()
    quantity: str = "Q"

    @property
    def balance(self) -> Float64[np.ndarray, " decisions"]:
        """``|explained - sum of the ledger|``: 0 up to rounding when no relevance was lost or invented."""
        return np.abs(self.explained - sum(self.ledger.values(), np.zeros(len(self))))

    def part(self, rows: Int64[np.ndarray, " part"]) -> ExplainedPart:
        """The explanations of some decisions."""
        ledger = {name: values[rows] for name, values in self.ledger.items()}
        return ExplainedPart(rows, self.relevance[rows], self.explained[rows], self.q_values[rows], ledger)


@dataclass(frozen=True, eq=False)
class ExplainedStream(Decisions):
    """Every decision of a trajectory, explained when it is read and then forgotten: memory does not grow with the length.

    Attributes:
        trajectory: what is explained.
        agent: who decided.
        attributor: who explains.
        method: the attributor's name, such as ``"lrp/epsilon-gamma-box"``.
        composite: the composite's name.
        target: what was asked for: one of :data:`rl.targets.KINDS` or an action.
        subjects: index of the action whose value is explained.
        rules: (layer, its rule with all parameters), in the order of the network.
        quantity: what the agent's outputs are.
    """

    trajectory: Trajectory
    agent: Agent
    attributor: seqxai.LRP
    method: str
    composite: str
    target: str
    subjects: Int64[np.ndarray, " decisions"]
    rules: tuple[tuple[str, str], ...] = ()
    quantity: str = "Q"

    def part(self, rows: Int64[np.ndarray, " part"]) -> ExplainedPart:
        """Explain some decisions, in one pass.

        Raises:
            InputError: the network does not give the Q-values of the trajectory.
        """
        observations = torch.from_numpy(self.trajectory.observations(rows=rows))
        attribution = self.attributor.attribute(observations, target=self._seqxai_target(rows))
        q_values = attribution.output.numpy()
        _check_q_values(self.trajectory, rows, q_values)
        ledger = {name: value.double().numpy() for name, value in attribution.ledger.total().items()}
        return ExplainedPart(rows, attribution.relevance.numpy(), attribution.explained.double().numpy(), q_values, ledger)

    def _seqxai_target(self, rows: Int64[np.ndarray, " part"]) -> Any:
        """What is explained, one scalar for each of these decisions."""
        subjects = self.subjects[rows]
        if self.target == targets.STATE_VALUE:
            return targets.state_value(self.agent.network)
        if self.target == targets.CONTRAST_MEAN:
            return targets.Decision(targets.CONTRAST_MEAN, tuple(subjects.tolist()))
        if self.target == targets.CONTRAST:
            rivals = targets.runners_up(self.trajectory.q_values[rows], subjects)
            return seqxai.targets.Contrast(subjects.tolist(), rivals.tolist())
        return torch.from_numpy(subjects)


def explain_stream(
    trajectory: Trajectory, agent: Agent, composite: Any = "epsilon-gamma-box", target: str = "chosen"
) -> ExplainedStream:
    """Explain the decisions of a trajectory as they are read, for a video or a file of any length.

    Args:
        trajectory: what the agent saw and did.
        agent: the agent that played it.
        composite: as for :func:`explain`.
        target: as for :func:`explain`.

    Returns:
        What :func:`rl.render` takes; ``parts()`` gives the explanations in order, ``part(rows)`` any of them.

    Raises:
        InputError: another agent played, the trajectory is empty, or the target or composite is unknown.
    """
    _check(trajectory, agent)
    check_target(target, trajectory.actions, agent.network)
    subjects = targets.subjects_of(target, trajectory.actions, trajectory.chosen, trajectory.q_values)
    attributor = seqxai.LRP(agent.network, composite=composite, ledger=True)
    method = f"lrp/{attributor.composite.name}"
    name = composite if isinstance(composite, str) else method.rsplit("/", maxsplit=1)[-1]
    rules = tuple(attributor.rules(torch.from_numpy(trajectory.observations(rows=np.zeros(1, np.int64)))))
    return ExplainedStream(trajectory, agent, attributor, method, name, target, subjects, rules, agent.network.quantity)


def explain(
    trajectory: Trajectory,
    agent: Agent,
    composite: Any = "epsilon-gamma-box",
    target: str = "chosen",
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> Explained:
    """Explain every decision of a trajectory by layer-wise relevance propagation, and keep all of it.

    The default composite gives black pixels their share: its first layer uses z^B, whose messages are not proportional
    to the pixel.  Under ``"epsilon"`` a black pixel, such as a tunnel in Breakout, gets exactly 0.

    Args:
        trajectory: what the agent saw and did.
        agent: the agent that played it.
        composite: a name or an object of :mod:`seqxai.composites`.
        target: ``"chosen"``: the Q-value of the action taken; ``"largest"``: the largest Q-value; ``"contrast"``: the
            action taken minus the best of the others; ``"contrast-mean"``: minus their mean; ``"state-value"``: the value
            stream of a dueling network; or an action's name.
        batch: decisions per pass.
        progress: told the number of decisions explained so far.

    Returns:
        Relevance, explained values and ledger, one row per decision; :func:`explain_stream` does not keep them.

    Raises:
        InputError: another agent played, the trajectory is empty, or the target, composite or batch is unknown.
    """
    batch = whole_number("batch", batch)
    if batch < 1:
        raise InputError(f"batch should be at least 1, got {batch}")
    check_target(target, trajectory.actions)
    stream = explain_stream(trajectory, agent, composite, target)
    relevance = np.zeros((len(trajectory), 4, 84, 84), np.float32)
    explained, q_values = np.zeros(len(trajectory)), np.zeros_like(trajectory.q_values)
    ledger: dict[str, np.ndarray] = {}
    for part in stream.parts(size=batch):
        relevance[part.rows], explained[part.rows], q_values[part.rows] = part.relevance, part.explained, part.q_values
        for name, value in part.ledger.items():
            ledger.setdefault(name, np.zeros(len(trajectory)))[part.rows] = value
        if progress is not None:
            progress(int(part.rows[-1]) + 1)
    return Explained(
        trajectory, relevance, explained, q_values, ledger, stream.method, stream.composite, target, stream.subjects, stream.rules,
        stream.quantity,
    )


def _check(trajectory: Trajectory, agent: Agent) -> None:
    """Refuse an empty trajectory and another agent's trajectory."""
    if not len(trajectory):
        raise InputError("the trajectory is empty: there is no decision to explain")
    if trajectory.agent_fingerprint != agent.fingerprint or trajectory.actions != agent.actions:
        raise InputError(
            f"the trajectory was played by another agent (weights {trajectory.agent_fingerprint}, "
            f"{trajectory.agent_steps} agent steps) than the one given (weights {agent.fingerprint}, "
            f"{agent.agent_steps} agent steps); give the agent that played, or record again"
        )


def _check_q_values(
    trajectory: Trajectory, rows: Int64[np.ndarray, " part"], q_values: Float32[np.ndarray, "part actions"]
) -> None:
    """Refuse to explain values the agent did not have when it decided."""
    recorded = trajectory.q_values[rows]
    apart = np.abs(q_values - recorded) / np.maximum(1.0, np.abs(recorded))
    if not apart.max() <= Q_TOLERANCE:
        worst = int(np.nanargmax(apart.max(axis=1)))
        ours, theirs = q_values[worst].round(4).tolist(), recorded[worst].round(4).tolist()
        raise InputError(
            f"decision {rows[worst]}: the network gives Q-values {ours}, the trajectory recorded {theirs}; "
            "record the trajectory again"
        )
