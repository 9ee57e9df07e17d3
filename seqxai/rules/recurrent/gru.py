"""The walk back through a GRU layer."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from seqxai.rules.product import Shares
from seqxai.rules.recurrent.cell import Arrived, Cell, Left, Quotient, quotient


class GRU(Cell):
    """``n = tanh(W_n x + b + r (U_n h + b'))``, ``h' = (1 - z) n + z h``, rows in the order r, z, n.

    Our derivation, as none is published: gates are weights where the signal takes all, so the new state is a sum of ``(1 - z) n`` and
    ``z h``, which is what the past receives, and the candidate is one sum, divided once, in which r scales ``U_n h + b'``.
    """

    @property
    def size(self) -> int:
        """Units H."""
        return self.groups[0][0].shape[0] // 3

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pre-activations of r and z together, ``W_n x + b``, ``U_n h + b'``, and r and z opened together; (D, T, B, ·)."""
        h = self.size
        from_x = self.layout.from_input(self.w(0, 3 * h), self.bias("input", 0, 3 * h))
        from_h = self.layout.from_state(self.u(0, 3 * h))
        bias = self.shaped(self.bias("state", 0, 3 * h))
        from_h = from_h if bias is None else from_h + bias
        gates = from_x[..., : 2 * h] + from_h[..., : 2 * h]
        return gates, from_x[..., 2 * h :], from_h[..., 2 * h :], torch.sigmoid(gates)

    @cached_property
    def hidden(self) -> tuple[Tensor, Tensor]:
        """The state before and after each step, (D, T, B, H)."""
        return self.layout.before, self.layout.apart(self.layout.time_major(self.layout.output))

    def walk(self, arrived: Arrived, booking: bool) -> Left:
        """See :class:`Cell`."""
        _, x_n, h_n, opened = self.parts
        r, z = opened.chunk(2, -1)
        before, after = self.hidden
        z_n = x_n + r * h_n
        sums, layer = quotient(after, self.rules.sums), quotient(z_n, self.rules.layer)
        added, kept = (1 - z) * torch.tanh(z_n) * sums.inverse, z * before * sums.inverse
        if self.rules.product.takes_all:
            return self._walk_fixed(arrived, booking, (added, kept), r, sums, layer)
        return self._walk_shared(arrived, booking, (added, kept), z_n, sums, layer)

    # ---- the signal takes all -----------------------------------------------------------------------------------------------------

    def _walk_fixed(
        self, arrived: Arrived, booking: bool, terms: tuple[Tensor, Tensor], r: Tensor, sums: Quotient, layer: Quotient
    ) -> Left:
        added, kept = terms
        h = self.size
        enter = self.held(added * layer.inverse, 0.0)
        recall = enter * r
        relevance, final = self._loop(arrived, recall, self.held(kept, 1.0), self.recurrent_weights(2 * h, 3 * h))
        left = Left(relevance * enter, self.w(2 * h, 3 * h), (final,))
        if booking:
            left.book("stabilizer", relevance * self.held(sums.absorbed, 0.0))
            left.book("stabilizer", relevance * self.held(added * layer.absorbed, 0.0))
            self._book_bias(left, left.coefficients, relevance * recall)
        return left

    def _loop(self, arrived: Arrived, factors: Tensor, keep: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Relevance at the state after each step, (D, T, B, H), and at the initial state, (D, B, H)."""
        out = None if arrived.output is None else self.by_step(arrived.output)
        hidden, factor, kept = self.by_step(self.layout.before), self.by_step(factors), self.by_step(keep)
        relevance = self.one(torch.zeros_like(self.layout.before[:, 0]) if arrived.hidden is None else arrived.hidden)
        blocks = factors.shape[-1] // self.size
        at_steps = []
        for t in range(self.layout.steps - 1, -1, -1):
            relevance = relevance if out is None else relevance + out[t]
            at_steps.append(relevance)
            if blocks == 1:
                s = relevance * factor[t]
            else:
                s = (factor[t].unflatten(-1, (blocks, self.size)) * relevance.unsqueeze(-2)).flatten(-2)
            relevance = torch.matmul(s, u).mul_(hidden[t]).addcmul_(relevance, kept[t])
        return self.all_steps(at_steps[::-1]), self.final(relevance)

    def _book_bias(self, left: Left, at_candidate: Tensor, at_recalled: Tensor) -> None:
        h = self.size
        for which, amount in (("input", at_candidate), ("state", at_recalled)):
            bias = self.shaped(self.bias(which, 2 * h, 3 * h))
            if bias is not None:
                left.book("bias", amount * bias)

    # ---- gates that take a share ---------------------------------------------------------------------------------------------------

    def _walk_shared(
        self, arrived: Arrived, booking: bool, terms: tuple[Tensor, Tensor], z_n: Tensor, sums: Quotient, layer: Quotient
    ) -> Left:
        h = self.size
        gates, _, h_n, opened = self.parts
        z_r, z_z = gates.chunk(2, -1)
        r = opened[..., :h]
        (added, kept), before = terms, self.layout.before
        share = self.rules.product.shares
        new, old, recalled = share(-z_z, z_n), share(z_z, before), share(z_r, h_n)
        at_candidate = added * new.signal
        at_product = at_candidate * layer.inverse * r * h_n
        inner, l_r, l_z = (quotient(value, self.rules.layer) for value in (h_n, z_r, z_z))
        to_r, to_z = at_product * recalled.gate, added * new.gate + kept * old.gate
        to_h = at_product * recalled.signal
        k_r, k_z, k_h, k_n = to_r * l_r.inverse, to_z * l_z.inverse, to_h * inner.inverse, at_candidate * layer.inverse
        factors = self.held(torch.cat((k_r, k_z, k_h), -1), 0.0)
        keep = self.held(kept * old.signal, 1.0)
        relevance, final = self._loop(arrived, factors, keep, self.recurrent_weights(0, 3 * h))
        each = self.held(torch.cat((k_r, k_z, k_n), -1), 0.0)
        coefficients = (each.unflatten(-1, (3, h)) * relevance.unsqueeze(-2)).flatten(-2)
        left = Left(coefficients, self.w(0, 3 * h), (final,))
        if booking:
            live = self.held(relevance, 0.0)
            absorbed = (sums.absorbed, at_candidate * layer.absorbed, to_h * inner.absorbed, to_r * l_r.absorbed, to_z * l_z.absorbed)
            for amount in absorbed:
                left.book("stabilizer", live * amount)
            self._book_products(left, live, ((added, new), (kept, old), (at_product, recalled)))
            self._book_shared_bias(left, live, (k_r, k_z, k_n, k_h))
        return left

    @staticmethod
    def _book_products(left: Left, live: Tensor, products: tuple[tuple[Tensor, Shares], ...]) -> None:
        for amount, shares in products:
            if isinstance(shares.absorbed, Tensor):
                left.book("stabilizer", live * amount * shares.absorbed)

    def _book_shared_bias(self, left: Left, live: Tensor, factors: tuple[Tensor, ...]) -> None:
        k_r, k_z, k_n, k_h = factors
        h = self.size
        rows = (("both", 0, h, k_r), ("both", h, 2 * h, k_z), ("input", 2 * h, 3 * h, k_n), ("state", 2 * h, 3 * h, k_h))
        for which, start, stop, factor in rows:
            bias = self.shaped(self.bias(which, start, stop))
            if bias is not None:
                left.book("bias", live * factor * bias)
