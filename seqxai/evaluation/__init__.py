"""How good is an explanation?  Metrics, one family per file; each says which direction is better."""

from seqxai.evaluation.base import Metric as Metric
from seqxai.evaluation.deletion import DeletionCurve as DeletionCurve
from seqxai.evaluation.deletion import Sentences as Sentences
from seqxai.evaluation.deletion import WordDeletion as WordDeletion
from seqxai.evaluation.deletion import relevance_by_word as relevance_by_word
from seqxai.evaluation.selectivity import Selectivity as Selectivity
from seqxai.evaluation.selectivity import selectivity as selectivity

__all__ = ["DeletionCurve", "Metric", "Selectivity", "Sentences", "WordDeletion", "relevance_by_word", "selectivity"]
