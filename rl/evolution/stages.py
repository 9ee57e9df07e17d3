"""One training seen through its checkpoints: the same states, explained by each of them, on one scale.

    run = rl.load_run("runs/breakout")
    evolution = rl.evolve(run.spread(6))
    rl.render_evolution(evolution, "evolution.mp4")

Nothing but the scale is computed before it is needed: explanations come decision by decision, in order, so that the length
of a film costs no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

import seqxai
from rl import targets
from rl.checkpoints.agent import Agent
from rl.checkpoints.run import Checkpoint, Run
from rl.checks import real_number, shown, whole_number
from rl.trajectory import Progress, Trajectory, one_thread, record
from seqxai.errors import InputError
from seqxai.targets import Target

STAGES_MAX = 12
SAMPLE = 64
"""Decisions from which the scale is taken, evenly spread: enough for a quantile of half a million pixels per checkpoint."""

Q_ROOM = 1.1
"""The axis of the Q-values is so much longer than what the sample needs: other decisions may have larger ones."""

BATCH = 32


@dataclass(frozen=True, eq=False)
class Stage:
    """One checkpoint and the game it is shown with.

    Attributes:
        checkpoint: what its file says.
        agent: its weights.
        trajectory: the states it explains: the same for all stages, or a game of its own.
    """

    checkpoint: Checkpoint
    agent: Agent
    trajectory: Trajectory


@dataclass(frozen=True, eq=False)
class Sight:
    """One decision as every stage sees it.

    Attributes:
        decision: its number in the trajectories.
        relevance: of each observed pixel, summed over the four planes, in units of the explained value.
        q_values: of every action.
        explained: the value that was explained.
        balance: how far the sum of the ledger is from it; NaN where the ledger was not kept.
    """

    decision: int
    relevance: Float32[np.ndarray, "stages 84 84"]
    q_values: Float32[np.ndarray, "stages actions"]
    explained: Float64[np.ndarray, " stages"]
    balance: Float64[np.ndarray, " stages"]

    @property
    def choices(self) -> Int64[np.ndarray, " stages"]:
        """The action each stage would take: the one of its largest Q-value."""
        return self.q_values.argmax(axis=1)


@dataclass(frozen=True, eq=False)
class Evolution:
    """Several checkpoints of one training beside each other.

    Attributes:
        stages: by agent steps.
        on_policy: every stage has a game of its own; otherwise all look at the same states.
        composite: the rules, by name.
        target: what is explained; ``"largest"`` is each checkpoint's own choice.
        limit: relevance per observed pixel with the full colour, the same for all stages and decisions.
        quantile: the share of the pixels of the strongest stage that stay below it.
        q_range: ends of the axis of the Q-values: a tenth beyond those met where the scale was taken, 0 included.
        balance: how far the sum of a ledger is from the explained value at most, where the scale was taken.
        rules: (layer, its rule with all parameters), in the order of the network.
    """

    stages: tuple[Stage, ...]
    on_policy: bool
    composite: str
    target: str
    limit: float
    quantile: float
    q_range: tuple[float, float]
    balance: float
    rules: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Number of decisions that every stage has."""
        return _decisions(self.stages)

    @property
    def trajectory(self) -> Trajectory:
        """The states all look at; the last stage's game where each has its own."""
        return self.stages[-1].trajectory

    def sights(self, decisions: Sequence[int] | None = None) -> Iterator[Sight]:
        """Explain decisions one after the other.

        Args:
            decisions: which; all of them when None.

        Yields:
            One per decision, in the order asked for.
        """
        rows = np.arange(len(self)) if decisions is None else np.asarray(decisions, np.int64)
        yield from _sights(self.stages, self.composite, self.target, rows)

    def look(
        self, stage: int, decisions: Sequence[int]
    ) -> tuple[Float32[np.ndarray, "part 84 84"], Float32[np.ndarray, "part actions"], Float64[np.ndarray, " part"]]:
        """Some decisions of one stage: relevance, Q-values and explained value, as in a :class:`Sight`."""
        one = self.stages[stage]
        attributor = seqxai.LRP(one.agent.network, composite=self.composite, ledger=False)
        return _explain(one, attributor, self.target, np.asarray(decisions, np.int64))[:3]


@dataclass(frozen=True)
class OwnContrast(Target):
    """Each sample's largest output minus its second largest, or minus the mean of the others.

    Attributes:
        mean: of the others, instead of the best of them.
    """

    mean: bool

    def combine(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`seqxai.targets.Target`."""
        best, rival = scores.topk(2, dim=1).indices.T.tolist()
        target = targets.Against(tuple(best)) if self.mean else seqxai.targets.Contrast(best, rival)
        return target.combine(scores)

    def __str__(self) -> str:
        return f"largest output against the {'mean of the others' if self.mean else 'second largest'}"


def evolve(
    run: Run,
    trajectory: Trajectory | None = None,
    *,
    on_policy: bool = False,
    decisions: int = 900,
    seed: int = 0,
    composite: str = "epsilon-gamma-box",
    target: str = "largest",
    quantile: float = 0.995,
    progress: Progress | None = None,
) -> Evolution:
    """Put the checkpoints of a training beside each other.

    Args:
        run: 2 .. 12 checkpoints; ``run.spread(6)`` picks some of many.
        trajectory: the states to look at; played by the best checkpoint of the run when None.
        on_policy: every checkpoint plays its own game instead, and explains that.
        decisions: how many are played.
        seed: decides every chance of what is played; the same for every checkpoint.
        composite: the rules of relevance propagation, by name.
        target: ``"largest"``: the Q-value of the action the checkpoint itself would take; ``"contrast"``: that minus its second
            largest; ``"contrast-mean"``: minus the mean of its others; ``"state-value"``: the value stream of dueling networks;
            ``"chosen"``: the action that was taken in the recorded game; or an action's name.
        quantile: the share of the pixels of the strongest checkpoint that stays below full colour.
        progress: told the number of decisions played so far.

    Returns:
        What can be explained decision by decision, drawn (:func:`rl.render_evolution`) and printed.

    Raises:
        InputError: too few or too many checkpoints, a trajectory of another game, or an unknown rule or target.
    """
    if not 2 <= len(run) <= STAGES_MAX:
        raise InputError(f"expected 2 .. {STAGES_MAX} checkpoints to compare, got {len(run)}; run.spread(6) picks six")
    if trajectory is not None and on_policy:
        raise InputError("with on_policy every checkpoint plays a game of its own; leave the trajectory out")
    if trajectory is not None:
        check_same_game(run, trajectory)
    quantile = _check_quantile(quantile)
    targets.check_target(target, run[0].facts.actions, run[0].load().network)
    seqxai.composites.ensure(composite)
    stages = tuple(_stages(run, trajectory, on_policy, whole_number("decisions", decisions), seed, progress))
    limit, q_range, balance = _measure(stages, composite, target, quantile)
    observation = torch.from_numpy(stages[-1].trajectory.observations(np.zeros(1, np.int64)))
    rules = seqxai.LRP(stages[-1].agent.network, composite=composite).rules(observation)
    return Evolution(stages, on_policy, composite, target, limit, quantile, q_range, balance, tuple(rules))


def check_same_game(run: Run, trajectory: Trajectory) -> None:
    """Refuse states that a training's agents were never asked about.

    Raises:
        InputError: another game, other actions, or no decision.
    """
    facts = run[0].facts
    if trajectory.game != facts.game or trajectory.actions != facts.actions:
        raise InputError(
            f"the trajectory is of {trajectory.game} ({' '.join(trajectory.actions)}), the training of {facts.game} "
            f"({' '.join(facts.actions)}); give a trajectory of the same game and actions"
        )
    if not len(trajectory):
        raise InputError("the trajectory is empty: there is no decision to explain")


def _check_quantile(quantile: Any) -> float:
    """A share above 0."""
    quantile = real_number("quantile", quantile)
    if not 0.0 < quantile <= 1.0:
        raise InputError(f"quantile should be above 0 and at most 1, got {shown(quantile)}")
    return quantile


def _stages(
    run: Run, trajectory: Trajectory | None, on_policy: bool, decisions: int, seed: int, progress: Progress | None
) -> Iterator[Stage]:
    """Load every checkpoint, and play what has to be played."""
    if trajectory is None and not on_policy:
        trajectory = record(run.best.load(), seed=seed, decisions=decisions, progress=progress)
    for number, checkpoint in enumerate(run):
        agent = checkpoint.load()
        own = trajectory
        if own is None:
            before = number * decisions
            told = None if progress is None else (lambda done, before=before: progress(before + done))
            own = record(agent, seed=seed, decisions=decisions, progress=told)
        yield Stage(checkpoint, agent, own)


def _decisions(stages: Sequence[Stage]) -> int:
    """Decisions every stage has."""
    return min(len(stage.trajectory) for stage in stages)


def _measure(
    stages: Sequence[Stage], composite: str, target: str, quantile: float
) -> tuple[float, tuple[float, float], float]:
    """Full colour, the range of the Q-values, and the balance, from decisions spread over the game."""
    count = _decisions(stages)
    rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))
    seen = list(_sights(stages, composite, target, rows, ledger=True))
    strength = np.abs(np.stack([sight.relevance for sight in seen], axis=1)).reshape(len(stages), -1)
    q_values = np.stack([sight.q_values for sight in seen])
    limit = float(np.quantile(strength, quantile, axis=1).max()) or float(strength.max()) or 1.0
    q_range = Q_ROOM * min(0.0, float(q_values.min())), Q_ROOM * max(0.0, float(q_values.max()))
    return limit, q_range, max(float(sight.balance.max()) for sight in seen)


def _sights(
    stages: Sequence[Stage], composite: str, target: str, rows: Int64[np.ndarray, " rows"], ledger: bool = False
) -> Iterator[Sight]:
    """Explain in batches, give one decision at a time."""
    attributors = [seqxai.LRP(stage.agent.network, composite=composite, ledger=ledger) for stage in stages]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        with one_thread():
            seen = [_explain(stage, lrp, target, part) for stage, lrp in zip(stages, attributors, strict=True)]
        for place, decision in enumerate(part):
            yield Sight(int(decision), *(np.stack([of_stage[kind][place] for of_stage in seen]) for kind in range(4)))


def _explain(
    stage: Stage, attributor: seqxai.LRP, target: str, rows: Int64[np.ndarray, " rows"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Relevance, Q-values, explained value and balance of some decisions."""
    observations = torch.from_numpy(stage.trajectory.observations(rows))
    attribution = attributor.attribute(observations, target=_target(stage, target, rows))
    relevance = attribution.relevance.sum(dim=1).numpy()
    balance = attribution.ledger.gap.abs().numpy() if attributor.keeps_ledger else np.full(len(rows), np.nan)
    return relevance, attribution.output.numpy(), attribution.explained.double().numpy(), balance


def _target(stage: Stage, target: str, rows: Int64[np.ndarray, " rows"]) -> Any:
    """What the propagation is asked for."""
    if target == "largest":
        return None
    if target in (targets.CONTRAST, targets.CONTRAST_MEAN):
        return OwnContrast(mean=target == targets.CONTRAST_MEAN)
    if target == targets.STATE_VALUE:
        return targets.state_value(stage.agent.network)
    if target == "chosen":
        return torch.from_numpy(stage.trajectory.chosen[rows])
    return torch.full((len(rows),), stage.agent.actions.index(target.upper()))


class Tally:
    """Sums over decisions, from which the table of an evolution is made.

    Args:
        evolution: whose decisions are added.
    """

    def __init__(self, evolution: Evolution) -> None:
        self._evolution = evolution
        self._sums = np.zeros((4, len(evolution.stages)))
        self._count = 0

    def add(self, sight: Sight) -> None:
        """One decision."""
        choices = sight.choices
        self._sums += [
            np.abs(sight.q_values).mean(axis=1),
            np.abs(sight.relevance).sum(axis=(1, 2)),
            sight.explained,
            choices == choices[-1],
        ]
        self._count += 1

    def table(self) -> list[dict[str, Any]]:
        """One row per checkpoint.

        Returns:
            ``agent_steps``; ``score``, the mean over full games, None where none was measured; ``mean_absolute_q`` over
            actions and decisions; ``mean_relevance``, the sum of absolute relevance over the pixels; ``mean_explained``, the
            explained value; ``agreement``, the share of decisions in which it would act like the last checkpoint, None where each
            looks at a game of its own, which then has ``points``.
        """
        means = self._sums / max(1, self._count)
        rows = []
        for stage, (q_value, relevance, explained, agreement) in zip(self._evolution.stages, means.T.tolist(), strict=True):
            rows.append(
                {
                    "agent_steps": stage.checkpoint.agent_steps,
                    "score": stage.checkpoint.mean_score,
                    "mean_absolute_q": q_value,
                    "mean_relevance": relevance,
                    "mean_explained": explained,
                    "agreement": None if self._evolution.on_policy else agreement,
                }
            )
            if self._evolution.on_policy:
                rows[-1]["points"] = float(stage.trajectory.rewards.sum())
        return rows
