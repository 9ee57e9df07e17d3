"""Text classifiers: from a file of labelled texts to a model that can be explained.

>>> import seqxai.text
>>> words = seqxai.text.tokenise("It isn't a classic, but odd.")
>>> words
['it', 'is', "n't", 'a', 'classic', ',', 'but', 'odd', '.']
"""

from seqxai.text.classifier import Settings as Settings
from seqxai.text.classifier import TextClassifier as TextClassifier
from seqxai.text.explaining import TextExplainer as TextExplainer
from seqxai.text.explaining import explain as explain
from seqxai.text.model import Encoded as Encoded
from seqxai.text.model import TextModel as TextModel
from seqxai.text.model import load as load
from seqxai.text.own import OwnModel as OwnModel
from seqxai.text.reading import Example as Example
from seqxai.text.reading import read as read
from seqxai.text.tokens import detokenise as detokenise
from seqxai.text.tokens import pieces as pieces
from seqxai.text.tokens import tokenise as tokenise
from seqxai.text.vocabulary import Vocabulary as Vocabulary

__all__ = [
    "Encoded",
    "Example",
    "OwnModel",
    "Settings",
    "TextClassifier",
    "TextExplainer",
    "TextModel",
    "Vocabulary",
    "detokenise",
    "explain",
    "load",
    "pieces",
    "read",
    "tokenise",
]
