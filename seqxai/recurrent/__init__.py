"""Recurrent cells built to be explained (Arras et al. 2019, Section 11.4): ordinary modules that can be trained.

    >>> import torch, seqxai
    >>> cell = seqxai.recurrent.MarkovLSTM(4, 8, batch_first=True)
    >>> output, (h_n, c_n) = cell(torch.rand(2, 10, 4))
    >>> output.shape, h_n.shape, c_n.shape
    (torch.Size([2, 10, 8]), torch.Size([1, 2, 8]), torch.Size([1, 2, 8]))

Their memory never decreases, so that no contribution cancels another and none fades with time.  Inputs reach the memory
only through the cell input z; gates see only what the other cells said one step earlier.
"""

from seqxai.recurrent.gateless import GatelessLSTM
from seqxai.recurrent.markov import MarkovLSTM
from seqxai.recurrent.non_decreasing import NonDecreasingLSTM

__all__ = ["GatelessLSTM", "MarkovLSTM", "NonDecreasingLSTM"]
