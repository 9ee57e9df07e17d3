"""The errors of seqxai: everything a user can do wrong ends in one of these.

Each message is one sentence or two: what was expected, what came, what to do.  Nothing here derives from ``IndexError``,
``TypeError`` or ``AttributeError``, so that a broad ``except`` around user code cannot swallow it by accident.
"""


class SeqxaiError(Exception):
    """Base class of every error seqxai raises on purpose."""


class UnsupportedOperation(SeqxaiError):
    """An operation mixes values that depend on the explained input, and no rule says how to distribute its relevance."""


class CaptureError(SeqxaiError):
    """The recorded trace would be wrong or incomplete: something left torch's sight, or mixes samples."""


class TargetError(SeqxaiError):
    """The target does not fit the model's output: out of range, wrong shape, or ambiguous."""


class CompositeError(SeqxaiError):
    """A composite leaves a node without a rule, gives one sum two rules, or is used outside its domain."""


class InputError(SeqxaiError):
    """An input, file or option is unusable: wrong type, NaN, outside its box, unreadable, unwritable."""


class CheckpointError(InputError):
    """A checkpoint file is truncated, unsafe, of another architecture, or disagrees with its own metadata."""


class DependencyError(SeqxaiError):
    """An optional package is missing; the message names the extra that installs it."""
