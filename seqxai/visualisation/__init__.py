"""Relevance as pictures: signed colour maps, heatmaps over images, coloured words, and figures for papers.

numpy and Pillow only, but for the figures, which import matplotlib when made, and words in a terminal, which import rich.
"""

from seqxai.visualisation.colour import PALETTES, colour_table, colourise, symmetric_scale
from seqxai.visualisation.explained import ExplainedText, TextScale, explained_texts
from seqxai.visualisation.figure import plot, save_figure
from seqxai.visualisation.heatmap import heatmap, save_heatmap
from seqxai.visualisation.page import TextPage, open_text_page, save_text_page, text_html
from seqxai.visualisation.series import Series, draw_series, plot_series
from seqxai.visualisation.terminal import text_lines
from seqxai.visualisation.text_figure import text_figure

__all__ = [
    "PALETTES",
    "ExplainedText",
    "Series",
    "TextPage",
    "TextScale",
    "colour_table",
    "colourise",
    "draw_series",
    "explained_texts",
    "heatmap",
    "open_text_page",
    "plot",
    "plot_series",
    "save_figure",
    "save_heatmap",
    "save_text_page",
    "symmetric_scale",
    "text_figure",
    "text_html",
    "text_lines",
]
