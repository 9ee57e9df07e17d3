"""Numeric series from files: reading, scaling, and explaining them with any model that reads (batch, steps, channels)."""

from seqxai.series.explaining import ExplainedSeries as ExplainedSeries
from seqxai.series.explaining import Request as Request
from seqxai.series.explaining import explain_series as explain_series
from seqxai.series.scale import Scale as Scale
from seqxai.series.table import NumericSeries as NumericSeries
from seqxai.series.table import Reading as Reading
from seqxai.series.table import read_series as read_series

__all__ = ["ExplainedSeries", "NumericSeries", "Reading", "Request", "Scale", "explain_series", "read_series"]
