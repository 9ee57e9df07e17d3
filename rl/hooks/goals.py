"""What a user of the hooks asks to have explained: checked against the network, before an action is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from rl.checks import shown
from rl.targets import CONTRAST, CONTRAST_MEAN, KINDS, STATE_VALUE, Decision, label
from seqxai.errors import InputError
from seqxai.targets import Step, Target, Unit


@dataclass(frozen=True)
class Goal:
    """What a user asked for, checked, before an action is known.

    Attributes:
        asked: a kind, an action's name, or a target object.
        names: of the actions.
        value_path: the module that gives the state's value, for ``"state-value"``.
        quantity: what the network's outputs are called, such as ``Q``.
    """

    asked: Any
    names: tuple[str, ...]
    value_path: str | None = None
    quantity: str = "Q"

    @property
    def named(self) -> int | None:
        """The action asked for by its name."""
        return action_index(self.asked, self.names) if isinstance(self.asked, str) and self.asked not in KINDS else None

    def target(self, actions: tuple[int, ...], recurrent: bool) -> Target:
        """The target for the actions taken, one per sample."""
        if isinstance(self.asked, Target):
            return self.asked
        if self.asked == STATE_VALUE:
            return Unit(str(self.value_path), (-1, 0) if recurrent else 0)
        named = self.named
        kind = "chosen" if named is not None else self.asked
        decision = Decision(kind, actions if named is None else (named,) * len(actions))
        return Step(-1, decision) if recurrent else decision

    def label(self, action: int, values: Any) -> str:
        """The explained value in words, such as ``Q(LEFT) - Q(NOOP)``."""
        if isinstance(self.asked, Target):
            return str(self.asked)
        named = self.named
        subject = int(values.argmax()) if self.asked == "largest" else action if named is None else named
        return label(self.asked, self.names, subject, values, self.quantity)


def action_index(name: str, names: tuple[str, ...]) -> int | None:
    """The place of an action's name, whatever its case; ``None`` if there is none."""
    found = [i for i, known in enumerate(names) if known.lower() == name.lower()]
    return found[0] if found else None


def ensure(asked: Any, names: tuple[str, ...], network: Any, quantity: str) -> Goal:
    """Check what a user asked for.

    Args:
        asked: one of :data:`rl.targets.KINDS`, an action's name, or a :class:`seqxai.targets.Target`.
        names: of the actions.
        network: whose state may be valued: by the module its attribute ``state_value`` names, or by one called ``value``.
        quantity: what its outputs are called.

    Raises:
        InputError: names what is possible.
    """
    if isinstance(asked, Target):
        if asked.many:
            raise InputError(f"One decision has one target, got {asked}; explain the others by a second wrapper with another key.")
        return Goal(asked, names, quantity=quantity)
    if not isinstance(asked, str) or (asked not in KINDS and action_index(asked, names) is None):
        raise InputError(
            f"Unknown target {shown(asked)}: expected one of {', '.join((*KINDS, *names))}, or an object of seqxai.targets."
        )
    if asked in (CONTRAST, CONTRAST_MEAN) and len(names) < 2:
        raise InputError(f"The target {asked!r} compares actions, but there is only {names[0]}; choose 'chosen'.")
    if asked != STATE_VALUE:
        return Goal(asked, names, quantity=quantity)
    path = getattr(network, "state_value", None)
    if not isinstance(path, str):
        path = _value_module(network)
    if path is None:
        raise InputError(
            f"The target {STATE_VALUE!r} needs a dueling network with a module named 'value'; name the one of yours by its path: "
            "target=seqxai.targets.Unit('path', 0)."
        )
    return Goal(asked, names, path, quantity)


def _value_module(network: Any) -> str | None:
    """Path of the module that gives the state's value: one called ``value`` with one output.  Attention has a ``value``, too."""
    if not isinstance(network, nn.Module):
        return None
    for path, module in network.named_modules():
        if path.split(".")[-1] == "value" and _outputs(module) in (1, None):
            return path
    return None


def _outputs(module: nn.Module) -> int | None:
    """Width of the last dense layer in a module; None where there is none."""
    widths = [layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear)]
    return widths[-1] if widths else None
