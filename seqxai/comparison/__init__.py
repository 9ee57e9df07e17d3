"""Other ways to explain, to compare with: each an :class:`seqxai.Attributor` like :class:`seqxai.LRP`, each in a file of its own."""

from seqxai.comparison.contextual_decomposition import ContextualDecomposition as ContextualDecomposition
from seqxai.comparison.gradient import Gradient as Gradient
from seqxai.comparison.gradient_times_input import GradientTimesInput as GradientTimesInput
from seqxai.comparison.integrated_gradients import IntegratedGradients as IntegratedGradients
from seqxai.comparison.named import by_name as by_name
from seqxai.comparison.occlusion import Occlusion as Occlusion

__all__ = ["ContextualDecomposition", "Gradient", "GradientTimesInput", "IntegratedGradients", "Occlusion"]
