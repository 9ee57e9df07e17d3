"""Explains decisions of anyone's network: observations as an environment gives them, in and out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

import seqxai
from rl.checks import shown
from rl.hooks import goals
from rl.hooks.explanation import Explanation, Found, Pending
from rl.hooks.network import Convert, DecisionNetwork, check_network
from seqxai import composites
from seqxai.composites import Composite
from seqxai.errors import InputError, SeqxaiError

DRAWS = 1e-3
"""Values of two runs that are further apart than this share of the largest are no rounding."""


class Explainer:
    """Relevance of what a network saw when it decided.

    The network gets observations as floating-point tensors of its parameters' type, on their device, with a batch dimension
    in front.  Where the observation space is bounded, its bounds are the box of z^B.

    Args:
        network: maps observations to Q-values or logits; an ``nn.Module``, or a callable on tensors.
        observation_space: of one environment; a ``Box``.
        action_space: of one environment; ``Discrete``.
        target: ``"chosen"``, ``"largest"``, ``"contrast"`` (with the runner-up), ``"contrast-mean"`` (with the mean of the
            others), ``"state-value"`` (of a dueling network), an action's name, or an object of :mod:`seqxai.targets`.
        composite: a name or an object of :mod:`seqxai.composites`; by default ``"epsilon-gamma-box"`` for uint8 images, where
            black pixels would otherwise get nothing, and ``"epsilon"`` for everything else.
        preprocess: what happens to a batch of observations before the network, in torch operations; it is part of the recorded run,
            so that relevance arrives at the environment's own observation.
        output: picks the values from what the network returns.
        action_names: one per action; the numbers by default.
        quantity: what the network's outputs are called in captions.
        add_batch: ``False`` for a network that takes a single observation without a batch dimension.
        recurrent: whether the network is called ``network(observations, state)`` with (batch, steps, ...) and returns
            ``(values, state)``.

    Raises:
        SeqxaiError: the network, the spaces or an option does not fit; with what to pass.
    """

    def __init__(
        self,
        network: Any,
        observation_space: gym.Space,
        action_space: gym.Space,
        *,
        target: Any = "chosen",
        composite: str | Composite | None = None,
        preprocess: Convert | None = None,
        output: Convert | None = None,
        action_names: tuple[str, ...] | list[str] | None = None,
        quantity: str = "Q",
        add_batch: bool = True,
        recurrent: bool = False,
    ) -> None:
        check_network(network)
        self.space = _box(observation_space)
        self.first_action, self.action_names = _actions(action_space, action_names)
        self.network = DecisionNetwork(
            network, len(self.action_names), preprocess, output, add_batch=add_batch, recurrent=recurrent
        )
        self.goal = goals.ensure(target, self.action_names, network, quantity)
        self.composite = self._composite(composite)
        self.recurrent = recurrent
        self._modes: tuple[bool, ...] | None = None
        self._warned = False
        self._try()
        self._attributor = seqxai.LRP(self.network, composite=self.composite, ledger=True)

    # ---- explaining ----------------------------------------------------------------------------------------------------------------

    def pending(self, observations: np.ndarray, actions: tuple[int, ...], state: Any = None, *, lazy: bool = False) -> list[Explanation]:
        """Explanations of a batch of decisions, in one pass.

        Args:
            observations: (batch, ...), not written to any more; of a recurrent network (1, steps, ...).
            actions: the outputs chosen, one per decision.
            state: a recurrent network's state before the steps.
            lazy: compute when first looked at.
        """
        pending = Pending(self, observations, actions, state, self.network.fingerprint() if lazy else None)
        explanations = [Explanation(pending, row) for row in range(len(actions))]
        if not lazy:
            _ = pending.found
        return explanations

    def explain(self, observation: Any, action: Any = None) -> Explanation:
        """Explain a single observation, outside of any loop.

        Args:
            observation: as the environment gives it.
            action: the environment's action; the one with the largest value by default.
        """
        if self.recurrent:
            raise InputError("A recurrent network decides on a history, not on one observation; use ExplainedEnv(..., recurrent=...).")
        batch = self.observed(observation)[None]
        if action is None:
            chosen = int(self.values(batch)[0].argmax())
        else:
            chosen = self.index(action)
        return self.pending(batch, (chosen,))[0]

    def attribute(self, observations: np.ndarray, actions: tuple[int, ...], state: Any = None) -> Found:
        """The numbers; see :meth:`pending`."""
        self._warn_of_draws(observations, state)
        arguments = (state,) if self.recurrent else ()
        attribution = self._attributor.attribute(self.tensor(observations), self.goal.target(actions, self.recurrent), arguments)
        ledger = attribution.ledger.total()
        values = attribution.output[:, -1] if self.recurrent else attribution.output
        return Found(
            relevance=_array(attribution.relevance),
            explained=_array(attribution.explained.double()),
            values=_array(values),
            ledger={name: _array(entry) for name, entry in ledger.items()},
            method=attribution.method,
        )

    def values(self, observations: np.ndarray) -> np.ndarray:
        """The network's output for a batch, without leaving a trace on it."""
        return _array(seqxai.capture(self.network, self.tensor(observations)).output)

    def advance(self, observation: np.ndarray, state: Any) -> Any:
        """A recurrent network's state after one more observation; random states and buffers are kept."""
        with self._without_trace():
            return self.network.run(self.tensor(observation[None, None]), state)[1]

    @contextmanager
    def _without_trace(self) -> Iterator[None]:
        """Run the network for ourselves: no gradient, and random states and buffers as before."""
        devices = [self.network.like.device] if self.network.like.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices=devices), self.network.buffers_kept():
            yield

    def _warn_of_draws(self, observations: np.ndarray, state: Any) -> None:
        """Told once: a network that draws random numbers decided by other ones than those it is explained with.

        Two runs tell, whatever draws; they are made again only when a module changed its mode.
        """
        modes = tuple(module.training for module in self.network.modules())
        if modes == self._modes:
            return
        self._modes, batch = modes, self.tensor(observations)
        values = []
        with self._without_trace():
            for _ in range(2):
                with self.network.buffers_kept():  # running means are no draw
                    values.append(self.network.run(batch, state)[0].double())
        one, other = values
        if not self._warned and not torch.allclose(one, other, rtol=DRAWS, atol=DRAWS * float(one.abs().max()), equal_nan=True):
            self._warned = True
            warnings.warn(
                "Two runs of the network on the same observation give different values: it draws random numbers (dropout in training "
                "mode, noisy layers), so each explanation is of another draw than the one that acted. Call network.eval(), or "
                "draw the noise outside of forward, into buffers.",
                stacklevel=8,
            )

    # ---- conversions ---------------------------------------------------------------------------------------------------------------

    def observed(self, observation: Any, batch: tuple[int, ...] = ()) -> np.ndarray:
        """A copy of what an environment returned, since it may write into it again.

        Raises:
            InputError: of another shape than the space says.
        """
        if isinstance(observation, Tensor):
            observation = observation.detach().cpu().numpy()
        array = np.array(observation)
        if array.shape != (*batch, *self.space.shape):
            raise InputError(
                f"Expected an observation of shape {(*batch, *self.space.shape)}, as the observation space says, got {array.shape}; "
                "put ExplainedEnv around the environment whose observations the network sees."
            )
        return array

    def tensor(self, observations: np.ndarray) -> Tensor:
        """A batch for the network: floating point, of its type and on its device."""
        like = self.network.like
        return torch.from_numpy(np.ascontiguousarray(observations)).to(device=like.device, dtype=like.dtype)

    def index(self, action: Any) -> int:
        """Which output belongs to an environment's action.

        Raises:
            InputError: it is none of the actions.
        """
        try:
            index = int(action) - self.first_action
        except (TypeError, ValueError):
            raise InputError(f"Expected one discrete action, got {shown(action)}.") from None
        if not 0 <= index < len(self.action_names):
            last = self.first_action + len(self.action_names) - 1
            raise InputError(f"Expected an action from {self.first_action} to {last}, got {shown(action)}.")
        return index

    # ---- setting up ----------------------------------------------------------------------------------------------------------------

    @property
    def pixels(self) -> bool:
        """Whether the observation is a picture in bytes, or a stack of them."""
        return self.space.dtype == np.uint8 and len(self.space.shape) >= 2

    def _composite(self, asked: str | Composite | None) -> Composite:
        """The composite; where it uses z^B by name, with the observation space's bounds as its box."""
        name = ("epsilon-gamma-box" if self.pixels else "epsilon") if asked is None else asked
        boxed = {"epsilon-gamma-box": composites.EpsilonGammaBox, "deep-taylor": composites.DeepTaylor}
        if not isinstance(name, str) or name not in boxed:
            return composites.ensure(name)
        low, high = self.space.low, self.space.high
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise InputError(
                f"The composite {name!r} needs the bounds of the observation, but its space has none (infinite); use composite='epsilon', "
                "or composites.EpsilonGammaBox(low=..., high=...)."
            )
        if (low == low.flat[0]).all() and (high == high.flat[0]).all():
            return boxed[name](float(low.flat[0]), float(high.flat[0]))
        like = self.network.like
        return boxed[name](*(torch.as_tensor(bound).to(like.device, like.dtype) for bound in (low, high)))

    def _try(self) -> None:
        """Run the network once, so that what does not fit is told here and not in the middle of a game."""
        shape = (1, 1) if self.recurrent else (1,)
        batch = np.zeros((*shape, *self.space.shape), self.space.dtype)
        arguments = (None,) if self.recurrent else ()
        try:
            seqxai.capture(self.network, self.tensor(batch), arguments, lenient=True)
        except SeqxaiError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if self.recurrent:
                raise InputError(
                    "A recurrent network is called with (observations, state), here with observations of shape "
                    f"{batch.shape} (batch, steps, ...) and the state None, and this one fails: {reason.rstrip('.')}; wrap it in a module "
                    "that takes these."
                ) from error
            raise InputError(
                f"The network does not take the environment's observations, which arrive as a {str(self.network.like.dtype)[6:]} tensor of "
                f"shape {batch.shape}: {reason.rstrip('.')}; say with preprocess=... what happens to an observation before the network."
            ) from error
        seqxai.capture(self.network, self.tensor(batch), arguments)


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16


def _box(space: gym.Space) -> gym.spaces.Box:
    """The observation space, if relevance can have its shape.

    Raises:
        InputError: anything but a Box with at least one number.
    """
    if isinstance(space, gym.spaces.Box):
        if space.shape and int(np.prod(space.shape)):
            return space
        raise InputError(f"Expected observations with at least one number, got the shape {space.shape}.")
    raise InputError(
        f"Expected observations that are arrays (a Box space), got {type(space).__name__}; put gymnasium.wrappers.FlattenObservation "
        "around the environment first."
    )


def _actions(space: gym.Space, names: Any) -> tuple[int, tuple[str, ...]]:
    """The first action's number and the names of all.

    Raises:
        InputError: actions that are not discrete, or another number of names.
    """
    if not isinstance(space, gym.spaces.Discrete):
        kind = "continuous actions" if isinstance(space, gym.spaces.Box) else f"{type(space).__name__} actions"
        raise InputError(
            f"Expected an environment with discrete actions, whose values a network compares, got {kind} ({space}); explain a network with "
            "other outputs directly, with seqxai.LRP(network)."
        )
    first, count = int(space.start), int(space.n)
    if names is None:
        return first, tuple(str(first + i) for i in range(count))
    if isinstance(names, str) or len(names) != count:
        raise InputError(f"Expected {count} action names, one for each action, got {shown(names)}.")
    return first, tuple(map(str, names))
