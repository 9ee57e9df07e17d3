"""The walk back through a plain recurrent layer."""

from __future__ import annotations

import torch

from seqxai.rules.recurrent.cell import Arrived, Cell, Left, quotient


class RNN(Cell):
    """``h' = tanh(W x + U h + b)``, or with ReLU: one sum, divided once; the activation passes relevance through."""

    def walk(self, arrived: Arrived, booking: bool) -> Left:
        """See :class:`Cell`."""
        rows = self.groups[0][0].shape[0]
        z = self.layout.from_input(self.w(0, rows), self.bias("both", 0, rows)).add_(self.layout.from_state(self.u(0, rows)))
        layer = quotient(z, self.rules.layer)
        enter = self.by_step(self.held(layer.inverse, 0.0))
        padded = self.layout.padded
        waiting = None if padded is None else self.by_step(padded.to(z.dtype))
        out = None if arrived.output is None else self.by_step(arrived.output)
        hidden, u = self.by_step(self.layout.before), self.recurrent_weights(0, rows)
        relevance = self.one(torch.zeros_like(self.layout.before[:, 0]) if arrived.hidden is None else arrived.hidden)
        s, at_steps = [], []
        for t in range(self.layout.steps - 1, -1, -1):
            relevance = relevance if out is None else relevance + out[t]
            at_steps.append(relevance)
            s.append(relevance * enter[t])
            past = torch.matmul(s[-1], u).mul_(hidden[t])
            relevance = past if waiting is None else past.addcmul_(waiting[t], relevance)
        left = Left(self.all_steps(s[::-1]), self.w(0, rows), (self.final(relevance),))
        if booking:
            left.book("stabilizer", self.all_steps(at_steps[::-1]) * self.held(layer.absorbed, 0.0))
            bias = self.shaped(self.bias("both", 0, rows))
            if bias is not None:
                left.book("bias", left.coefficients * bias)
        return left
