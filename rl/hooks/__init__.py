"""Hooks into anyone's agent: every decision of a loop explained, without changing how it plays."""

from rl.hooks.environment import ExplainedEnv as ExplainedEnv
from rl.hooks.explainer import Explainer as Explainer
from rl.hooks.explanation import Explanation as Explanation
from rl.hooks.vector import ExplainedVectorEnv as ExplainedVectorEnv
