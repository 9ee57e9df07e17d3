"""Relevance as pictures: signed colour maps, heatmaps over images, and figures for papers.

numpy and Pillow only, but for the functions that draw figures, which import matplotlib when called.
"""

from seqxai.visualisation.colour import PALETTES, colour_table, colourise, symmetric_scale
from seqxai.visualisation.figure import plot, save_figure
from seqxai.visualisation.heatmap import heatmap, save_heatmap
from seqxai.visualisation.series import Series, draw_series, plot_series

__all__ = [
    "PALETTES",
    "Series",
    "colour_table",
    "colourise",
    "draw_series",
    "heatmap",
    "plot",
    "plot_series",
    "save_figure",
    "save_heatmap",
    "symmetric_scale",
]
