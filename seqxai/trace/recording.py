"""``capture``: run a model once, unmodified, and return the trace of what it did."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from seqxai.errors import CaptureError, InputError, UnsupportedOperation
from seqxai.trace.calls import constants_of
from seqxai.trace.graph import Trace, module_name
from seqxai.trace.lenient import LenientMode
from seqxai.trace.mode import CaptureMode

COMPILED = "_orig_mod."
COMPILER = "torch._dynamo"  # imported by torch.compile


class TraceWarning(UserWarning):
    """Something a user should know about a recorded run, which does not make it wrong by itself."""


def capture(
    model: Any,
    inputs: Tensor | tuple[Tensor, ...] | list[Tensor],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    unroll: bool = False,
    lenient: bool = False,
) -> Trace:
    """Record one run of ``model(*inputs, *args, **kwargs)``.

    The model runs once, as it is, without autograd and with compiled modules executed eagerly.  Afterwards no hook is left;
    written
    buffers, the random state and the garbage collector are as before, also when the model raises.

    Args:
        model: an ``nn.Module`` or any callable that returns a tensor, or a tuple, list or dict of them.
        inputs: the tensor whose content is to be explained, any shape, batch first by convention; or a tuple of several.
        args: further positional arguments, constants of the call.
        kwargs: keyword arguments, constants of the call.
        unroll: record the steps of ``nn.LSTM``, ``nn.GRU``, ``nn.RNN`` and their cells one by one, as if they were written by hand,
            instead of one node for each layer.
        lenient: record operations without a rule too, as nodes of the kind "unknown", for methods that only run the model again.

    Raises:
        InputError: if an input is not a tensor, or is NaN or infinite, or a recurrent layer refuses what it gets.
        CaptureError: if the output is not linked to the input.
        UnsupportedOperation: if the run contains an operation nobody can attribute through.
    """
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper around the module
    mode = LenientMode if lenient else CaptureMode
    with torch.inference_mode(False):  # tensors made under it could not be differentiated on the way back
        if COMPILER not in sys.modules:
            try:
                trace = _capture(model, inputs, args, kwargs, mode, unroll)
            except Exception:
                if COMPILER not in sys.modules:
                    raise
            else:
                if COMPILER not in sys.modules:
                    return trace
            # The model called torch.compile for the first time: once more, as the Python it came from.
        return _capture(model, inputs, args, kwargs, mode, unroll)


def _capture(
    model: Any,
    inputs: Tensor | tuple[Tensor, ...] | list[Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    recorder: type[CaptureMode],
    unroll: bool,
) -> Trace:
    if isinstance(inputs, nn.utils.rnn.PackedSequence):
        raise InputError("The explained input must be a tensor, got a PackedSequence; give the padded tensor and pack it inside the model.")
    tensors = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    for tensor in tensors:
        _check_input(tensor)
    trace = Trace()
    mode = recorder(trace, unroll)
    # Models write into their input (x /= 255): they get a copy.
    trace.input_tensors = [tensor.detach().clone() for tensor in tensors]
    trace.call = (model, args, dict(kwargs or {}))
    trace.random_state = torch.get_rng_state()
    names = dict(_modules_of(model))
    buffers = [(m, dict(m._buffers)) for m in names if m._buffers and not isinstance(m, torch.jit.ScriptModule)]
    mode.belongings = lambda: _belongings(model, (*args, *(kwargs or {}).values()))
    for tensor in trace.input_tensors:
        trace.inputs.append(mode.add_input(tensor))
    try:
        with _quiet_interpreter(trace), _module_paths(mode, names), torch.no_grad():
            # Compiled code hides its operations; a stance makes torch run the original Python instead.
            with _eager(names), _recurrent_errors(mode), mode:
                trace.output = model(*trace.input_tensors, *args, **(kwargs or {}))
            _finish(trace, mode)
    finally:
        mode.close()
        with torch.no_grad():
            for tensor, saved in mode.restored:
                tensor.copy_(saved)
        for module, registered in buffers:  # self.state = new_state
            module._buffers.update(registered)
    return trace


def _modules_of(model: Any) -> Iterator[tuple[nn.Module, str]]:
    """Every module with its path, wrappers of torch.compile taken out of it."""
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        yield module, name.replace(COMPILED, "").removesuffix("._orig_mod") if "_orig_mod" in name else name


@contextlib.contextmanager
def _eager(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Run compiled code as the Python it came from."""
    if COMPILER not in sys.modules:  # nothing is compiled yet, and asking the compiler would import it: two seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        if not any("_orig_mod" in m._modules for m in modules):
            yield
            return
        with warnings.catch_warnings():
            # torch warns that hooks fire once more for the compiled wrapper, which is harmless here.
            warnings.filterwarnings("ignore", message="Using `torch.compile")
            yield


@contextlib.contextmanager
def _recurrent_errors(mode: CaptureMode) -> Iterator[None]:
    """What torch's recurrent modules say of a bad input comes with the shapes they got and what to do."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, AttributeError, TypeError) as error:
        module, path, inputs = mode.failed or (None, "", ())
        if not isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            raise
        given = list(tensors_in(inputs))
        integers = bool(given) and not given[0].dtype.is_floating_point
        remedy = (
            "token ids go through an nn.Embedding first" if integers else
            "give features of the layer's input_size and type, and initial states of the shape it expects"
        )  # fmt: skip
        shapes = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in given)
        raise InputError(
            f"{module} in {module_name(path)} refuses its arguments, got {shapes}: {str(error).rstrip('.')}; {remedy}."
        ) from error


def _check_input(tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise InputError(
            f"The explained input must be a torch tensor or a tuple of them, got {type(tensor).__name__}; "
            "convert it with torch.as_tensor."
        )
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise InputError(f"The explained input must be a dense tensor, got layout {tensor.layout}; convert it with .to_dense().")
    if tensor.dtype.is_complex:
        raise InputError("The explained input must be real, got complex numbers; give real and imaginary parts as two inputs.")
    if not tensor.dtype.is_floating_point:
        return
    # A sum is forty times faster than isfinite(...).all(), and NaN and infinities show in it.
    if not math.isfinite(tensor.detach().sum()) and (bad := int((~torch.isfinite(tensor)).sum())):
        raise InputError(f"The explained input must be finite, got {bad} NaN or infinite numbers; clean the input first.")


def _belongings(model: Any, constants: tuple[Any, ...]) -> Iterator[Tensor]:
    """The tensors a run must leave as they were: arguments, parameters, buffers."""
    yield from (c for c in constants if isinstance(c, Tensor))
    if isinstance(model, nn.Module):
        yield from model.parameters()
        yield from model.buffers()


@contextlib.contextmanager
def _quiet_interpreter(trace: Trace) -> Iterator[None]:
    """Keep the random state, and the garbage collector off: it would walk all nodes again and again."""
    collecting = gc.isenabled()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    gc.disable()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        if collecting:
            if gc.get_freeze_count() == 0:
                # Count the recorded objects as old: the next young collection would visit every one of them, for nothing.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class _Modules:
    """The modules that are running, the innermost last."""

    def __init__(self, mode: CaptureMode, names: Mapping[nn.Module, str]) -> None:
        self.mode, self.names = mode, names
        self.outer: list[str] = []

    def enter(self, module: nn.Module, inputs: Any) -> None:
        """A module begins."""
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedOperation(
                f"The scripted module {self.names.get(module, type(module).__name__)!r} runs outside Python, where its operations "
                "cannot be recorded; expected an eager module: pass the module from before torch.jit.script or torch.jit.trace."
            )
        mode = self.mode
        self.outer.append(mode.path)
        name = self.names.get(module)
        mode.path = name if name is not None else f"{mode.path}.{type(module).__name__}".lstrip(".")

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A module ends, or fails."""
        if not self.outer:
            return
        mode = self.mode
        if output is None and mode.failed is None and sys.exc_info()[1] is not None:
            mode.failed = (module, mode.path, inputs)
        calls = mode.trace.modules.setdefault(mode.path, [])
        mode.path = self.outer.pop()
        for tensor in (output,) if isinstance(output, Tensor) else tensors_in(output):
            entry = mode.bound.get(id(tensor))
            if entry is not None and entry[0] is tensor:
                calls.append(entry[1])


@contextlib.contextmanager
def _module_paths(mode: CaptureMode, names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Follow which module is running, with torch's global module hooks."""
    followed = _Modules(mode, names)
    handles = [
        module_hooks.register_module_forward_pre_hook(followed.enter),
        module_hooks.register_module_forward_hook(followed.leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors in a model's output, in order: a tensor, or nested tuples, lists and dictionaries of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from tensors_in(item)
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from tensors_in(item)


def _finish(trace: Trace, mode: CaptureMode) -> None:
    for tensor in tensors_in(trace.output):
        value = mode.read(tensor)
        if value is not None:
            trace.outputs.append(value)
    trace.bound = mode.bound
    _leave_inference(trace)
    _refuse_mixed_precision(trace)
    noted = ", ".join(f"{name} in {module_name(path)}" for name, path in dict.fromkeys(trace.notes))
    if not trace.outputs:
        raise CaptureError(
            "Expected an output that depends on the explained input, but nothing links them; "
            + (f"the content left torch at {noted}; keep it in tensors." if noted else
               "the model may run scripted code, another thread, or ignore this input.")
        )  # fmt: skip
    if noted:
        warnings.warn(
            f"Numbers that depend on the explained input left torch ({noted}); if they steer the computation, the explanation "
            "misses it: trace.verify(model) tells.",
            TraceWarning,
            stacklevel=4,
        )


def _leave_inference(trace: Trace) -> None:
    """A forward decorated with ``torch.inference_mode`` makes tensors autograd refuses; copies of them are ordinary."""
    if not any(value.data.is_inference() for node in trace.nodes for value in node.outputs):
        return
    for node in trace.nodes:
        for value in node.outputs:
            if value.data.is_inference() and not value.stale:
                value.data, value.storage = value.data.clone(), None
        for place, tensor in constants_of(node):
            if tensor.is_inference():
                node.replace(place, tensor.clone())


def _refuse_mixed_precision(trace: Trace) -> None:
    layers = ("linear", "convolution", "recurrent")
    for node in trace.nodes:
        if node.operation.kind in layers:
            given, got = node.inputs[0].data.dtype, node.outputs[0].data.dtype
            if given != got:
                raise UnsupportedOperation(
                    f"{node.describe()} takes {given} and returns {got}: a torch.autocast region mixes precisions, and the recorded "
                    "output is not that of the recorded weights; explain the model outside autocast, or convert it as a whole."
                )
