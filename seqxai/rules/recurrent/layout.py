"""The arrays of a recurrent call in one layout: (direction, step in the order of processing, sample, feature)."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from seqxai.trace.recurrent import Call


class Layout:
    """Between the arrays of a recurrent call and (D, T, B, ·), in which step 0 is what a direction reads first.

    The shorter sequences of a packed call are padded; at a padded step nothing happens, the states stay as they are.

    Args:
        call: a call of one layer.
        output: what it returned, in its own layout.

    Attributes:
        steps, batch, directions: T, B, D.
    """

    def __init__(self, call: Call, output: Tensor) -> None:
        self.call = call
        self.directions = call.directions
        if call.single:
            self.steps, self.batch = 1, call.x.shape[0] if call.x.dim() > 1 else 1
        elif call.batch_sizes is not None:
            self.steps, self.batch = len(call.batch_sizes), int(call.batch_sizes[0])
        else:
            self.batch, self.steps = call.x.shape[:2] if call.batch_first else (call.x.shape[1], call.x.shape[0])
        self.output = output

    # ---- steps ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def there(self) -> Tensor | None:
        """(T, B): where a packed sequence has steps; ``None`` if it has them everywhere."""
        sizes = self.call.batch_sizes
        if sizes is None or int(sizes[-1]) == self.batch:
            return None
        return (torch.arange(self.batch) < sizes.cpu()[:, None]).to(self.call.x.device)

    @cached_property
    def padded(self) -> Tensor | None:
        """(D, T, B, 1), in the order of processing: where nothing happens."""
        if self.there is None:
            return None
        missing = ~self.there
        return torch.stack([missing, missing.flip(0)][: self.directions]).unsqueeze(-1)

    def time_major(self, tensor: Tensor) -> Tensor:
        """(T, B, ·) from the call's own layout."""
        if self.call.single:
            return tensor.reshape(1, self.batch, tensor.shape[-1])
        if self.call.batch_sizes is None:
            return tensor.transpose(0, 1) if self.call.batch_first else tensor
        if self.there is None:
            return tensor.unflatten(0, (self.steps, self.batch))
        found = tensor.new_zeros(self.steps, self.batch, tensor.shape[-1])
        found[self.there] = tensor
        return found

    def own(self, tensor: Tensor) -> Tensor:
        """The call's own layout from (T, B, ·)."""
        if self.call.single:
            return tensor.reshape(*self.call.x.shape[:-1], tensor.shape[-1])
        if self.call.batch_sizes is None:
            return tensor.transpose(0, 1) if self.call.batch_first else tensor
        return tensor.reshape(-1, tensor.shape[-1]) if self.there is None else tensor[self.there]

    # ---- directions ------------------------------------------------------------------------------------------------------------

    def apart(self, tensor: Tensor) -> Tensor:
        """(D, T, B, K) in the order of processing, from (T, B, D K)."""
        if self.directions == 1:
            return tensor.unsqueeze(0)
        forward, backward = tensor.chunk(2, -1)
        return torch.stack((forward, backward.flip(0)))

    def together(self, tensor: Tensor) -> Tensor:
        """(T, B, D K), from (D, T, B, K)."""
        if self.directions == 1:
            return tensor[0]
        return torch.cat((tensor[0], tensor[1].flip(0)), -1)

    def states(self, state: Tensor) -> Tensor:
        """(D, B, ·) from an initial or a final state."""
        return state.reshape(self.directions, self.batch, state.shape[-1])

    @cached_property
    def before(self) -> Tensor:
        """(D, T, B, P): the hidden state each step starts from."""
        hidden = self.apart(self.time_major(self.output))
        initial = self.states(self.call.states[0]).unsqueeze(1)
        if self.padded is not None:
            hidden = torch.where(self.padded, initial, hidden)
        return torch.cat((initial, hidden[:, :-1]), 1)

    @cached_property
    def joined(self) -> Tensor:
        """(D, T, B, F + P): what each step reads, its input and the hidden state before it."""
        x = self.x.unsqueeze(0) if self.directions == 1 else torch.stack((self.x, self.x.flip(0)))
        return torch.cat((x, self.before), -1)

    @cached_property
    def x(self) -> Tensor:
        """(T, B, F)."""
        return self.time_major(self.call.x)

    def product(self, weights: list[Tensor], bias: list[Tensor | None], columns: slice = slice(None)) -> Tensor:
        """``W x + U h + b`` of all steps in one product a direction, (D, T, B, K).

        Args:
            weights: a matrix (K, F + P) for each direction.
            bias: a vector (K,) for each direction.
            columns: a part of what the steps read.
        """
        rows = self.joined.flatten(1, 2)[..., columns]
        found = rows.new_empty(*rows.shape[:2], weights[0].shape[0])
        for direction, (weight, shift) in enumerate(zip(weights, bias, strict=True)):
            if shift is None:
                torch.mm(rows[direction], weight.T, out=found[direction])
            else:
                torch.addmm(shift, rows[direction], weight.T, out=found[direction])
        return found.unflatten(1, (self.steps, self.batch))

    def to_input(self, s: Tensor, weights: list[Tensor]) -> Tensor:
        """``x Wᵀ s`` of all steps and directions in one product, in the call's own layout.

        Args:
            s: coefficients, (D, T, B, K).
            weights: a matrix (K, F) for each direction.
        """
        return self.own(self.at_input(s, weights))

    def at_input(self, s: Tensor, weights: list[Tensor]) -> Tensor:
        """The same, (T, B, F)."""
        both = weights[0] if self.directions == 1 else torch.cat(weights)
        return (self.together(s) @ both).mul_(self.x)
