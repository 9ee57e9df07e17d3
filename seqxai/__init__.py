"""seqxai: explain sequence models, game-playing agents and image classifiers by layer-wise relevance propagation.

>>> import torch, seqxai
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> attribution = seqxai.LRP(model).attribute(torch.randn(2, 4), target=1)
>>> attribution.relevance.shape
torch.Size([2, 4])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqxai import comparison as comparison
    from seqxai import composites as composites
    from seqxai import recurrent as recurrent
    from seqxai import rules as rules
    from seqxai import targets as targets
    from seqxai import text as text
    from seqxai.attribution import Attribution as Attribution
    from seqxai.attribution import Attributor as Attributor
    from seqxai.attribution import Ledger as Ledger
    from seqxai.errors import SeqxaiError as SeqxaiError
    from seqxai.errors import UnsupportedOperation as UnsupportedOperation
    from seqxai.lrp import LRP as LRP
    from seqxai.rules import register as register
    from seqxai.trace import capture as capture
    from seqxai.trace import gate as gate

__version__ = "0.1.0"

# The command line answers --help without importing torch: names are loaded when first used.
_WHERE = {
    "LRP": "seqxai.lrp", "Attribution": "seqxai.attribution", "Attributor": "seqxai.attribution", "Ledger": "seqxai.attribution",
    "capture": "seqxai.trace", "gate": "seqxai.trace", "register": "seqxai.rules", "SeqxaiError": "seqxai.errors",
    "UnsupportedOperation": "seqxai.errors",
}  # fmt: skip
_MODULES = ("comparison", "composites", "errors", "recurrent", "rules", "targets", "text", "trace", "visualisation")
__all__ = [*_WHERE, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        found = getattr(import_module(_WHERE[name]), name)
    elif name in _MODULES:
        found = import_module(f"seqxai.{name}")
    else:
        raise AttributeError(f"module 'seqxai' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
