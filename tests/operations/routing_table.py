"""The table's routing part: everything that only moves, copies, selects or replaces elements (see `table`)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.operations.table import COLUMNS, INDEX, MASK, Group, Spelling, assign, const, inplace

C = const(4, seed=61)


def _one(*spellings: Spelling, shape: tuple[int, ...] = (4,)) -> Group:
    return Group(shape, list(spellings))


def _two(*spellings: Spelling, shape: tuple[int, ...] = (4,)) -> Group:
    return Group(shape, list(spellings), operands=2)


def _filled(write: Callable[[Tensor, Tensor], Any]) -> Spelling:
    """Write ``h`` into a buffer of zeros, step by step."""

    def spelling(h: Tensor) -> Tensor:
        out = torch.zeros(len(h), 3, 4, dtype=h.dtype)
        write(out, h)
        return out

    return spelling


def _setitems(out: Tensor, h: Tensor) -> None:
    for t in range(3):
        out[:, t] = h[:, t]


def _select_copies(out: Tensor, h: Tensor) -> None:
    for t, step in enumerate(h.unbind(1)):
        out.select(1, t).copy_(step)


def _whole(out: Tensor, h: Tensor) -> None:
    out[:] = h


JOINS = {
    "cat": _two(
        lambda h, k: torch.cat([h, k], 1),
        lambda h, k: torch.concat((h, k), dim=1),
        lambda h, k: torch.concatenate([h, k], 1),
        lambda h, k: torch.hstack([h, k]),
        lambda h, k: torch.cat((h, k), dim=-1),
        lambda h, k: torch.column_stack([h, k]),
        lambda h, k: torch.stack([h, k], 1).flatten(1),
        lambda h, k: F.pad(h, (0, 4)) + F.pad(k, (4, 0)),
    ),
    "cat with a constant": _one(
        lambda h: torch.cat([h, C.expand(len(h), 4)], 1),
        lambda h: torch.hstack([h, C.repeat(len(h), 1)]),
    ),
    "stack": _two(
        lambda h, k: torch.stack([h, k], 1),
        lambda h, k: torch.stack((h, k), dim=-2),
        lambda h, k: torch.cat([h[:, None], k[:, None]], 1),
        lambda h, k: torch.stack([h, k]).transpose(0, 1),
    ),
    "split": _one(
        lambda h: h.split(2, 1)[1],
        lambda h: torch.split(h, 2, dim=1)[1],
        lambda h: h.chunk(2, 1)[1],
        lambda h: torch.chunk(h, 2, dim=1)[1],
        lambda h: h.tensor_split(2, 1)[1],
        lambda h: h[:, 2:],
        lambda h: h.narrow(1, 2, 2),
        lambda h: torch.narrow(h, 1, 2, 2),
        lambda h: h.split([2, 2], dim=1)[-1],
        lambda h: torch.stack(h.unbind(1)[2:], 1),
        lambda h: h[..., -2:],
        lambda h: h[:, slice(2, None)],
    ),
    "split in unequal parts, swapped": _one(
        lambda h: torch.cat(h.split([1, 3], 1)[::-1], 1),
        lambda h: torch.cat(list(torch.split_with_sizes(h, [1, 3], 1))[::-1], 1),
        lambda h: torch.cat([h[:, 1:], h[:, :1]], 1),
        lambda h: h.roll(-1, 1),
    ),
    "unbind": _one(
        lambda h: h.unbind(1)[2],
        lambda h: torch.unbind(h, 1)[2],
        lambda h: h[:, 2],
        lambda h: h.select(1, 2),
        lambda h: torch.select(h, 1, 2),
        lambda h: list(h.transpose(0, 1))[2],
        lambda h: h[:, -1],
        shape=(3, 4),
    ),
    "a loop over steps": _one(
        lambda h: torch.stack([step * (t + 1) for t, step in enumerate(h.unbind(1))], 1),
        lambda h: torch.stack([h[:, t] * (t + 1) for t in range(3)], 1),
        lambda h: h * torch.tensor([[1.0], [2.0], [3.0]]),
        shape=(3, 4),
    ),
}

SELECTIONS = {
    "strided slice": _one(
        lambda h: h[:, ::2], lambda h: h[:, [0, 2]], lambda h: h[..., 0:4:2], lambda h: h.view(len(h), 2, 2)[:, :, 0]
    ),
    "index": _one(
        lambda h: h[:, INDEX],
        lambda h: h.index_select(1, INDEX),
        lambda h: torch.index_select(h, 1, INDEX),
        lambda h: h[:, [2, 0, 0]],
        lambda h: torch.stack([h[:, 2], h[:, 0], h[:, 0]], 1),
        lambda h: h.gather(1, INDEX.expand(len(h), 3)),
        lambda h: torch.take_along_dim(h, INDEX[None], 1),
        lambda h: h.T[INDEX].T,
    ),
    "boolean index": _one(lambda h: h[:, MASK], lambda h: h[:, [0, 3]], lambda h: h[:, MASK.nonzero()[:, 0]]),
    "gather": _one(
        lambda h: h.gather(1, COLUMNS.expand(len(h), 3)),
        lambda h: torch.gather(h, 1, COLUMNS.repeat(len(h), 1)),
        lambda h: torch.take_along_dim(h, COLUMNS, dim=1),
        lambda h: h[:, COLUMNS[0]],
    ),
    "last step by length": _one(
        lambda h: h[torch.arange(len(h)), torch.full((len(h),), 1)],
        lambda h: h.gather(1, torch.full((len(h), 1, 4), 1))[:, 0],
        lambda h: h[range(len(h)), [1] * len(h)],
        shape=(3, 4),
    ),
    "where with a constant condition": _two(
        lambda h, k: torch.where(MASK, h, k),
        lambda h, k: h.where(MASK, k),
        lambda h, k: torch.where(~MASK, k, h),
        lambda h, k: h * MASK + k * ~MASK,
        lambda h, k: h.masked_fill(~MASK, 0.0) + k.masked_fill(MASK, 0.0),
    ),
    "where with a condition on the values": _two(
        lambda h, k: torch.where(h > 0, h, k),
        lambda h, k: torch.where(torch.gt(h, 0), h, k),
        lambda h, k: torch.where(h <= 0, k, h),
    ),
    "where with a number": _one(
        lambda h: torch.where(MASK, h, 2.0),
        lambda h: h.masked_fill(~MASK, 2.0),
        lambda h: torch.masked_fill(h, ~MASK, 2.0),
        inplace(lambda y: y.masked_fill_(~MASK, 2.0)),
        lambda h: torch.where(MASK, h, torch.full_like(h, 2.0)),
        assign((slice(None), ~MASK), lambda h: 2.0),
    ),
    "topk as indices": _one(
        lambda h: h.gather(1, h.topk(2, 1).indices),
        lambda h: h.gather(1, torch.topk(h, 2)[1]),
        lambda h: torch.take_along_dim(h, h.topk(2, 1)[1], 1),
    ),
    "argmax as a constant": _one(
        lambda h: h * F.one_hot(h.argmax(1), 4),
        lambda h: h * (torch.arange(4) == torch.argmax(h, 1, keepdim=True)),
        lambda h: h.masked_fill(~F.one_hot(h.argmax(1), 4).bool(), 0.0),
    ),
    "triangles": _one(lambda h: h.tril(), lambda h: torch.tril(h), lambda h: h * torch.ones(3, 4).tril(), shape=(3, 4)),
    "diagonal": _one(lambda h: h.diagonal(0, 1, 2), lambda h: h[:, [0, 1, 2], [0, 1, 2]], shape=(3, 4)),
}

WRITES = {
    "out[:, t] = h": _one(
        _filled(_setitems), lambda h: h * 1.0, _filled(_select_copies), _filled(_whole), shape=(3, 4)
    ),
    "slice assignment": _one(
        assign((slice(None), slice(0, 2)), lambda h: h[:, 2:]),
        lambda h: torch.cat([h[:, 2:], h[:, 2:]], 1),
        inplace(lambda y: y[:, :2].copy_(y[:, 2:])),
        lambda h: torch.slice_scatter(h, h[:, 2:], 1, 0, 2),
    ),
    "assignment of a number": _one(
        assign((slice(None), 1), lambda h: 3.0),
        inplace(lambda y: y[:, 1].fill_(3.0)),
        lambda h: torch.cat([h[:, :1], torch.full((len(h), 1), 3.0, dtype=h.dtype), h[:, 2:]], 1),
    ),
    "assignment through an index": _one(
        assign((slice(None), torch.tensor([3, 1])), lambda h: h[:, :2]),
        lambda h: torch.stack([h[:, 0], h[:, 1], h[:, 2], h[:, 0]], 1),
    ),
    "index_add": _one(
        lambda h: h.index_add(1, torch.tensor([0, 0]), h[:, 2:]),
        lambda h: h + F.pad(h[:, 2:3] + h[:, 3:], (0, 3)),
        inplace(lambda y: y.index_add_(1, torch.tensor([0, 0]), y[:, 2:] * 1.0)),
    ),
}

SHAPES = {
    "identity": _one(
        lambda h: h.clone(),
        torch.clone,
        Tensor.contiguous,
        lambda h: h.detach(),
        torch.detach,
        lambda h: h.to(torch.float64),
        Tensor.double,
        lambda h: h.to("cpu"),
        lambda h: h.cpu(),
        lambda h: h.type(torch.float64),
        lambda h: h.type_as(C),
        lambda h: +h,
        lambda h: h.requires_grad_(False),
        nn.Identity(),
        lambda h: F.dropout(h, 0.5, training=False),
        nn.Dropout().eval(),
        nn.AlphaDropout().eval(),
        nn.FeatureAlphaDropout().eval(),
        lambda h: torch.dropout(h, 0.5, False),
        lambda h: F.dropout1d(h, training=False),
        lambda h: h.data,
        lambda h: h.expand_as(h),
        lambda h: h[:],
        lambda h: h[...],
        lambda h: torch.empty_like(h).copy_(h),
        lambda h: h.view_as(h),
        lambda h: torch.positive(h),
        lambda h: torch.asarray(h),
        shape=(3, 4),
    ),
    "precision": _one(
        lambda h: h.double().to(h.dtype), lambda h: h.to(dtype=torch.float64, copy=True), lambda h: h.to(C)
    ),
    "permute": _one(
        lambda h: h.permute(0, 2, 1),
        lambda h: torch.permute(h, (0, 2, 1)),
        lambda h: h.transpose(1, 2),
        lambda h: torch.transpose(h, 1, 2),
        lambda h: h.mT,
        lambda h: h.swapaxes(1, 2),
        lambda h: torch.swapdims(h, 1, 2),
        lambda h: h.movedim(1, 2),
        lambda h: torch.moveaxis(h, 2, 1),
        lambda h: torch.einsum("bij->bji", h),
        lambda h: h.adjoint(),
        inplace(lambda y: y.transpose_(1, 2)),
        shape=(3, 4),
    ),
    "transposed matrices": _one(lambda h: h.T.T * 1.0, lambda h: h.t().t() * 1.0, lambda h: torch.t(h.T) * 1.0),
    "view": _one(
        lambda h: h.view(len(h), 4, 3),
        lambda h: h.reshape(len(h), 4, 3),
        lambda h: torch.reshape(h, (-1, 4, 3)),
        lambda h: h.flatten(1).unflatten(1, (4, 3)),
        nn.Sequential(nn.Flatten(), nn.Unflatten(1, (4, 3))),
        lambda h: h.view(-1, 4, 3),
        lambda h: torch.flatten(h, 1).view(len(h), 4, 3),
        lambda h: h.reshape_as(torch.zeros(len(h), 4, 3)),
        lambda h: torch.unflatten(h.flatten(1), 1, (4, 3)),
        shape=(3, 4),
    ),
    "squeeze": _one(
        lambda h: h[:, None].squeeze(1),
        lambda h: h.unsqueeze(-1).squeeze(-1),
        lambda h: torch.squeeze(torch.unsqueeze(h, 2), 2),
        lambda h: h[..., None][..., 0],
        lambda h: h[None][0],
        inplace(lambda y: y.unsqueeze_(1).squeeze_(1)),
    ),
    "expand": _one(
        lambda h: h[:, None].expand(-1, 3, -1),
        lambda h: h[:, None].expand(len(h), 3, 4),
        lambda h: h.unsqueeze(1).repeat(1, 3, 1),
        lambda h: torch.stack([h, h, h], 1),
        lambda h: torch.broadcast_to(h[:, None], (len(h), 3, 4)),
        lambda h: h[:, None].tile((1, 3, 1)),
        lambda h: torch.tile(h[:, None], (1, 3, 1)),
        lambda h: h[:, None].repeat_interleave(3, 1),
        lambda h: torch.broadcast_tensors(h[:, None], torch.zeros(3, 1))[0],
    ),
    "repeat": _one(
        lambda h: h.repeat(1, 2),
        lambda h: torch.cat([h, h], 1),
        lambda h: h.tile(1, 2),
        lambda h: h[:, [0, 1, 2, 3] * 2],
    ),
    "repeat_interleave": _one(
        lambda h: h.repeat_interleave(2, 1),
        lambda h: torch.repeat_interleave(h, 2, dim=1),
        lambda h: h[:, [0, 0, 1, 1, 2, 2, 3, 3]],
        lambda h: F.interpolate(h[:, None], scale_factor=2)[:, 0],
    ),
    "flip": _one(
        lambda h: h.flip(1),
        lambda h: torch.flip(h, [1]),
        lambda h: torch.fliplr(h),
        lambda h: h[:, [2, 1, 0]],
        lambda h: h.flip((1,)),
        shape=(3, 4),
    ),
    "roll": _one(
        lambda h: h.roll(1, 1),
        lambda h: torch.roll(h, 1, 1),
        lambda h: torch.roll(h, shifts=-2, dims=1),
        lambda h: h[:, [2, 0, 1]],
        shape=(3, 4),
    ),
    "rot90": _one(
        lambda h: torch.rot90(h, 1, (1, 2)), lambda h: h.rot90(1, [1, 2]), lambda h: h.mT.flip(1), shape=(3, 4)
    ),
    "pad": _one(
        lambda h: F.pad(h, (1, 2)),
        lambda h: F.pad(h, (1, 2), "constant", 0.0),
        nn.ConstantPad1d((1, 2), 0.0),
        nn.ZeroPad1d((1, 2)),
        lambda h: torch.cat([h.new_zeros(len(h), 3, 1), h, h.new_zeros(len(h), 3, 2)], 2),
        shape=(3, 4),
    ),
    "pad with a number": _one(
        lambda h: F.pad(h, (1, 2), value=1.5), lambda h: F.pad(h, (1, 2)) + F.pad(torch.zeros(4), (1, 2), value=1.5)
    ),
    "pad, negative": _one(lambda h: F.pad(h, (-1, 1)), lambda h: F.pad(h[:, 1:], (0, 1))),
    "pad, reflect": _one(
        lambda h: F.pad(h, (2, 1), mode="reflect"),
        nn.ReflectionPad1d((2, 1)),
        lambda h: h[..., [2, 1, 0, 1, 2, 3, 2]],
        shape=(3, 4),
    ),
    "pad, replicate": _one(lambda h: F.pad(h, (2, 1), mode="replicate"), nn.ReplicationPad1d((2, 1)), shape=(3, 4)),
    "pad, circular": _one(
        lambda h: F.pad(h, (2, 1), mode="circular"),
        nn.CircularPad1d((2, 1)),
        lambda h: h[..., [2, 3, 0, 1, 2, 3, 0]],
        shape=(3, 4),
    ),
    "unfold": _one(lambda h: h.unfold(1, 2, 1), lambda h: torch.stack([h[:, :3], h[:, 1:]], 2)),
    "im2col": _one(lambda h: F.unfold(h, 2), nn.Unfold(2), shape=(2, 3, 3)),
    "fold": _one(lambda h: F.fold(h, (3, 3), 2), nn.Fold((3, 3), 2), shape=(4, 4)),
}

RESAMPLING = {
    "interpolate, nearest": _one(
        lambda h: F.interpolate(h, scale_factor=2),
        nn.Upsample(scale_factor=2),
        lambda h: F.interpolate(h, (4, 6)),
        shape=(2, 2, 3),
    ),
    "interpolate, bilinear": _one(
        lambda h: F.interpolate(h, (5, 4), mode="bilinear", align_corners=False),
        nn.Upsample((5, 4), mode="bilinear"),
        shape=(2, 2, 3),
    ),
    "interpolate, aligned": _one(
        lambda h: F.interpolate(h, (4, 5), mode="bilinear", align_corners=True), shape=(1, 2, 3)
    ),
    "interpolate, bicubic": _one(lambda h: F.interpolate(h, (5, 4), mode="bicubic"), shape=(1, 3, 3)),
    "interpolate, area": _one(
        lambda h: F.interpolate(h, (2, 2), mode="area"), lambda h: F.adaptive_avg_pool2d(h, 2), shape=(2, 3, 5)
    ),
    "interpolate, linear": _one(
        lambda h: F.interpolate(h, 7, mode="linear"), nn.Upsample(7, mode="linear"), shape=(2, 4)
    ),
    "interpolate, trilinear": _one(lambda h: F.interpolate(h, (3, 3, 2), mode="trilinear"), shape=(1, 2, 2, 2)),
    "pixel_shuffle": _one(
        lambda h: F.pixel_shuffle(h, 2),
        nn.PixelShuffle(2),
        lambda h: torch.pixel_shuffle(h, 2),
        lambda h: h.view(len(h), 1, 2, 2, 2, 3).permute(0, 1, 4, 2, 5, 3).reshape(len(h), 1, 4, 6),
        shape=(4, 2, 3),
    ),
    "pixel_unshuffle": _one(lambda h: F.pixel_unshuffle(h, 2), nn.PixelUnshuffle(2), shape=(1, 4, 2)),
    "channel_shuffle": _one(
        lambda h: F.channel_shuffle(h, 2), nn.ChannelShuffle(2), lambda h: h[:, [0, 2, 1, 3]], shape=(4, 2, 2)
    ),
}
