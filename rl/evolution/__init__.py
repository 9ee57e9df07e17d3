"""One training seen through its checkpoints: explained side by side, as a film and as a figure."""

from rl.evolution.caption import evolution_caption as evolution_caption
from rl.evolution.caption import write_evolution_caption as write_evolution_caption
from rl.evolution.figure import evolution_figure as evolution_figure
from rl.evolution.film import EvolutionFilm as EvolutionFilm
from rl.evolution.film import render_evolution as render_evolution
from rl.evolution.film import save_still as save_still
from rl.evolution.moments import Moment as Moment
from rl.evolution.moments import key_moments as key_moments
from rl.evolution.moments import named_moments as named_moments
from rl.evolution.stages import Evolution as Evolution
from rl.evolution.stages import Sight as Sight
from rl.evolution.stages import Stage as Stage
from rl.evolution.stages import Tally as Tally
from rl.evolution.stages import evolve as evolve

__all__ = [
    "Evolution",
    "EvolutionFilm",
    "Moment",
    "Sight",
    "Stage",
    "Tally",
    "evolution_caption",
    "evolution_figure",
    "evolve",
    "key_moments",
    "named_moments",
    "render_evolution",
    "save_still",
    "write_evolution_caption",
]
