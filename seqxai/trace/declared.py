"""Declaring a gate where it cannot be found."""

from __future__ import annotations

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from seqxai.trace.operations import TABLE, Operation


def gate(tensor: Tensor) -> Tensor:
    """Declare that ``tensor`` acts as a gate in the products it enters; the values are unchanged.

    Gates are found by their range [0, 1].  A product of two such values is ambiguous (``sigmoid(a) * sigmoid(b)``: which
    one is the
    signal?), and a gate outside [0, 1] (``exp``) cannot be found; both are declared with this identity.

    Args:
        tensor: any shape, floating.

    Returns:
        A view of ``tensor`` with the same content; gradients pass.
    """
    if has_torch_function((tensor,)):
        return handle_torch_function(gate, (tensor,), tensor)
    return tensor.view_as(tensor)


TABLE[gate] = Operation("gate", "gate", reads=False)
