"""The walk back through an LSTM layer."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from seqxai.rules.product import Shares
from seqxai.rules.recurrent import transitions
from seqxai.rules.recurrent.cell import Arrived, Cell, Left, Quotient


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
        return self.preactivations(rows)

    @cached_property
    def before(self) -> Tensor:
        """(D, T, B, P): the hidden state each step starts from."""
        return self.kept.hidden[:, :-1] if self.kept is not None else self.layout.before

    @cached_property
    def candidate(self) -> Tensor:
        """The pre-activation of g."""
        return self.kept.candidate if self.kept is not None else self.pre[..., 2 * self.size : 3 * self.size]

    @cached_property
    def gates(self) -> tuple[Tensor, Tensor]:
        """σ(i) and σ(f); where nothing happens the cell keeps its content."""
        if self.kept is not None:
            opened = self.kept.opened
        else:
            opened = torch.sigmoid(self.pre[..., : 2 * self.size])
        i, f = opened.chunk(2, -1)
        return self.held(i, 0.0), self.held(f, 1.0)

    @cached_property
    def new(self) -> Tensor:
        """σ(i) tanh(g): what is added to the cell."""
        return self.kept.new if self.kept is not None else torch.tanh(self.candidate).mul_(self.gates[0])

    @cached_property
    def cells(self) -> Tensor:
        """(D, T + 1, B, H): the cell state before the first step and after each."""
        if self.kept is not None:
            return self.kept.cells
        state = self.one(self.layout.states(self.call.states[1]))
        found = [state]
        for added, forget in zip(self.by_step(self.new), self.by_step(self.gates[1]), strict=True):
            state = torch.addcmul(added, forget, state)
            found.append(state)
        return self.all_steps(found)

    def walk(self, arrived: Arrived, booking: bool) -> Left:
        """See :class:`Cell`."""
        return self._walk_fixed(arrived, booking) if self.fixed else self._walk_shared(arrived, booking)

    # ---- the signal takes all -----------------------------------------------------------------------------------------------------

    def _walk_fixed(self, arrived: Arrived, booking: bool) -> Left:
        """``s = R / c'``; ``c`` receives ``f c s``, the candidate ``i g s``, whose sum is divided again."""
        h = self.size
        after, before = self.cells[:, 1:], self.cells[:, :-1]
        sums, layer = Quotient(after, self.rules.sums), Quotient(self.candidate, self.rules.layer)
        to_cell = (self.gates[1] * before).mul_(sums.inverse)
        to_candidate = (self.new * sums.inverse).mul_(layer.inverse)
        to_cell, to_candidate = self.held(to_cell, 1.0), self.held(to_candidate, 0.0)
        relevance, states = self._loop_fixed(arrived, to_cell, to_candidate, booking)
        left = Left(to_candidate, self.w(2 * h, 3 * h), states)
        if booking and relevance is not None:
            self._book_fixed(left, relevance, sums, layer)
        return left

    def _loop_fixed(
        self, arrived: Arrived, to_cell: Tensor, to_candidate: Tensor, booking: bool
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """Hidden and cell state hand their relevance to the same sum: one array holds what both have.

        The factors ``to_candidate`` become the coefficients of the candidate's sum, in place.
        """
        rows = slice(2 * self.size, 3 * self.size)
        parts = [part for part in (arrived.output, arrived.cells) if part is not None]
        added = parts[0] + parts[1] if len(parts) > 1 else parts[0] if parts else None
        before = self.before
        if transitions.worthwhile(before.shape):
            u = torch.stack(self.u(rows.start, rows.stop))
            relevance = transitions.relevance_of_states(self._start(arrived), u, before, to_cell, to_candidate, added)
            to_candidate.mul_(relevance)
            return relevance, (torch.bmm(to_candidate[:, 0], u).mul_(before[:, 0]), relevance[:, 0] * to_cell[:, 0])
        u = self.recurrent_weights(rows.start, rows.stop)
        out = None if added is None else self.by_step(added)
        hidden, keep, enter = self.by_step(before), self.by_step(to_cell), self.by_step(to_candidate)
        state = self.one(self._start(arrived))
        kept, multiply = [], self.multiply
        for t in range(self.layout.steps - 1, -1, -1):
            if out is not None:
                state = state + out[t]
            if booking:
                kept.append(state)
            past = multiply(enter[t].mul_(state), u).mul_(hidden[t])
            if t:
                state = past.addcmul_(state, keep[t])
        return self.all_steps(kept[::-1]) if booking else None, (self.final(past), self.final(state * keep[0]))

    def _start(self, arrived: Arrived) -> Tensor:
        parts = [part for part in (arrived.hidden, arrived.cell) if part is not None]
        if not parts:
            return torch.zeros_like(self.before[:, 0])
        return parts[0] + parts[1] if len(parts) > 1 else parts[0]

    def _book_fixed(self, left: Left, relevance: Tensor, sums: Quotient, layer: Quotient) -> None:
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
        sums = Quotient(after, self.rules.sums)
        layers = Quotient(self.pre, self.rules.layer)
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
        found = Quotient(hidden, self.rules.layer)
        return self.held(found.inverse, 0.0), self.held(found.absorbed, 0.0)

    def _loop_shared(self, arrived: Arrived, by_cell: Tensor, by_hidden: Tensor, to_cell: Tensor, to_signal: Tensor) -> dict[str, Tensor]:
        h, steps = self.size, self.layout.steps
        u = self.recurrent_weights(0, 4 * h)
        rows = [g[4] for g in self.groups if g[4] is not None]
        project = (rows[0] if len(rows) == 1 else torch.stack(rows)) if rows else None
        out, cells = (None if a is None else self.by_step(a) for a in (arrived.output, arrived.cells))
        hidden, padded = self.by_step(self.before), self.layout.padded
        waiting = None if padded is None else self.by_step(padded.to(by_cell.dtype))
        factors = [self.by_step(a) for a in (by_cell, by_hidden, to_cell, to_signal)]
        r_h, r_c = self._start_shared(arrived)
        multiply = self.multiply
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
            past = multiply(s, u) * hidden[t]
            r_h = past if waiting is None else past + waiting[t] * r_h
        return {name: self.all_steps(arrays[::-1]) for name, arrays in kept.items()} | {"h": r_h, "c": r_c}

    def _start_shared(self, arrived: Arrived) -> tuple[Tensor, Tensor]:
        before = self.before[:, 0]
        hidden = torch.zeros_like(before) if arrived.hidden is None else arrived.hidden
        cell = torch.zeros_like(self.cells[:, 0]) if arrived.cell is None else arrived.cell
        return self.one(hidden), self.one(cell)

    def _projected(self, t: int, relevance: Tensor, project: Tensor) -> Tensor:
        assert self.projection is not None
        inverse, squashed = self.by_step(self.projection[0])[t], self.by_step(self.squashed)[t]
        return self.multiply(relevance * inverse, project) * squashed

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
