"""Recording: a model's run as an explicit list of nodes."""

from seqxai.trace.declared import gate as gate
from seqxai.trace.graph import Node as Node
from seqxai.trace.graph import Trace as Trace
from seqxai.trace.graph import Value as Value
from seqxai.trace.recording import capture as capture
