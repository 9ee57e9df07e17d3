"""Targets: what is explained."""

from seqxai.targets.base import Seed as Seed
from seqxai.targets.base import Target as Target
from seqxai.targets.base import by_sample as by_sample
from seqxai.targets.base import whole as whole
from seqxai.targets.outputs import Contrast as Contrast
from seqxai.targets.outputs import Index as Index
from seqxai.targets.outputs import Largest as Largest
from seqxai.targets.outputs import LogOdds as LogOdds
from seqxai.targets.outputs import PerSample as PerSample
from seqxai.targets.outputs import Several as Several
from seqxai.targets.outputs import Unit as Unit
from seqxai.targets.outputs import ensure as ensure
from seqxai.targets.sequences import EveryStep as EveryStep
from seqxai.targets.sequences import State as State
from seqxai.targets.sequences import Step as Step
