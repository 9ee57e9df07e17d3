"""The table of known operations: which torch function is which operation.

Dispatch is on function objects, never on names: ``1 / x`` calls a function named ``__rdiv__``, and ``torch.mm`` calls itself
``torch.spmm``.  One operation has many function objects (``torch.relu``, ``Tensor.relu``, ``F.relu``, ``torch.relu_``); they are
collected here, once, by looking a name up in every namespace that may hold it.

The *kind* of an operation decides which family of rules handles it:

============== ======================================================================================
route          copies values from place to place (views, slices, cat, pad, gather, ...)
activation     element-wise function of one value: relevance passes unchanged
linear         one active factor times constant weights (linear, matmul, einsum, ...)
convolution    likewise
embedding      looks rows up by active token ids
add, mul       what they are depends on their arguments: sum or shift, product or scale
mean           linear with fixed non-negative coefficients (sum, mean, average pools, bilinear interpolation)
max-pool, max  the largest value wins
normalisation  subtracts a mean and divides by a deviation of the value itself
recurrent      one layer of a fused LSTM, GRU or RNN kernel, both directions, or one step of a cell
softmax        peeled at the output, a gate over signals, an expectation over constants
gate           declares a gate
fill           overwritten by a constant
constant       does not depend on the content of its arguments (zeros_like, new_zeros, ...)
============== ======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NAMESPACES: tuple[Any, ...] = (torch, Tensor, F, torch.special, torch._C._nn, torch.linalg, torch.functional)


@dataclass(frozen=True, slots=True)
class Operation:
    """One known operation.

    Attributes:
        name: torch's name for it, without the in-place underscore.
        kind: the family of rules that handles it.
        how: for routes, how the adjoint is taken: "reshape", "permute", "slice", "cat", or "" for the general way; "pack" makes a
            packed sequence, whose batch sizes are constants.
        mutates: position of the argument the function writes into, ``None`` if it does not.
        inplace: position of its ``inplace`` flag, ``None`` if it has none.
        reads: whether a rule needs the data of inputs and outputs (views do not).
        open: replaces the call by an equivalent sequence of recorded calls.
        lends: the second argument only lends its shape or type (``view_as``).
        simple: it only computes: not opened, writes nowhere, has no flag to write.
        geometric: an in-place function that changes the shape and leaves the content (``t_``).
    """

    name: str
    kind: str
    how: str = ""
    mutates: int | None = None
    inplace: int | None = None
    reads: bool = True
    open: Callable[..., Any] | None = None
    geometric: bool = False
    lends: bool = False
    simple: bool = field(init=False)

    def __post_init__(self) -> None:
        special = self.open is not None or self.mutates is not None or self.inplace is not None or self.lends
        checked = self.kind in ("constant", "recurrent") or self.how == "pack" or self.name in ("einsum", "div")
        object.__setattr__(self, "simple", not special and not checked)


IGNORED = Operation("ignored", "ignored")
NOTED = Operation("noted", "noted")
TABLE: dict[Any, Operation] = {}


def functions(name: str) -> Iterable[Any]:
    """Every function object torch offers under a name."""
    for namespace in NAMESPACES:
        found = getattr(namespace, name, None)
        if found is not None and callable(found):
            yield found


def register(operation: Operation, *names: str, extra: Iterable[Any] = ()) -> None:
    """Enter an operation under all function objects of ``names``, in-place variants included."""
    for name in names or (operation.name,):
        for function in functions(name):
            TABLE[function] = operation
        if not name.startswith("__"):
            for function in functions(name + "_"):
                TABLE[function] = replace(operation, mutates=0, inplace=None)
    for function in extra:
        TABLE[function] = operation


def register_all(kind: str, names: str, **fields: Any) -> None:
    """Enter one operation per word of ``names``."""
    for name in names.split():
        register(Operation(name, kind, **fields))


def getter(name: str) -> Any:
    """The function object behind a property of Tensor, as a function mode sees it."""
    return getattr(Tensor, name).__get__


def _routes() -> None:
    route: dict[str, Any] = {"kind": "route", "reads": False}
    register_all(
        names="view reshape flatten unflatten squeeze unsqueeze ravel view_as reshape_as clone contiguous to float double half "
        "bfloat16 int long short byte "
        "type type_as detach cpu cuda atleast_1d atleast_2d atleast_3d alias positive resolve_conj resolve_neg "
        "asarray as_tensor requires_grad_ __copy__ __deepcopy__ pin_memory",
        how="reshape",
        **route,
    )
    register_all(names="permute transpose t swapaxes swapdims movedim moveaxis adjoint numpy_T matrix_H", how="permute", **route)
    register(Operation("permute", how="permute", **route), extra=[getter(n) for n in ("T", "mT", "H", "mH")])
    register(Operation("reshape", how="reshape", **route), extra=[getter(n) for n in ("data", "real")])
    register_all(
        names="select narrow chunk split unbind tensor_split hsplit vsplit dsplit diagonal unsafe_chunk unsafe_split "
        "split_with_sizes __getitem__",
        how="slice",
        **route,
    )
    register_all(names="cat concat concatenate", how="cat", **route)
    register_all(names="stack", how="stack", **route)
    register_all(
        names="hstack vstack dstack column_stack row_stack expand expand_as broadcast_to broadcast_tensors repeat tile "
        "repeat_interleave flip fliplr flipud roll rot90 gather take take_along_dim index_select where masked_fill "
        "masked_select masked_scatter scatter index_fill index_copy select_scatter slice_scatter diagonal_scatter "
        "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle unfold tril triu diag diag_embed diagflat "
        "constant_pad_nd block_diag meshgrid combinations cartesian_prod max_unpool1d max_unpool2d max_unpool3d "
        "index_put",
        **route,
    )
    register(Operation("pad", **route), extra=[F.pad])
    register(Operation("_pack_padded_sequence", how="pack", **route))
    register_all(names="_pad_packed_sequence pad_sequence", **route)
    TABLE[torch._C._nn.pad_sequence] = Operation("pad_sequence", **route)
    for name in ("view_as", "reshape_as", "expand_as", "type_as"):
        for function in functions(name):
            TABLE[function] = replace(TABLE[function], lends=True)
    for name in ("t_", "transpose_", "swapaxes_", "swapdims_", "unsqueeze_", "squeeze_"):
        TABLE[getattr(Tensor, name)] = Operation(
            name[:-1], "route", "permute" if name[0] == "t" or "swap" in name else "reshape", 0, reads=False, geometric=True
        )
    TABLE[Tensor.__setitem__] = Operation("setitem", "route", "setitem", mutates=0, reads=False)
    TABLE[Tensor.copy_] = Operation("copy", "route", "copy", mutates=0, reads=False)
    for function in (Tensor.zero_, Tensor.fill_, torch.zero_, torch.fill_, torch.fill):
        mutates = None if function is torch.fill else 0
        TABLE[function] = Operation("fill", "fill", mutates=mutates, reads=False)
    # Values routed by an order statistic: where they come from depends on the data.
    register_all("route", "sort topk kthvalue msort median nanmedian mode", how="selection")


ACTIVATIONS = {
    "relu": 1, "relu6": 1, "hardtanh": 3, "elu": 2, "selu": 1, "celu": 2, "leaky_relu": 2, "rrelu": 4, "hardswish": 1,
    "hardsigmoid": 1, "silu": 1, "mish": 1, "threshold": 3,
}  # fmt: skip


def _activations() -> None:
    for name, flag in ACTIVATIONS.items():
        register(Operation(name, "activation", inplace=flag, reads=False))
    register_all(
        "activation",
        "prelu gelu sigmoid tanh softplus softsign logsigmoid log_sigmoid tanhshrink hardshrink softshrink clamp clip "
        "clamp_min clamp_max exp exp2 expm1 log log1p log2 log10 sqrt rsqrt reciprocal square abs absolute sin cos tan "
        "arctan atan asin acos arcsin arccos sinh cosh asinh acosh atanh erf erfc erfinv expit logit nan_to_num __abs__ "
        "i0 sinc entr ndtr log_ndtr",
        reads=False,
    )
    register(Operation("pow", "activation", reads=False), "pow", "__pow__", "__rpow__", "float_power")
    register(Operation("reciprocal", "activation", reads=False), "__rtruediv__", "__rdiv__")


def _affine() -> None:
    register_all("linear", "linear matmul mm bmm mv __matmul__ __rmatmul__ einsum tensordot dot inner vdot vecdot chain_matmul")
    register(Operation("matmul", "linear"), "__matmul__", "matmul")
    register(Operation("rmatmul", "linear"), "__rmatmul__")
    register_all("convolution", "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
    register_all("embedding", "embedding embedding_bag")


def _arithmetic() -> None:
    register(Operation("add", "add"), "add", "__add__", "__radd__", "__iadd__")
    register(Operation("sub", "add"), "sub", "subtract", "__sub__", "__isub__")
    register(Operation("rsub", "add"), "rsub", "__rsub__")
    register(Operation("mul", "mul"), "mul", "multiply", "__mul__", "__rmul__", "__imul__")
    register(Operation("div", "mul"), "div", "divide", "true_divide", "__truediv__", "__div__", "__itruediv__")
    register(Operation("neg", "mul"), "neg", "negative", "__neg__")
    for name in ("__iadd__", "__isub__", "__imul__", "__itruediv__"):
        TABLE[getattr(Tensor, name)] = replace(TABLE[getattr(Tensor, name)], mutates=0)


def _pools() -> None:
    register_all(
        "mean",
        "sum mean nansum nanmean cumsum avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
        "adaptive_avg_pool3d interpolate upsample upsample_bilinear upsample_nearest fold trace sum_to_size "
        "index_add scatter_add",
    )
    for size in "123":
        for name in (f"max_pool{size}d", f"adaptive_max_pool{size}d"):
            register(Operation(name, "max-pool"), name, f"{name}_with_indices")
    register_all("max", "max min amax amin maximum minimum fmax fmin")


def _others() -> None:
    register_all("normalisation", "layer_norm group_norm rms_norm instance_norm local_response_norm normalize")
    register_all("softmax", "softmax log_softmax softmin", reads=True)
    register_all("recurrent", "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", reads=True)
    register_all(
        "constant",
        "zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros new_ones new_full new_empty "
        "new_tensor new_empty_strided empty_strided",
        reads=False,
    )
    ignored = (
        "size dim ndimension numel nelement stride storage_offset is_contiguous is_floating_point is_complex __len__ data_ptr "
        "untyped_storage storage element_size is_same_size get_device is_pinned has_names register_hook retain_grad "
        "dim_order is_storage argmax argmin argsort __hash__"
    )
    for name in ignored.split():
        for function in functions(name):
            TABLE.setdefault(function, IGNORED)
    properties = (
        "shape dtype device ndim layout requires_grad is_leaf grad grad_fn is_cuda is_cpu is_mps is_meta is_sparse is_quantized "
        "is_nested is_mkldnn names itemsize nbytes _version _base output_nr retains_grad is_xpu"
    )
    for name in properties.split():
        if hasattr(Tensor, name):
            TABLE[getter(name)] = IGNORED
    TABLE[torch._C._set_grad_enabled] = IGNORED
    for name in (
        "item tolist numpy __array__ __float__ __int__ __bool__ __index__ __complex__ __format__ __repr__ __str__ __dlpack__ "
        "__contains__ equal allclose is_nonzero"
    ).split():
        for function in functions(name):
            TABLE[function] = NOTED


def _build() -> None:
    _routes()
    _activations()
    _affine()
    _arithmetic()
    _pools()
    _others()


_build()

# Wrapping the data of an active tensor again, with numpy in the middle: nothing links the result to its origin.
REFUSED = {
    Tensor.__array_wrap__: "numpy computed on it (through __array_wrap__), outside torch's sight",
    Tensor.set_: "Tensor.set_ exchanges the memory behind a tensor",
    Tensor.resize_: "Tensor.resize_ changes the memory behind a tensor",
    Tensor.data.__set__: "assigning to .data exchanges the memory behind a tensor",  # type: ignore[attr-defined]
    Tensor.apply_: "Tensor.apply_ runs Python on single numbers",
    Tensor.map_: "Tensor.map_ runs Python on single numbers",
}
