"""What is explained about a decision: the value of an action, a contrast of actions, or the value of the state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from rl.checks import shown
from seqxai.errors import InputError
from seqxai.targets import Target, Unit

CONTRAST, CONTRAST_MEAN, STATE_VALUE = "contrast", "contrast-mean", "state-value"
KINDS = ("chosen", "largest", CONTRAST, CONTRAST_MEAN, STATE_VALUE)

IN_WORDS = {
    "chosen": "the action taken",
    "largest": "the largest Q-value",
    CONTRAST: "the action taken against the next best",
    CONTRAST_MEAN: "the action taken against the mean of the others",
    STATE_VALUE: "the value of the state",
}


@dataclass(frozen=True)
class Decision(Target):
    """A combination of the values of the actions, one per sample.

    Attributes:
        kind: ``"chosen"``: Q(a) of the action taken; ``"largest"``: the largest; ``"contrast"``: Q(a) minus the best of the
            others; ``"contrast-mean"``: Q(a) minus the mean of the others.
        actions: the action taken (or named), one per sample.
    """

    kind: str
    actions: tuple[int, ...]

    def weights(self, scores: Tensor) -> Tensor:
        """How often each value counts, (batch, actions)."""
        subjects = torch.tensor(self.actions, dtype=torch.long, device=scores.device)
        if self.kind == "largest":
            subjects = scores.argmax(1)
        rows = torch.arange(len(subjects), device=scores.device)
        weights = torch.zeros_like(scores)
        if self.kind == CONTRAST_MEAN:
            weights -= 1.0 / (scores.shape[1] - 1)
        if self.kind == CONTRAST:
            others = scores.clone()
            others[rows, subjects] = -torch.inf
            weights[rows, others.argmax(1)] = -1.0
        weights[rows, subjects] = 1.0
        return weights

    def combine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`seqxai.targets.Target`."""
        relevance = self.weights(scores) * scores
        return relevance.sum(1), relevance

    def __str__(self) -> str:
        return self.kind


Against = partial(Decision, CONTRAST_MEAN)
"""Each sample's action against the mean of the others: ``Against(actions)``."""


def in_words(target: str, quantity: str = "Q") -> str:
    """What is explained, such as ``"the largest Q-value"`` or ``"logit(LEFT)"``."""
    words = IN_WORDS.get(target)
    if words is None:
        return f"{quantity}({target.upper()})"
    return words if quantity == "Q" else words.replace("Q-value", quantity)


def check_target(target: Any, actions: tuple[str, ...], network: nn.Module | None = None) -> None:
    """Refuse what is neither a kind of target nor one of the actions, and what this network cannot answer.

    Args:
        target: one of `KINDS`, or an action's name in either case.
        actions: names of the agent's actions.
        network: whose state value may be asked for; not looked at when None.

    Raises:
        InputError: names what is possible.
    """
    if not isinstance(target, str) or (target not in KINDS and target.upper() not in actions):
        raise InputError(f"unknown target {shown(target)}: expected one of {', '.join((*KINDS, *actions))}")
    if target in (CONTRAST, CONTRAST_MEAN) and len(actions) < 2:
        raise InputError(f"the target {target!r} compares actions, but there is only {actions[0]}; choose 'chosen'")
    if target == STATE_VALUE and network is not None:
        state_value(network)


def state_value(network: nn.Module) -> Unit:
    """The target that stands for the value stream of a dueling network.

    Raises:
        InputError: the network values actions only.
    """
    path = getattr(network, "state_value", None)
    if not isinstance(path, str):
        raise InputError(
            f"the target 'state-value' needs a dueling network, which values the state apart from the actions; this one is "
            f"a {type(network).__name__}; choose chosen, largest, contrast, contrast-mean or an action"
        )
    return Unit(path, 0)


def subjects_of(
    target: str, actions: tuple[str, ...], chosen: Int64[np.ndarray, " decisions"], q_values: Float32[np.ndarray, "decisions actions"]
) -> Int64[np.ndarray, " decisions"]:
    """For every decision the action that is explained; the one taken where the state is."""
    if target == "largest":
        return q_values.argmax(axis=1)
    return chosen if target in KINDS else np.full(len(chosen), actions.index(target.upper()))


def runners_up(
    q_values: Float[np.ndarray, "decisions actions"], subjects: Int64[np.ndarray, " decisions"]
) -> Int64[np.ndarray, " decisions"]:
    """The best action beside the given one."""
    others = q_values.copy()
    others[np.arange(len(others)), subjects] = -np.inf
    return others.argmax(axis=1)


def label(
    target: str, actions: tuple[str, ...], subject: int, q_values: Float[np.ndarray, " actions"], quantity: str = "Q"
) -> str:
    """The explained value of one decision in words, such as ``Q(LEFT) - Q(NOOP)``.

    Args:
        target: one of `KINDS`, or an action's name.
        actions: names of the actions.
        subject: the action that is explained.
        q_values: of all actions, or their logits.
        quantity: what these are called.
    """
    if target == STATE_VALUE:
        return "V(state)"
    text = f"{quantity}({actions[subject]})"
    if target == CONTRAST:
        return f"{text} - {quantity}({actions[int(runners_up(q_values[None], np.array([subject]))[0])]})"
    return f"{text} - mean of the others" if target == CONTRAST_MEAN else text
