"""Train many small LSTMs at once: every weight has the candidate as its first dimension.

A single LSTM with one cell spends its training time in the overhead of Python and of starting operations; a hundred and fifty
of them in one tensor cost little more than one. Forward and backward pass are written out, so that every step works in place on
a few arrays that stay in the processor's cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from data import Sequences
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seqxai.files import written_whole

INPUTS = 2
GOOD = 1e-4  # a model counts when its mean squared error on the validation sequences is below this
BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8  # Adam's


@dataclass(frozen=True)
class Recipe:
    """How the candidates are trained.

    Args:
        steps: updates.
        batch: sequences per update, all of one length.
        rate: largest learning rate of Adam; it rises over ``warm_up`` steps and falls to zero along a cosine.
        clip: largest norm of one candidate's gradient.
    """

    steps: int
    batch: int = 32
    rate: float = 0.03
    warm_up: int = 500
    clip: float = 1.0

    def rate_at(self, step: int) -> float:
        """The learning rate of update number ``step``."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - self.warm_up) / max(self.steps - self.warm_up, 1)))


class Candidates:
    """M LSTMs with H cells and a linear output without bias, as rows of one matrix (M, 4H(2 + H + 1) + H).

    The gates are in the order of ``nn.LSTM``: input, forget, candidate, output; each has a single bias vector.

    Args:
        rows: the parameters.
        cells: H.
    """

    def __init__(self, rows: Tensor, cells: int) -> None:
        self.rows = rows
        self.cells = cells

    @staticmethod
    def drawn(models: int, cells: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Candidates:
        """Random ones, uniform in ±1/√H as ``nn.LSTM`` and ``nn.Linear`` initialise themselves."""
        parameters = 4 * cells * (INPUTS + cells + 1) + cells
        drawn = torch.rand(models, parameters, generator=generator, dtype=torch.float64)
        return Candidates(((2 * drawn - 1) / math.sqrt(cells)).to(dtype), cells)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Views of rows: to the gates from the input (M, 4, H, 2) and the state (M, 4, H, H), bias (M, 4, H), output (M, H)."""
        h = self.cells
        w, u, b, v = rows.split([4 * h * INPUTS, 4 * h * h, 4 * h, h], dim=1)
        return w.view(-1, 4, h, INPUTS), u.view(-1, 4, h, h), b.view(-1, 4, h), v

    def module(self, index: int) -> ToyLSTM:
        """One candidate as an ordinary module in double precision."""
        w, u, b, v = (part[index].double() for part in self.split(self.rows))
        model = ToyLSTM(self.cells).double()
        with torch.no_grad():
            model.lstm.weight_ih_l0.copy_(w.flatten(0, 1))
            model.lstm.weight_hh_l0.copy_(u.flatten(0, 1))
            model.lstm.bias_ih_l0.copy_(b.flatten())
            model.lstm.bias_hh_l0.zero_()  # one bias vector per gate: 17 parameters with one cell
            model.output.weight.copy_(v[None])
        return model.requires_grad_(False).eval()

    def outputs(self, x: Tensor) -> Tensor:
        """What every candidate answers to x (N, T, 2): (M, N)."""
        return self._run(x)[0]

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        """The answers, and for the way back: steps with a one (T, 3, N), gates (T, 4, M, H, N), c and h (T + 1, M, H, N)."""
        w, u, b, v = self.split(self.rows)
        models, cells, (count, length) = len(v), self.cells, x.shape[:2]
        steps = torch.cat([x.permute(1, 2, 0), x.new_ones(length, 1, count)], dim=1)  # (T, 3, N)
        to_gates = torch.cat([w, b[..., None]], dim=3).transpose(0, 1).reshape(-1, INPUTS + 1)  # (4MH, 3)
        gates = torch.matmul(to_gates, steps).view(length, 4, models, cells, count)
        u = u.transpose(0, 1).contiguous()  # (4, M, H, H)
        c, h = x.new_zeros(2, length + 1, models, cells, count)
        for t in range(length):
            pre = gates[t]
            if cells == 1:
                pre.addcmul_(u, h[t])
            elif t:
                pre += torch.matmul(u, h[t])
            i_f, g, o = pre[:2].sigmoid_(), pre[2].tanh_(), pre[3].sigmoid_()
            torch.mul(i_f[1], c[t], out=c[t + 1]).addcmul_(i_f[0], g)
            torch.tanh(c[t + 1], out=h[t + 1]).mul_(o)
        return (v[:, :, None] * h[-1]).sum(1), steps, gates, c, h

    def gradient(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared error of every candidate (M,) and the gradient by its parameters, shaped as the rows."""
        answers, steps, gates, c, h = self._run(x)
        u = self.split(self.rows)[1].transpose(0, 1).contiguous()
        v = self.split(self.rows)[3]
        error = answers - target
        d_answers = error * (2 / x.shape[0])
        d_h = v[:, :, None] * d_answers[:, None]
        d_v = (h[-1] * d_answers[:, None]).sum(2)

        squashed = c[1:].tanh()
        slopes = torch.addcmul(gates, gates, gates, value=-1)  # σ' = σ (1 - σ)
        slopes[:, 2] = 1 - gates[:, 2] ** 2
        # What each gate's slope is multiplied with on the way from the cell (i, f, g) or from the hidden state (o).
        slopes[:, 0] *= gates[:, 2]
        slopes[:, 1] *= c[:-1]
        slopes[:, 2] *= gates[:, 0]
        slopes[:, 3] *= squashed
        to_cell = gates[:, 3] * (1 - squashed**2)
        d_c = torch.zeros_like(d_h)
        for t in reversed(range(x.shape[1])):
            d_c.addcmul_(d_h, to_cell[t])
            slopes[t, :3] *= d_c
            slopes[t, 3] *= d_h
            if t:
                d_c *= gates[t, 1]
                d_h = ((u * slopes[t]) if self.cells == 1 else torch.matmul(u.mT, slopes[t])).sum(0)

        to_gates = torch.matmul(slopes.flatten(1, 3), steps.mT).sum(0).view(4, *d_h.shape[:2], INPUTS + 1).transpose(0, 1)
        if self.cells == 1:
            d_u = (slopes * h[:-1, None]).sum((0, 4))[..., None]
        else:
            d_u = torch.matmul(slopes, h[:-1, None].mT).sum(0)
        parts = (to_gates[..., :INPUTS], d_u.transpose(0, 1), to_gates[..., INPUTS], d_v)
        return (error**2).mean(1), torch.cat([part.flatten(1) for part in parts], dim=1)

    def errors(self, data: list[Sequences]) -> Tensor:
        """Mean squared error of every candidate over sequences of several lengths, (M,)."""
        squares = torch.zeros(len(self.rows), dtype=torch.float64)
        for group in data:
            for x, target in zip(group.x.split(256), group.target.split(256), strict=True):
                squares += (self.outputs(x.to(self.rows)).double() - target).square().sum(1)
        return squares / sum(len(group.x) for group in data)


class ToyLSTM(nn.Module):
    """The network of the table: an LSTM and a linear output without bias on its last state."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(INPUTS, cells, batch_first=True)
        self.output = nn.Linear(cells, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 2) to (N, 1)."""
        states, _ = self.lstm(x)
        return self.output(states[:, -1])


def minibatches(data: list[Sequences], batch: int, seed: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of one length each, from number ``start`` on; the same seed gives the same, wherever one starts."""
    prepared = [(group.x.float(), group.target.float()) for group in data]
    sizes = [max(len(x) // batch, 1) for x, _ in prepared]
    epoch, skip = divmod(start, sum(sizes))
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        orders = [torch.randperm(len(x), generator=generator) for x, _ in prepared]
        plan = [(g, k) for g, size in enumerate(sizes) for k in range(size)]
        for index in torch.randperm(len(plan), generator=generator)[skip:].tolist():
            group, k = plan[index]
            rows = orders[group][k * batch : (k + 1) * batch]
            yield prepared[group][0][rows], prepared[group][1][rows]
        epoch, skip = epoch + 1, 0


@dataclass
class Training:
    """Candidates on their way, with everything that is needed to go on after an interruption.

    Args:
        rows: parameters.
        first, second: Adam's running moments of the gradient.
        crossed: parameters at the first check that found the validation error below ``GOOD``.
        crossed_at: the update of that check, (M,); 0 where it did not happen.
        step: updates done.
        seconds: time spent.
    """

    rows: Tensor
    first: Tensor
    second: Tensor
    crossed: Tensor
    crossed_at: Tensor
    step: int = 0
    seconds: float = 0.0

    @staticmethod
    def started(rows: Tensor) -> Training:
        zeros = torch.zeros_like(rows)
        return Training(rows, zeros, zeros.clone(), zeros.clone(), torch.zeros(len(rows), dtype=torch.int64))

    def save(self, path: Path, about: dict[str, str]) -> None:
        """Write the state so that a reader finds the old one or the new one, never half of one."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        with written_whole(path) as partial:
            save_file(tensors, partial, {**about, "step": str(self.step), "seconds": str(self.seconds)})

    @staticmethod
    def load(path: Path, about: dict[str, str]) -> Training:
        """Read a state.

        Raises:
            SystemExit: if it comes from a run with other settings.
        """
        with safe_open(path, "pt") as file:
            found = file.metadata()
            if {k: found.get(k) for k in about} != about:
                raise SystemExit(f"{path} comes from a run with other settings; give another --out or delete it.")
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        return Training(**tensors, step=int(found["step"]), seconds=float(found["seconds"]))

    def update(self, gradient: Tensor, rate: float, clip: float) -> None:
        """One step of Adam; each candidate's gradient is clipped by its own norm."""
        gradient = gradient * (clip / gradient.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)
        self.step += 1
        self.first.lerp_(gradient, 1 - BETA_1)
        self.second.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        scale = (self.second / (1 - BETA_2**self.step)).sqrt_().add_(TINY)
        self.rows.addcdiv_(self.first, scale, value=-rate / (1 - BETA_1**self.step))


def train(
    data: dict[str, list[Sequences]],
    cells: int,
    models: int,
    recipe: Recipe,
    seed: int,
    path: Path,
    about: dict[str, str],
    report: Callable[[Training, int], None] = lambda training, good: None,
    every: int = 250,
    save_seconds: float = 20.0,
) -> Training:
    """Train all candidates of a task, or finish what an interrupted call began.

    Args:
        data: the splits; training uses "train", the count of good candidates "validation".
        cells: memory cells of each candidate.
        models: candidates.
        recipe: how.
        seed: decides initialisation and order, so that an interrupted run and a straight one end in the same weights.
        path: where the state is kept.
        about: the settings the state belongs to.
        report: called with the state and the number of good candidates after every check.
        every: updates between two checks of the validation error.
        save_seconds: time between two saves.
    """
    about = {**about, "cells": str(cells), "models": str(models), "seed": str(seed), "every": str(every)}
    about |= {k: str(v) for k, v in asdict(recipe).items()}
    if path.exists():
        training = Training.load(path, about)
    else:
        generator = torch.Generator().manual_seed(seed)
        training = Training.started(Candidates.drawn(models, cells, generator).rows)
    candidates = Candidates(training.rows, cells)
    batches = minibatches(data["train"], recipe.batch, seed, training.step)
    began, saved = time.perf_counter() - training.seconds, time.perf_counter()
    while training.step < recipe.steps:
        x, target = next(batches)
        _, gradient = candidates.gradient(x, target)
        training.update(gradient, recipe.rate_at(training.step), recipe.clip)
        if training.step % every and training.step < recipe.steps:
            continue
        good = candidates.errors(data["validation"]) < GOOD
        new = good & (training.crossed_at == 0)
        training.crossed[new], training.crossed_at[new] = training.rows[new], training.step
        training.seconds = time.perf_counter() - began
        report(training, int(good.sum()))
        if training.step == recipe.steps or time.perf_counter() - saved > save_seconds:
            training.save(path, about)
            saved = time.perf_counter()
    return training
