"""The parts of a video frame, each drawn by one panel into its own box.

A panel paints what stays into the background once, and what changes into every frame.
"""

from rl.panels.base import Grid as Grid
from rl.panels.base import Panel as Panel
from rl.panels.base import Scene as Scene
from rl.panels.layouts import LAYOUTS as LAYOUTS
from rl.panels.layouts import Design as Design
from rl.panels.layouts import design as design
from rl.panels.layouts import empty_canvas as empty_canvas
