"""Rules: how relevance passes each kind of node."""

from seqxai.rules.affine import AffineRule as AffineRule
from seqxai.rules.affine import AlphaBeta as AlphaBeta
from seqxai.rules.affine import Epsilon as Epsilon
from seqxai.rules.affine import Flat as Flat
from seqxai.rules.affine import Gamma as Gamma
from seqxai.rules.affine import LRPZero as LRPZero
from seqxai.rules.affine import WSquare as WSquare
from seqxai.rules.affine import ZBox as ZBox
from seqxai.rules.affine import ZPlus as ZPlus
from seqxai.rules.base import Rule as Rule
from seqxai.rules.base import Stabilizer as Stabilizer
from seqxai.rules.dispatch import Pass as Pass
from seqxai.rules.dispatch import register as register
from seqxai.rules.pooling import WinnerTakesAll as WinnerTakesAll
from seqxai.rules.product import Absolute as Absolute
from seqxai.rules.product import Half as Half
from seqxai.rules.product import ProductRule as ProductRule
from seqxai.rules.product import Proportional as Proportional
from seqxai.rules.product import SignalTakesAll as SignalTakesAll
