"""Relevance as pictures: signed colour maps, heatmaps over images, and figures for papers.

numpy and Pillow only, but for ``plot`` and ``save_figure``, which import matplotlib when called.
"""

from seqxai.visualisation.colour import PALETTES, colour_table, colourise, symmetric_scale
from seqxai.visualisation.figure import plot, save_figure
from seqxai.visualisation.heatmap import heatmap, save_heatmap

__all__ = [
    "PALETTES",
    "colour_table",
    "colourise",
    "heatmap",
    "plot",
    "save_figure",
    "save_heatmap",
    "symmetric_scale",
]
