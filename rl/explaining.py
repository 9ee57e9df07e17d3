"""From a trajectory to one explanation per decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

import seqxai
from rl.checkpoints.agent import Agent
from rl.checks import shown, whole_number
from rl.trajectory import Trajectory
from seqxai.errors import InputError

Q_TOLERANCE = 1e-3
"""How far the Q-values may move between playing one decision at a time and explaining a batch: float32 rounding."""

TARGETS = ("chosen", "largest", "contrast")


@dataclass(frozen=True, eq=False)
class Explained:
    """Every decision of a trajectory with its relevance.

    Attributes:
        trajectory: what was explained.
        relevance: how much each pixel of each plane spoke for (positive) or against the explained value, in its unit.
        explained: the value that was explained: a Q-value, or a difference of two.
        q_values: the network's output in the same pass.
        ledger: where the explained value went, by name; the entries sum to it.
        method: the attributor, such as ``"lrp/epsilon-gamma-box"``.
        composite: the composite's name.
        target: what was asked for: ``"chosen"``, ``"largest"``, ``"contrast"`` or an action.
        subjects: index of the action whose value was explained.
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

    def __len__(self) -> int:
        """Number of decisions."""
        return len(self.trajectory)

    @property
    def balance(self) -> Float64[np.ndarray, " decisions"]:
        """``|explained - sum of the ledger|``: 0 up to rounding when no relevance was lost or invented."""
        return np.abs(self.explained - sum(self.ledger.values(), np.zeros(len(self))))

    def label(self, decision: int) -> str:
        """The explained value in words, such as ``Q(LEFT)`` or ``Q(LEFT) - Q(NOOP)``."""
        names = self.trajectory.actions
        subject = f"Q({names[self.subjects[decision]]})"
        if self.target != "contrast":
            return subject
        rival = _runners_up(self.trajectory.q_values[decision][None], self.subjects[decision][None])[0]
        return f"{subject} - Q({names[rival]})"


@dataclass(frozen=True)
class _Part:
    """Decisions that are explained in one pass: their numbers, and the target."""

    decisions: Int64[np.ndarray, " part"]
    target: Any


def explain(
    trajectory: Trajectory,
    agent: Agent,
    composite: Any = "epsilon-gamma-box",
    target: str = "chosen",
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Explained:
    """Explain every decision of a trajectory by layer-wise relevance propagation.

    The default composite gives black pixels their share: its first layer uses z^B, whose messages are not proportional
    to the pixel.  Under ``"epsilon"`` a black pixel, such as a tunnel in Breakout, gets exactly 0.

    Args:
        trajectory: what the agent saw and did.
        agent: the agent that played it.
        composite: a name or an object of :mod:`seqxai.composites`.
        target: ``"chosen"``: the Q-value of the action taken; ``"largest"``: the largest Q-value; ``"contrast"``: the
            action taken minus the best of the others; or an action's name.
        batch: decisions per pass.
        progress: told the number of decisions explained so far.

    Returns:
        Relevance, explained values and ledger, one row per decision.

    Raises:
        InputError: another agent played, the trajectory is empty, or the target, composite or batch is unknown.
    """
    batch = _check(trajectory, agent, batch)
    check_target(target, trajectory.actions)
    subjects = _subjects(trajectory, target)
    attributor = seqxai.LRP(agent.network, composite=composite, ledger=True)
    relevance = np.zeros((len(trajectory), 4, 84, 84), np.float32)
    explained, q_values = np.zeros(len(trajectory)), np.zeros_like(trajectory.q_values)
    ledger: dict[str, np.ndarray] = {}
    done, method = 0, ""
    for part in _parts(trajectory, subjects, target, batch):
        rows = part.decisions
        observations = torch.from_numpy(trajectory.observations(rows=rows))
        attribution = attributor.attribute(observations, target=part.target)
        method = attribution.method
        relevance[rows] = attribution.relevance.numpy()
        explained[rows] = attribution.explained.double().numpy()
        q_values[rows] = attribution.output.numpy()
        for name, value in attribution.ledger.total().items():
            ledger.setdefault(name, np.zeros(len(trajectory)))[rows] = value.numpy()
        done += len(rows)
        if progress is not None:
            progress(done)
    _check_q_values(trajectory, q_values)
    name = composite if isinstance(composite, str) else method.rsplit("/", maxsplit=1)[-1]
    return Explained(trajectory, relevance, explained, q_values, ledger, method, name, target, subjects)


def check_target(target: Any, actions: tuple[str, ...]) -> None:
    """Refuse what is neither a kind of target nor one of the actions.

    Args:
        target: see :func:`explain`.
        actions: names of the agent's actions.

    Raises:
        InputError: names what is possible.
    """
    if not isinstance(target, str) or (target not in TARGETS and target.upper() not in actions):
        raise InputError(f"unknown target {shown(target)}: expected one of {', '.join((*TARGETS, *actions))}")


def _check(trajectory: Trajectory, agent: Agent, batch: Any) -> int:
    """Refuse an empty trajectory, another agent's trajectory and an empty batch; give the batch."""
    if not len(trajectory):
        raise InputError("the trajectory is empty: there is no decision to explain")
    if trajectory.agent_fingerprint != agent.fingerprint or trajectory.actions != agent.actions:
        raise InputError(
            f"the trajectory was played by another agent (weights {trajectory.agent_fingerprint}, "
            f"{trajectory.agent_steps} agent steps) than the one given (weights {agent.fingerprint}, "
            f"{agent.agent_steps} agent steps); give the agent that played, or explain trajectory.seen_by(agent)"
        )
    batch = whole_number("batch", batch)
    if batch < 1:
        raise InputError(f"batch should be at least 1, got {batch}")
    return batch


def _check_q_values(trajectory: Trajectory, q_values: Float32[np.ndarray, "decisions actions"]) -> None:
    """Refuse to explain values the agent did not have when it decided."""
    apart = np.abs(q_values - trajectory.q_values) / np.maximum(1.0, np.abs(trajectory.q_values))
    if not apart.max() <= Q_TOLERANCE:
        worst = int(np.nanargmax(apart.max(axis=1)))
        ours, theirs = q_values[worst].round(4).tolist(), trajectory.q_values[worst].round(4).tolist()
        raise InputError(
            f"decision {worst}: the network gives Q-values {ours}, the trajectory recorded {theirs}; "
            "record the trajectory again"
        )


def _subjects(trajectory: Trajectory, target: str) -> Int64[np.ndarray, " decisions"]:
    """For every decision the action whose value is explained."""
    if target in ("chosen", "contrast"):
        return trajectory.chosen
    if target == "largest":
        return trajectory.q_values.argmax(axis=1)
    return np.full(len(trajectory), trajectory.actions.index(target.upper()))


def _runners_up(
    q_values: Float32[np.ndarray, "decisions actions"], subjects: Int64[np.ndarray, " decisions"]
) -> Int64[np.ndarray, " decisions"]:
    """The best action beside the given one."""
    others = q_values.copy()
    others[np.arange(len(others)), subjects] = -np.inf
    return others.argmax(axis=1)


def _parts(
    trajectory: Trajectory, subjects: Int64[np.ndarray, " decisions"], target: str, batch: int
) -> Iterator[_Part]:
    """Cut the decisions into passes; a contrast is one pair of actions per pass."""
    everything = np.arange(len(trajectory))
    if target != "contrast":
        for rows in _chunks(everything, batch):
            yield _Part(rows, torch.from_numpy(subjects[rows]))
        return
    rivals = _runners_up(trajectory.q_values, subjects)
    for pair in np.unique(np.stack([subjects, rivals]), axis=1).T:
        same = everything[(subjects == pair[0]) & (rivals == pair[1])]
        for rows in _chunks(same, batch):
            yield _Part(rows, seqxai.targets.Contrast(int(pair[0]), int(pair[1])))


def _chunks(rows: Int64[np.ndarray, " decisions"], batch: int) -> Iterator[Int64[np.ndarray, " part"]]:
    """Consecutive pieces of at most ``batch`` rows."""
    for start in range(0, len(rows), batch):
        yield rows[start : start + batch]
