"""The walk back through an LSTM layer."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from seqxai.rules.product import Shares
from seqxai.rules.recurrent.cell import Arrived, Cell, Left, Quotient, quotient


class LSTM(Cell):
    """``c' = σ(f) c + σ(i) tanh(g)``, ``h' = σ(o) tanh(c')`` (Arras et al. 2019, eqs. 11.1-11.6), rows in the order i, f, g, o.

    One denominator for each pre-activation ``W x + U h + b`` and one for each cell state.  Where the signal takes all, only the candidate g
    receives relevance, so that only its weights multiply, and the output gate is not even needed.
    """

    @property
    def size(self) -> int:
        """Units H."""
        return self.groups[0][0].shape[0] // 4

    @cached_property
    def fixed(self) -> bool:
        """Whether the gates are held fixed and nothing lies between output gate and hidden state."""
        return self.rules.product.takes_all and self.groups[0][4] is None

    @cached_property
    def pre(self) -> Tensor:
        """Pre-activations of i, f, g (and o, if it is needed), (D, T, B, K)."""
        rows = (3 if self.fixed else 4) * self.size
        found = self.layout.from_input(self.w(0, rows), self.bias("both", 0, rows))
        return found.add_(self.layout.from_state(self.u(0, rows)))

    @cached_property
    def gates(self) -> tuple[Tensor, Tensor, Tensor]:
        """σ(i), σ(f), tanh(g); where nothing happens the cell keeps its content."""
        opened = torch.sigmoid(self.pre[..., : 2 * self.size])
        i, f = opened.chunk(2, -1)
        g = torch.tanh(self.pre[..., 2 * self.size : 3 * self.size])
        return self.held(i, 0.0), self.held(f, 1.0), g

    @cached_property
    def new(self) -> Tensor:
        """σ(i) tanh(g): what is added to the cell."""
        return self.gates[0] * self.gates[2]

    @cached_property
    def cells(self) -> Tensor:
        """(D, T + 1, B, H): the cell state before the first step and after each, recomputed."""
        _, f, _ = self.gates
        shape = (f.shape[0], f.shape[1] + 1, *f.shape[2:])
        found = torch.empty(shape, dtype=f.dtype, device=f.device)
        found[:, 0] = self.layout.states(self.call.states[1])
        steps = self.by_step(found)
        for step, (added, forget) in enumerate(zip(self.by_step(self.new), self.by_step(f), strict=True)):
            torch.addcmul(added, forget, steps[step], out=steps[step + 1])
        return found

    def walk(self, arrived: Arrived, booking: bool) -> Left:
        """See :class:`Cell`."""
        return self._walk_fixed(arrived, booking) if self.fixed else self._walk_shared(arrived, booking)

    # ---- the signal takes all -----------------------------------------------------------------------------------------------------

    def _walk_fixed(self, arrived: Arrived, booking: bool) -> Left:
        """``s = R / c'``; ``c`` receives ``f c s``, the candidate ``i g s``, whose sum is divided again."""
        h = self.size
        after, before = self.cells[:, 1:], self.cells[:, :-1]
        z_g = self.pre[..., 2 * h :]
        sums, layer = quotient(after, self.rules.sums), quotient(z_g, self.rules.layer)
        to_cell = (self.gates[1] * before).mul_(sums.inverse)
        to_candidate = (self.new * layer.inverse).mul_(sums.inverse)
        to_cell, to_candidate = self.held(to_cell, 1.0), self.held(to_candidate, 0.0)
        relevance, coefficients, states = self._loop_fixed(arrived, to_cell, to_candidate, booking)
        left = Left(coefficients, self.w(2 * h, 3 * h), states)
        if booking:
            self._book_fixed(left, relevance, sums, layer)
        return left

    def _loop_fixed(
        self, arrived: Arrived, to_cell: Tensor, to_candidate: Tensor, booking: bool
    ) -> tuple[list[Tensor], Tensor, tuple[Tensor, ...]]:
        """Hidden and cell state hand their relevance to the same sum: one array holds what both have."""
        u = self.recurrent_weights(2 * self.size, 3 * self.size)
        coefficients = torch.empty_like(to_candidate)
        out, cells = (None if a is None else self.by_step(a) for a in (arrived.output, arrived.cells))
        hidden, s = self.by_step(self.layout.before), self.by_step(coefficients)
        keep, enter = self.by_step(to_cell), self.by_step(to_candidate)
        relevance = self._start(arrived)
        kept = []
        for t in range(self.layout.steps - 1, -1, -1):
            if out is not None:
                relevance = relevance + out[t]
            if cells is not None:
                relevance = relevance + cells[t]
            if booking:
                kept.append(relevance)
            torch.mul(relevance, enter[t], out=s[t])
            past = torch.matmul(s[t], u)
            if t == 0:
                break
            relevance = past.mul_(hidden[t]).addcmul_(relevance, keep[t])
        states = (self.final(past * hidden[0]), self.final(relevance * keep[0]))
        return kept, coefficients, states

    def _start(self, arrived: Arrived) -> Tensor:
        shape = (self.layout.directions, self.layout.batch, self.size)
        total = torch.zeros(shape, dtype=self.cells.dtype, device=self.cells.device)
        for part in (arrived.hidden, arrived.cell):
            if part is not None:
                total = total + part
        return self.one(total)

    def _book_fixed(self, left: Left, kept: list[Tensor], sums: Quotient, layer: Quotient) -> None:
        relevance = self.all_steps(kept[::-1])
        left.book("stabilizer", relevance * self.held(sums.absorbed, 0.0))
        left.book("stabilizer", relevance * self.held(self.new * sums.inverse * layer.absorbed, 0.0))
        bias = self.shaped(self.bias("both", 2 * self.size, 3 * self.size))
        if bias is not None:
            left.book("bias", left.coefficients * bias)

    # ---- gates that take a share ---------------------------------------------------------------------------------------------------

    def _walk_shared(self, arrived: Arrived, booking: bool) -> Left:
        """Each product's relevance to signal and gate; each pre-activation is divided and goes on through its own weights."""
        h = self.size
        z_i, z_f, z_g, z_o = self.pre.chunk(4, -1)
        after, before = self.cells[:, 1:], self.cells[:, :-1]
        share = self.rules.product.shares
        into, keep, out = share(z_i, z_g), share(z_f, before), share(z_o, after)
        sums = quotient(after, self.rules.sums)
        layers = quotient(self.pre, self.rules.layer)
        l_i, l_f, l_g, l_o = layers.inverse.chunk(4, -1)
        added, kept = self.new * sums.inverse, self.gates[1] * before * sums.inverse
        by_cell = self.held(torch.cat((added * into.gate * l_i, kept * keep.gate * l_f, added * into.signal * l_g), -1), 0.0)
        by_hidden = self.held(out.gate * l_o * torch.ones_like(after), 0.0)
        to_cell = self.held(kept * keep.signal, 1.0)
        to_signal = self.held(out.signal * torch.ones_like(after), 0.0)
        loop = self._loop_shared(arrived, by_cell, by_hidden, to_cell, to_signal)
        left = Left(loop["s"], self.w(0, 4 * h), (self.final(loop["h"]), self.final(loop["c"])))
        if booking:
            self._book_shared(left, loop, (into, keep, out), (added, kept), sums, layers)
        return left

    @cached_property
    def squashed(self) -> Tensor:
        """σ(o) tanh(c'): the hidden state before its projection."""
        return torch.sigmoid(self.pre[..., 3 * self.size :]) * torch.tanh(self.cells[:, 1:])

    @cached_property
    def projection(self) -> tuple[Tensor, Tensor] | None:
        """``1 / h'`` stabilised and what its offset absorbs, for a projected hidden state ``h' = W_hr m``."""
        if self.groups[0][4] is None:
            return None
        hidden = self.layout.apart(self.layout.time_major(self.layout.output))
        found = quotient(hidden, self.rules.layer)
        return self.held(found.inverse, 0.0), self.held(found.absorbed, 0.0)

    def _loop_shared(self, arrived: Arrived, by_cell: Tensor, by_hidden: Tensor, to_cell: Tensor, to_signal: Tensor) -> dict[str, Tensor]:
        h, steps = self.size, self.layout.steps
        u = self.recurrent_weights(0, 4 * h)
        rows = [g[4] for g in self.groups if g[4] is not None]
        project = (rows[0] if len(rows) == 1 else torch.stack(rows)) if rows else None
        out, cells = (None if a is None else self.by_step(a) for a in (arrived.output, arrived.cells))
        hidden, padded = self.by_step(self.layout.before), self.layout.padded
        waiting = None if padded is None else self.by_step(padded.to(by_cell.dtype))
        factors = [self.by_step(a) for a in (by_cell, by_hidden, to_cell, to_signal)]
        r_h, r_c = self._start_shared(arrived)
        kept: dict[str, list[Tensor]] = {"s": [], "at hidden": [], "at squashed": [], "at cell": []}
        for t in range(steps - 1, -1, -1):
            r_h = r_h if out is None else r_h + out[t]
            r_c = r_c if cells is None else r_c + cells[t]
            r_m = r_h if project is None else self._projected(t, r_h, project)
            at_cell = r_c + factors[3][t] * r_m
            s = torch.cat(((factors[0][t].unflatten(-1, (3, h)) * at_cell.unsqueeze(-2)).flatten(-2), factors[1][t] * r_m), -1)
            for name, array in (("s", s), ("at hidden", r_h), ("at squashed", r_m), ("at cell", at_cell)):
                kept[name].append(array)
            r_c = factors[2][t] * at_cell
            past = torch.matmul(s, u) * hidden[t]
            r_h = past if waiting is None else past + waiting[t] * r_h
        return {name: self.all_steps(arrays[::-1]) for name, arrays in kept.items()} | {"h": r_h, "c": r_c}

    def _start_shared(self, arrived: Arrived) -> tuple[Tensor, Tensor]:
        before = self.layout.before[:, 0]
        hidden = torch.zeros_like(before) if arrived.hidden is None else arrived.hidden
        cell = torch.zeros_like(self.cells[:, 0]) if arrived.cell is None else arrived.cell
        return self.one(hidden), self.one(cell)

    def _projected(self, t: int, relevance: Tensor, project: Tensor) -> Tensor:
        assert self.projection is not None
        inverse, squashed = self.by_step(self.projection[0])[t], self.by_step(self.squashed)[t]
        return torch.matmul(relevance * inverse, project) * squashed

    def _book_shared(
        self,
        left: Left,
        loop: dict[str, Tensor],
        shares: tuple[Shares, Shares, Shares],
        terms: tuple[Tensor, Tensor],
        sums: Quotient,
        layers: Quotient,
    ) -> None:
        at_cell, at_squashed = self.held(loop["at cell"], 0.0), self.held(loop["at squashed"], 0.0)
        (into, keep, out), (added, kept) = shares, terms
        left.book("stabilizer", at_cell * sums.absorbed)
        left.book("stabilizer", at_cell * added * into.absorbed)
        left.book("stabilizer", at_cell * kept * keep.absorbed)
        left.book("stabilizer", at_squashed * out.absorbed)
        k_i, k_f, k_g, k_o = layers.absorbed.chunk(4, -1)
        for amount in (at_cell * added * into.gate * k_i, at_cell * kept * keep.gate * k_f, at_cell * added * into.signal * k_g):
            left.book("stabilizer", amount)
        left.book("stabilizer", at_squashed * out.gate * k_o)
        if self.projection is not None:
            left.book("stabilizer", loop["at hidden"] * self.projection[1])
        bias = self.shaped(self.bias("both", 0, 4 * self.size))
        if bias is not None:
            left.book("bias", left.coefficients * bias)
