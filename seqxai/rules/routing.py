"""Operations that move values from place to place: relevance moves back the same way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqxai.rules.base import Share
from seqxai.rules.merge import adjoint_of, sum_to
from seqxai.trace.alias import region_index
from seqxai.trace.calls import unsupported
from seqxai.trace.graph import Node, Value

if TYPE_CHECKING:
    from seqxai.rules.flow import Flow


def route(node: Node, flow: Flow) -> None:
    """Move relevance and coefficients from a routing operation's outputs to its inputs."""
    if node.operation.how == "slice" and len(node.outputs) > 1 and node.mutated is None and node.places[0] in (0, "input"):
        _slices(node, flow)
        return
    handler = _reshape if node.operation.kind == "gate" else HANDLERS.get(node.operation.how, _general)
    for value in node.outputs:
        if flow.arrived(value):
            for share, tensor in flow.take(value).items():
                handler(node, value, share, tensor, flow)


def _reshape(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    source = node.inputs[0]
    if tensor.dtype != flow.dtype(source):
        tensor = tensor.to(flow.dtype(source))
    flow.give(source, tensor.reshape(source.shape), share)


def _permute(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    source = node.inputs[0]
    found = torch.empty(source.shape, dtype=tensor.dtype, device=tensor.device)
    _again(node, found.detach(), output).copy_(tensor)  # a view: t_() changes the shape of what it gets
    flow.give(source, found, share)


def _again(node: Node, tensor: Tensor, output: Value) -> Tensor:
    """The node's view of another tensor."""
    args, kwargs = node.arguments([tensor])
    result = node.function(*args, **kwargs)
    return result if isinstance(result, Tensor) else result[output.index]


def _slice(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    """Add into the part of the input that was sliced: what is not touched costs nothing."""
    if node.places[0] != 0 and node.places[0] != "input":
        _looked_up(node, output, share, tensor, flow)
        return
    source = node.inputs[0]
    if node.mutated is None and _is_view(node):
        part = _again(node, flow.place(source, share), output)
        part += tensor
        return
    _general(node, output, share, tensor, flow)


def _slices(node: Node, flow: Flow) -> None:
    """``unbind``, ``chunk``, ``split``: the parts of the input are made once for all outputs."""
    source = node.inputs[0]
    parts: dict[Share | None, Any] = {}
    for value in node.outputs:
        if not flow.arrived(value):
            continue
        for share, tensor in flow.take(value).items():
            if share not in parts:
                args, kwargs = node.arguments([flow.place(source, share)])
                parts[share] = node.function(*args, **kwargs)
            part = parts[share][value.index]
            part += tensor


def _is_view(node: Node) -> bool:
    """Whether a slice shares its input's memory (plain indices) rather than copying (index tensors)."""
    if node.name != "__getitem__":
        return True
    index = node.args[1]
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, (Tensor, list)) or isinstance(item, bool):
            return False
        if type(item).__module__ == "numpy":
            return False
    return True


def _looked_up(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    """A constant table indexed by active token ids: an embedding written by hand."""
    ids = node.inputs[0]
    if node.places[0] not in (1, "index") or len(node.inputs) != 1:
        raise unsupported(node.name, node.path, [tuple(v.shape) for v in node.inputs])
    flow.give(ids, tensor.reshape(*ids.shape, -1).sum(-1), share)


def _cat(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    items = node.args[0] if node.args else node.kwargs["tensors"]
    dim = node.kwargs.get("dim", node.kwargs.get("axis", node.args[1] if len(node.args) > 1 else 0))
    active = dict(zip((p[1] for p in node.places if isinstance(p, tuple)), node.inputs, strict=True))
    start = 0
    for position, item in enumerate(items):
        if item.dim() == 1 and item.numel() == 0:
            continue
        part = tensor.narrow(dim, start, item.shape[dim])
        start += item.shape[dim]
        if position in active:
            flow.give(active[position], part, share, shared=True)
        elif flow.booking:
            whole = torch.zeros_like(tensor)
            whole.narrow(dim, start - item.shape[dim], item.shape[dim]).copy_(part)
            flow.book("constant", node, whole, output)


def _stack(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    items = node.args[0] if node.args else node.kwargs["tensors"]
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    active = dict(zip((p[1] for p in node.places if isinstance(p, tuple)), node.inputs, strict=True))
    for position, part in enumerate(tensor.unbind(dim)):
        if position in active:
            flow.give(active[position], part, share, shared=True)
    if flow.booking and share is None and len(active) < len(items):
        inactive = tensor.clone()
        for position, part in enumerate(inactive.unbind(dim)):
            if position in active:
                part.zero_()
        flow.book("constant", node, inactive, output)


def _setitem(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    """``buffer[index] = value``: the region's relevance goes to what was written, the rest stays with the buffer."""
    by_place = dict(zip(node.places, node.inputs, strict=True))
    buffer, written = by_place.get(0), by_place.get(2)
    if any(place not in (0, 2) for place in by_place):
        raise unsupported("Tensor.__setitem__ with an index that depends on the input", node.path, [tuple(output.shape)])
    args, _ = node.arguments()
    index = args[1]
    key = (output.number, share)
    if key in flow.shared or not tensor.is_contiguous():
        flow.shared.discard(key)
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    part = tensor[index]
    if written is not None:
        flow.give(written, _unbroadcast(part, written.shape).clone(), share)
    elif flow.booking and share is None:
        region = torch.zeros_like(tensor)
        region[index] = part
        flow.book("constant", node, region, output)
    tensor[index] = 0
    if buffer is not None:
        flow.give(buffer, tensor, share)


def _unbroadcast(tensor: Tensor, shape: torch.Size) -> Tensor:
    """Sum over what assignment broadcast; leading dimensions of size 1 may be missing on either side."""
    extra = len(shape) - tensor.dim()
    if extra > 0:
        tensor = tensor.reshape((1,) * extra + tuple(tensor.shape))
    return sum_to(tensor, shape)


def _copy(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    by_place = dict(zip(node.places, node.inputs, strict=True))
    source = by_place.get(1, by_place.get("src", by_place.get("other")))
    if source is not None:
        flow.give(source, sum_to(tensor, source.shape).to(flow.dtype(source)), share, shared=False)
    elif flow.booking and share is None:
        flow.book("constant", node, tensor, output)


def _alias(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    source = node.inputs[0]
    index = region_index(node.args[1], node.args[2]).to(tensor.device)
    flow.place(source, share).view(-1).index_add_(0, index, tensor.reshape(-1))


def _write(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    root, region = node.inputs
    index = region_index(node.args[2], node.args[3]).to(tensor.device)
    rest = tensor.reshape(-1).clone()
    flow.give(region, rest[index].reshape(region.shape), share)
    rest[index] = 0
    flow.give(root, rest.reshape(root.shape), share)


def _selection(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    """Sorted or chosen values: back to where the data had them."""
    flow.give(node.inputs[0], adjoint_of(node, 0, tensor), share)


def _general(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    if any(not value.data.dtype.is_floating_point for value in node.inputs):
        _integers(node, output, share, tensor, flow)
        return
    for position, value in enumerate(node.inputs):
        flow.give(value, _adjoint(node, position, tensor, output), share)
    if flow.booking and share is None and may_hold_constants(node):
        flow.book("constant", node, tensor * constant_places(node, output), output)


def _adjoint(node: Node, position: int, s: Tensor, output: Value) -> Tensor:
    """Routing does not depend on the values, so it is differentiated at zero."""
    zeros = [torch.zeros(v.shape, dtype=s.dtype, device=s.device) for v in node.inputs]
    with torch.enable_grad():
        x = zeros[position].requires_grad_()
        args, kwargs = node.arguments(zeros)
        if node.mutated is not None:
            result: Any = args[node.mutated].clone()
            node.function(*args[: node.mutated], result, *args[node.mutated + 1 :], **kwargs)
        else:
            result = node.function(*args, **kwargs)
        result = result if isinstance(result, Tensor) else result[output.index]
        if not result.requires_grad:  # it only lent its shape, or another of several outputs is meant
            return zeros[position].detach()
        (gradient,) = torch.autograd.grad(result, x, s.to(result.dtype), materialize_grads=True)
    return gradient.clone() if 0 in gradient.stride() or gradient.data_ptr() == s.data_ptr() else gradient


def _integers(node: Node, output: Value, share: Share | None, tensor: Tensor, flow: Flow) -> None:
    """Integer inputs (token ids, raw bytes) are routed by running the operation on their positions."""
    for position, value in enumerate(node.inputs):
        count = math.prod(value.shape)
        others = [torch.full(v.shape, -1.0, dtype=torch.float64) for v in node.inputs]
        others[position] = torch.arange(count, dtype=torch.float64).reshape(value.shape)
        args, kwargs = node.arguments([t.to(v.data.device) for t, v in zip(others, node.inputs, strict=True)])
        if node.name in ("pad", "constant_pad_nd"):
            kwargs["value"] = -1.0
            args = args[:3] if node.name == "pad" else args[:2]
        if node.name in ("where", "masked_fill"):
            args = tuple(-1.0 if isinstance(a, (int, float)) and i > 0 else a for i, a in enumerate(args))
        args = tuple(_marked(a, node, i) for i, a in enumerate(args))
        result = node.function(*args, **kwargs)
        places = (result if isinstance(result, Tensor) else result[output.index]).reshape(-1).long()
        kept = places >= 0
        found = torch.zeros(count, dtype=tensor.dtype, device=tensor.device)
        found.index_add_(0, places[kept], tensor.reshape(-1)[kept])
        flow.give(value, found.reshape(value.shape), share)
        if flow.booking and share is None and position == 0 and len(node.inputs) == 1:
            flow.book("constant", node, (tensor.reshape(-1) * ~kept).reshape(output.shape), output)


def _marked(argument: Any, node: Node, place: Any) -> Any:
    """Constant integer tensors beside token ids (padding in a cat) count as no position."""
    if isinstance(argument, Tensor) and place not in node.places and node.name in ("where", "masked_scatter"):
        return torch.full(argument.shape, -1.0, dtype=torch.float64) if argument.dtype != torch.bool else argument
    if isinstance(argument, (list, tuple)) and any(isinstance(a, Tensor) for a in argument):
        return type(argument)(
            a if (place, i) in node.places else torch.full(a.shape, -1.0, dtype=torch.float64) for i, a in enumerate(argument)
        )
    return argument


SELF_CONTAINED = frozenset({
    "expand", "expand_as", "broadcast_to", "broadcast_tensors", "repeat", "tile", "repeat_interleave", "flip", "fliplr", "flipud",
    "roll", "rot90", "gather", "take", "take_along_dim", "index_select", "masked_select", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle", "unfold", "diag", "__getitem__", "meshgrid", "combinations",
})  # fmt: skip


def may_hold_constants(node: Node) -> bool:
    """Whether some elements of a routing operation's output can come from constants: padding, fill, other branches."""
    return node.name not in SELF_CONTAINED


def constant_places(node: Node, output: Value) -> Tensor:
    """1 where an element of the output does not come from an active input, else 0; found by routing a mark.

    ``f`` is affine: with marks m, ``f(1) - f(0)`` is 1 exactly where an active value arrived.
    """
    marks = []
    for number in (1.0, 0.0):
        tensors = [torch.full(v.shape, number, dtype=v.data.dtype, device=v.data.device) for v in node.inputs]
        args, kwargs = node.arguments(tensors)
        if node.mutated is not None:
            result: Any = args[node.mutated].clone()
            node.function(*args[: node.mutated], result, *args[node.mutated + 1 :], **kwargs)
        else:
            result = node.function(*args, **kwargs)
        marks.append(result if isinstance(result, Tensor) else result[output.index])
    # A fill of ±inf (attention masks) would make a difference of NaN.
    arrived = (marks[0] - marks[1]).nan_to_num(nan=0.0)
    return 1.0 - arrived.clamp(0, 1)


HANDLERS = {
    "stack": _stack,
    "reshape": _reshape, "permute": _permute, "slice": _slice, "cat": _cat, "setitem": _setitem, "copy": _copy, "alias": _alias,
    "write": _write, "selection": _selection,
}  # fmt: skip
