"""Somebody's network as the explainer needs it: an observation in, one row of Q-values or logits out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from rl.checks import shown
from seqxai.errors import InputError

Convert = Callable[[Any], Any]


class DecisionNetwork(nn.Module):
    """From observations to one value per action, with what a user does before and after the network in the recorded run.

    It keeps the user's module paths, so that composites and targets name modules as in the network itself.

    Args:
        network: an ``nn.Module``, or any callable.
        actions: number of actions.
        preprocess: what is done to a batch of observations before the network, in torch operations.
        output: picks the values from what the network returns.
        add_batch: whether the network takes a batch of observations.
        recurrent: whether it is called ``network(observations, state)`` and returns ``(values, state)``.
    """

    def __init__(
        self,
        network: Any,
        actions: int,
        preprocess: Convert | None = None,
        output: Convert | None = None,
        *,
        add_batch: bool = True,
        recurrent: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.actions = actions
        self.preprocess = preprocess
        self.output = output
        self.add_batch = add_batch
        self.recurrent = recurrent
        self.training = getattr(network, "training", False)

    def named_modules(self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
        """The network's own modules under their own names, after this one."""
        yield prefix, self
        if isinstance(self.network, nn.Module):
            yield from self.network.named_modules(memo, prefix, remove_duplicate)

    @property
    def like(self) -> Tensor:
        """A tensor whose type and device the network's input should have."""
        if isinstance(self.network, nn.Module):
            for parameter in self.network.parameters():
                if parameter.dtype.is_floating_point:
                    return parameter
        return torch.empty(0)

    def fingerprint(self, *, buffers: bool = True) -> tuple[float, ...]:
        """Changes with a weight or the mode; empty for a callable, whose weights cannot be seen.

        Args:
            buffers: whether they count, too; running means and counters change by playing alone.

        A write through ``.data``, as in averaged target networks, is not counted by PyTorch; a look at each weight's first number
        finds it at hardly any cost.
        """
        if not isinstance(self.network, nn.Module):
            return ()
        kept = self.network.buffers() if buffers else ()
        weights = [w for w in (*self.network.parameters(), *kept) if w.numel()]
        counted = [n for w in weights if not w.is_inference() for n in (w.data_ptr(), w._version)]
        firsts = [float(w.detach().view(-1)[0]) if w.is_contiguous() and w.device.type == "cpu" else 0.0 for w in weights]
        return (*counted, *firsts, *(m.training for m in self.network.modules()))

    @contextmanager
    def buffers_kept(self) -> Iterator[None]:
        """What a run in training mode writes into buffers, such as running means, is undone."""
        saved = [(b, b.clone()) for b in self.buffers()] if any(m.training for m in self.modules()) else []
        try:
            yield
        finally:
            for buffer, content in saved:
                if not torch.equal(buffer, content):
                    buffer.copy_(content)

    def forward(self, observations: Tensor, state: Any = None) -> Tensor:
        """Values of every action, (batch, actions), or (batch, steps, actions) of a recurrent network."""
        return self.run(observations, state)[0]

    def run(self, observations: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The values, and the state a recurrent network leaves behind."""
        prepared: Any = observations if self.add_batch else observations[0]
        if self.preprocess is not None:
            prepared = self.preprocess(prepared)
            if not isinstance(prepared, Tensor):
                raise InputError(
                    f"Expected preprocess to return a torch tensor, got {type(prepared).__name__}; write it with torch operations "
                    "(x / 255, x.permute(0, 3, 1, 2)), so that relevance can be followed through it."
                )
        if not self.recurrent:
            values = self.network(prepared)
        else:
            values, state = self._pair(self.network(prepared, state))
        return self._checked(values if self.output is None else self.output(values), observations), state

    def _pair(self, returned: Any) -> tuple[Any, Any]:
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise InputError(
                f"A recurrent network is called with (observations, state) and must return (values, state), got {_told(returned)}; "
                "wrap it in a module that does."
            )
        return returned

    def _checked(self, values: Any, observations: Tensor) -> Tensor:
        """The values with their batch dimension, or one clear sentence about what came instead."""
        if not isinstance(values, Tensor):
            raise InputError(
                f"Expected Q-values or logits as one tensor of shape {self._wanted}, got {_told(values)}; {self._remedy(values)}."
            )
        lead = tuple(observations.shape[: 2 if self.recurrent else 1])
        if not self.add_batch and values.dim() == len(lead):
            values = values.unsqueeze(0)
        if values.dim() != len(lead) + 1 or tuple(values.shape[:-1]) != lead:
            raise InputError(
                f"Expected Q-values or logits of shape {self._wanted}, got {tuple(values.shape)} for observations of shape "
                f"{tuple(observations.shape)}; reduce a distributional head to its expectation and name the batch first with "
                "output=..., for example output=lambda quantiles: quantiles.mean(1)."
            )
        if values.shape[-1] != self.actions:
            raise InputError(
                f"The network has {values.shape[-1]} outputs, but the environment has {self.actions} actions; expected one output per "
                "action: give the network that was made for this environment."
            )
        return values

    @property
    def _wanted(self) -> str:
        return f"(batch, steps, {self.actions})" if self.recurrent else f"(batch, {self.actions})"

    def _remedy(self, values: Any) -> str:
        """What to pass for a tuple, a dictionary or a distribution."""
        if isinstance(values, torch.distributions.Distribution):
            return "pass the module that computes the scores (logits) it is made from"
        items: dict[Any, Any] = dict(values) if isinstance(values, Mapping) else {}
        items = dict(enumerate(values)) if isinstance(values, (tuple, list)) else items
        fitting = [k for k, v in items.items() if isinstance(v, Tensor) and v.dim() and v.shape[-1] == self.actions]
        if fitting:
            return f"pick the values with output=lambda returned: returned[{fitting[0]!r}]"
        return "pick or compute the values with output=..., a function of what the network returns"


def check_network(network: Any) -> None:
    """Refuse what is no network, and one that has no weights yet.

    Raises:
        InputError: with what to pass.
    """
    if hasattr(network, "policy") and hasattr(network, "predict") and hasattr(network, "learn"):
        raise InputError(
            f"Expected a network, got the Stable-Baselines3 model {type(network).__name__}; pass rl.sb3.decision_network(model)."
        )
    if not callable(network):
        raise InputError(f"Expected a network (an nn.Module, or a callable on tensors), got {shown(network)}.")
    if isinstance(network, nn.Module) and any(isinstance(p, UninitializedParameter) for p in network.parameters()):
        raise InputError("The network has lazy layers without weights yet; run it once on an observation before it is explained.")


def _told(value: Any) -> str:
    """A returned value in words, with the shapes of its tensors."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, torch.distributions.Distribution):
        return f"the distribution {type(value).__name__}"
    if isinstance(value, Mapping):
        return f"a dictionary with the keys {', '.join(map(repr, value))}"
    if isinstance(value, (tuple, list)):
        parts = ", ".join(f"Tensor {tuple(v.shape)}" if isinstance(v, Tensor) else type(v).__name__ for v in value)
        return f"a {type(value).__name__} of ({parts})"
    return type(value).__name__
