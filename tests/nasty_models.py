"""Models that alias, mutate and rename their tensors, each beside a clean rewriting without any of it.

``forward`` is what a user wrote; ``clean`` is the same function in a form about which there is nothing to discuss.
Both read x (B, 4) and return (B, 3).  ``readout`` is a fixed linear map, so that every element it reads matters.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.nasty_parts import B, V, W, hidden, readout


class Nasty(NamedTuple):
    forward: Callable[[Tensor], Tensor]
    clean: Callable[[Tensor], Tensor]


def _inplace(x: Tensor) -> Tensor:
    h = hidden(x)
    h[:, 0] += 1
    h.relu_()
    return readout(h)


def _inplace_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(F.relu(torch.cat([h[:, :1] + 1, h[:, 1:]], 1)))


def _buffer(x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 3, 4, dtype=x.dtype)
    h = hidden(x)
    for t in range(3):
        h = F.relu(h @ V.T)
        out[:, t] = h
    return readout(out)


def _steps(x: Tensor) -> list[Tensor]:
    h, steps = hidden(x), []
    for _ in range(3):
        h = F.relu(h @ V.T)
        steps.append(h)
    return steps


def _buffer_time_first(x: Tensor) -> Tensor:
    buffer = x.new_empty(3, len(x), 4)
    h = hidden(x)
    for t in range(3):
        h = F.relu(h @ V.T)
        buffer[t] = h
    return readout(buffer.sum(0))


def _recurrent_buffer(x: Tensor) -> Tensor:
    buffer = torch.zeros(4, len(x), 4, dtype=x.dtype)
    buffer[0] = hidden(x)
    for t in range(1, 4):
        buffer[t] = F.relu(buffer[t - 1] @ V.T)
    return readout(buffer.transpose(0, 1))


def _out_argument(x: Tensor) -> Tensor:
    buffer = torch.empty(len(x), 4, dtype=x.dtype)
    torch.matmul(x, W.T, out=buffer)
    first = buffer + B
    torch.mul(x, 3.0, out=buffer)
    return readout(first, buffer)


def _view_after_base(x: Tensor) -> Tensor:
    h = hidden(x)
    total = h.sum(1, keepdim=True)
    view = h[:, 1:3]
    view *= 2.0
    view += 0.5
    return readout(total, h)


def _view_after_base_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(h.sum(1, keepdim=True), h[:, :1], 2 * h[:, 1:3] + 0.5, h[:, 3:])


def _stale_transposed(x: Tensor) -> Tensor:
    h = hidden(x)
    transposed = h.t()
    h.relu_()
    return readout(transposed.t() @ V)


def _detach_alias(x: Tensor) -> Tensor:
    h = hidden(x)
    alias = h.detach()
    alias.mul_(-2.0)
    return readout(h)


def _data_alias(x: Tensor) -> Tensor:
    h = hidden(x)
    h.data.clamp_(min=0.0)
    return readout(h)


def _parameter(x: Tensor) -> Tensor:
    return readout(F.relu(nn.Parameter(hidden(x))))


def _tensor_constructor(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(F.relu(h.as_subclass(torch.Tensor)) + h)


def _second_name(x: Tensor) -> Tensor:
    h = hidden(x)
    second = h
    second += x
    second.relu_()
    return readout(h, second)


def _copy_zero(x: Tensor) -> Tensor:
    y = torch.ones(len(x), 4, dtype=x.dtype)
    y.copy_(hidden(x))
    y[:, 0].zero_()
    y[:, 1] += x[:, 0]
    y[:, 2] = y[:, 3]
    return readout(y)


def _copy_zero_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(0 * x[:, :1], h[:, 1:2] + x[:, :1], h[:, 3:], h[:, 3:])


def _zeroed_then_reused(x: Tensor) -> Tensor:
    h = hidden(x)
    first = h @ V.T
    h.zero_()
    h += 2 * x
    return readout(first, h)


def _strided(x: Tensor) -> Tensor:
    y = torch.zeros(len(x), 8, dtype=x.dtype)
    h = hidden(x)
    y[:, ::2] = h
    y[:, 1::2] = -h
    y[:, 2:6].relu_()
    return readout(y)


def _strided_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    y = torch.stack([h, -h], 2).flatten(1)
    return readout(y[:, :2], F.relu(y[:, 2:6]), y[:, 6:])


def _expanded(x: Tensor) -> Tensor:
    h = hidden(x)[:, :1].clone()
    wide = h.expand(-1, 4)
    h.mul_(3.0).add_(1.0)
    return readout(wide * W[0] + x)


def _expanded_clean(x: Tensor) -> Tensor:
    h = hidden(x)[:, :1] * 3.0 + 1.0
    return readout(torch.cat([h, h, h, h], 1) * W[0] + x)


class ReturnsItsInput(torch.autograd.Function):
    """Forward is the identity and returns the very tensor it was given."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return 100 * gradient


class Doubles(torch.autograd.Function):
    """Forward changes its input in place and returns it."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        x.mul_(2.0)
        return x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


def _function_returning_its_input(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(F.relu(ReturnsItsInput.apply(h)), h)


def _function_changing_its_input(x: Tensor) -> Tensor:
    h = hidden(x)
    y = Doubles.apply(h)
    return readout(y + x)


def _mutated_constant(x: Tensor) -> Tensor:
    scale = torch.full((4,), 2.0, dtype=x.dtype)
    first = x * scale
    scale.add_(3.0)
    second = x * scale
    scale.zero_()
    return readout(first, second)


def _running_buffer(x: Tensor) -> Tensor:
    weight = W.clone()
    h = F.linear(x, weight, B)
    weight.mul_(-0.5)
    return readout(F.linear(F.relu(h), weight))


def _slice_plus_equal(x: Tensor) -> Tensor:
    y = torch.stack([x, hidden(x)])
    y[0] += y[1]
    y[1] *= 0.5
    return readout(y[0], y[1])


def _slice_plus_equal_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(x + h, 0.5 * h)


def _accumulator(x: Tensor) -> Tensor:
    acc = torch.zeros(len(x), 4, dtype=x.dtype)
    h = hidden(x)
    for _ in range(3):
        acc += h
        h *= 0.5
        h -= x
    return readout(acc)


def _accumulator_clean(x: Tensor) -> Tensor:
    h0 = hidden(x)
    h1 = 0.5 * h0 - x
    h2 = 0.5 * h1 - x
    return readout(h0 + h1 + h2)


def _masks(x: Tensor) -> Tensor:
    mask = torch.tensor([True, False, True, False])
    z = hidden(x)
    y = z.clone()
    z[:, mask] = 0
    y[:, ~mask] = 0
    return readout(z, y)


def _masks_clean(x: Tensor) -> Tensor:
    h, mask = hidden(x), torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    return readout(h * (1 - mask), h * mask)


def _input_changed(x: Tensor) -> Tensor:
    x /= 4.0
    x += 1.0
    return readout(F.relu(hidden(x)))


def _input_view_changed(x: Tensor) -> Tensor:
    before = x @ W
    x[:, 1] = 0.0
    return readout(before, x)


def _input_view_changed_clean(x: Tensor) -> Tensor:
    return readout(x @ W, x * torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64))


def _unbound(x: Tensor) -> Tensor:
    columns = hidden(x).unbind(1)
    first, *_, last = columns
    first.add_(last)
    return readout(torch.stack([first, last], 1))


def _unbound_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(h[:, :1] + h[:, 3:], h[:, 3:])


def _same_object(x: Tensor) -> Tensor:
    h = hidden(x)
    h = nn.Identity()(F.dropout(+h.contiguous().to(h.dtype).double(), training=False))
    h = torch.broadcast_tensors(h)[0].flatten(1)
    return readout(F.relu(h))


def _reshape_then_write(x: Tensor) -> Tensor:
    h = hidden(x)
    square = h.view(len(x), 2, 2)
    square[:, 0, 1] = x[:, 0]
    square.transpose(1, 2)[:, 0, 1].neg_()
    return readout(h)


def _reshape_then_write_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(h[:, :1], x[:, :1], -h[:, 2:3], h[:, 3:])


def _unsqueezed(x: Tensor) -> Tensor:
    h = hidden(x)
    h.unsqueeze_(1)
    h.relu_()
    h.squeeze_(1)
    h.t_()
    return readout(h.t())


def _swapped(x: Tensor) -> Tensor:
    h, k = hidden(x), x @ V.T
    h, k = k, h
    h.sub_(k)
    k.fill_(1.5)
    return readout(h, k)


def _masked_fill(x: Tensor) -> Tensor:
    h = hidden(x)
    h.masked_fill_(torch.tensor([False, True, False, False]), -3.0)
    h.index_add_(1, torch.tensor([0, 0]), x[:, 2:])
    return readout(h)


def _masked_fill_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    return readout(h[:, :1] + x[:, 2:3] + x[:, 3:4], 0 * x[:, :1] - 3.0, h[:, 2:])


def _inplace_module(x: Tensor) -> Tensor:
    h = hidden(x)
    y = nn.ReLU(inplace=True)(h)
    return readout(h + y)


def _overlapping(x: Tensor) -> Tensor:
    h = hidden(x)
    windows = h.unfold(1, 2, 1)
    h[:, 1] = x[:, 0]
    return readout(windows)


def _overlapping_clean(x: Tensor) -> Tensor:
    h = hidden(x)
    y = torch.cat([h[:, :1], x[:, :1], h[:, 2:]], 1)
    return readout(torch.stack([y[:, :3], y[:, 1:]], 2))


NASTY: dict[str, Nasty] = {
    "slice += and relu_": Nasty(_inplace, _inplace_clean),
    "out[:, t] = h": Nasty(_buffer, lambda x: readout(torch.stack(_steps(x), 1))),
    "buffer[t] = h, sum": Nasty(_buffer_time_first, lambda x: readout(sum(_steps(x)))),
    "buffer[t] = f(buffer[t - 1])": Nasty(
        _recurrent_buffer, lambda x: readout(torch.stack([hidden(x), *_steps(x)], 1))
    ),
    "out= used twice": Nasty(_out_argument, lambda x: readout(F.linear(x, W) + B, 3.0 * x)),
    "base read, then its view scaled and shifted": Nasty(_view_after_base, _view_after_base_clean),
    "stale transposed view": Nasty(_stale_transposed, lambda x: readout(F.relu(hidden(x)) @ V)),
    "detach alias mutated": Nasty(_detach_alias, lambda x: readout(-2.0 * hidden(x))),
    "data alias mutated": Nasty(_data_alias, lambda x: readout(F.relu(hidden(x)))),
    "nn.Parameter(active)": Nasty(_parameter, lambda x: readout(F.relu(hidden(x)))),
    "as_subclass": Nasty(_tensor_constructor, lambda x: readout(F.relu(hidden(x)) + hidden(x))),
    "second name": Nasty(_second_name, lambda x: readout(*(2 * [F.relu(hidden(x) + x)]))),
    "copy_, zero_, +=, y[2] = y[3]": Nasty(_copy_zero, _copy_zero_clean),
    "zero_ after a reader": Nasty(_zeroed_then_reused, lambda x: readout(hidden(x) @ V.T, 2 * x)),
    "strided setitem, relu_ on a slice": Nasty(_strided, _strided_clean),
    "stale expanded view": Nasty(_expanded, _expanded_clean),
    "autograd.Function returning its input": Nasty(
        _function_returning_its_input, lambda x: readout(F.relu(hidden(x)), hidden(x))
    ),
    "autograd.Function changing its input": Nasty(_function_changing_its_input, lambda x: readout(2 * hidden(x) + x)),
    "constant mutated between uses": Nasty(_mutated_constant, lambda x: readout(2.0 * x, 5.0 * x)),
    "weight mutated between uses": Nasty(_running_buffer, lambda x: readout(F.relu(hidden(x)) @ (-0.5 * W).T)),
    "y[0] += h": Nasty(_slice_plus_equal, _slice_plus_equal_clean),
    "accumulators in a loop": Nasty(_accumulator, _accumulator_clean),
    "masked assignment": Nasty(_masks, _masks_clean),
    "input changed in place": Nasty(_input_changed, lambda x: readout(F.relu(hidden(x / 4.0 + 1.0)))),
    "slice of the input changed": Nasty(_input_view_changed, _input_view_changed_clean),
    "unbound and changed": Nasty(_unbound, _unbound_clean),
    "functions that return the same object": Nasty(_same_object, lambda x: readout(F.relu(hidden(x)))),
    "views of views written": Nasty(_reshape_then_write, _reshape_then_write_clean),
    "geometry in place": Nasty(_unsqueezed, lambda x: readout(F.relu(hidden(x)))),
    "names swapped, fill_": Nasty(_swapped, lambda x: readout(x @ V.T - hidden(x), 0 * x + 1.5)),
    "masked_fill_, index_add_": Nasty(_masked_fill, _masked_fill_clean),
    "module in place": Nasty(_inplace_module, lambda x: readout(2 * F.relu(hidden(x)))),
    "overlapping windows, base written": Nasty(_overlapping, _overlapping_clean),
}
