"""Sentences up to their verb, from templates: one noun is the subject, and nothing else tells the number of the verb.

    [ADVERBIAL ,] DETERMINER [ADJECTIVE] SUBJECT [MODIFIER [MODIFIER]] [ADVERB]

Determiners, verbs of relative clauses (all in the past tense), adjectives and adverbs are the same in both numbers, so that the verb
that would follow agrees with the subject and can be known from it alone.  The nouns of the modifiers stand between subject and verb:
they are attractors.  The adverbial in front, in half of the sentences, has a noun of any number, so that the first noun is not
always the subject.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

SINGULAR, PLURAL = 0, 1
PEOPLE = """author lawyer doctor teacher farmer pilot singer dancer student soldier painter baker banker driver keeper manager officer
    player reader sailor scholar senator tailor writer""".split()
IRREGULAR = {"man": "men", "woman": "women", "child": "children", "policeman": "policemen", "secretary": "secretaries", "spy": "spies"}
THINGS = """car table garden house tower picture letter window bridge river castle engine market station school theatre island
    mountain lamp mirror""".split()
THINGS_IRREGULAR = {"shelf": "shelves", "knife": "knives", "city": "cities", "library": "libraries", "church": "churches", "box": "boxes"}
DETERMINERS = "the my your our their some no any".split()
ADJECTIVES = "old new small tall famous quiet strange friendly red heavy clever busy".split()
PREPOSITIONS = "near behind beside with from by above opposite".split()
PAST = "met helped saw admired remembered followed found avoided".split()
ADVERBS = "often never always rarely usually sometimes really still".split()
FRONTS = "in behind near after before during".split()
CONDITIONS = {
    "no attractor": (),
    "one, same number": (True,),
    "one, other number": (False,),
    "two, other number": (False, False),
}
"""Name -> for each attractor whether it has the subject's number."""


def _forms(regular: list[str], irregular: dict[str, str]) -> list[tuple[str, str]]:
    return [(noun, noun + "s") for noun in regular] + list(irregular.items())


PERSONS, OBJECTS = _forms(PEOPLE, IRREGULAR), _forms(THINGS, THINGS_IRREGULAR)
NUMBER = {form: number for forms in PERSONS + OBJECTS for number, form in enumerate(forms)}
VOCABULARY = [
    "<pad>", ",", "that", "who", *dict.fromkeys(DETERMINERS + ADJECTIVES + PREPOSITIONS + PAST + ADVERBS + FRONTS), *NUMBER,
]  # fmt: skip
IDS = {word: number for number, word in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class Sentence:
    """A sentence up to its verb.

    Attributes:
        words: as they are read.
        subject: the position of the subject.
        number: of the subject, and so of the verb.
        attractors: how many nouns stand between subject and verb.
    """

    words: tuple[str, ...]
    subject: int
    number: int
    attractors: int = 0

    def nouns(self, number: int) -> list[int]:
        """The positions of the nouns of a number."""
        return [place for place, word in enumerate(self.words) if NUMBER.get(word) == number]


class Grammar:
    """Draws sentences; one generator, so that a seed decides them all."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def sentence(self, agrees: tuple[bool, ...]) -> Sentence:
        """One sentence with an attractor for each entry: of the subject's number, or of the other."""
        number = self.draw.randrange(2)
        words: list[str] = []
        if self.draw.random() < 0.5:
            words += [self.draw.choice(FRONTS), *self.phrase(OBJECTS, self.draw.randrange(2)), ","]
        words += self.phrase(PERSONS, number)
        subject = len(words) - 1
        for same in agrees:
            words += self.modifier(number if same else 1 - number)
        if self.draw.random() < 0.5:
            words.append(self.draw.choice(ADVERBS))
        return Sentence(tuple(words), subject, number, len(agrees))

    def phrase(self, nouns: list[tuple[str, str]], number: int) -> list[str]:
        """A determiner, perhaps an adjective, and a noun."""
        adjective = [self.draw.choice(ADJECTIVES)] if self.draw.random() < 0.4 else []
        return [self.draw.choice(DETERMINERS), *adjective, self.draw.choice(nouns)[number]]

    def modifier(self, number: int) -> list[str]:
        """A prepositional phrase, or a relative clause whose subject or object is the attractor."""
        kind = self.draw.randrange(3)
        if kind == 0:
            return [self.draw.choice(PREPOSITIONS), *self.phrase(self.draw.choice((PERSONS, OBJECTS)), number)]
        if kind == 1:
            return ["who", self.draw.choice(PAST), *self.phrase(self.draw.choice((PERSONS, OBJECTS)), number)]
        return ["that", *self.phrase(PERSONS, number), self.draw.choice(PAST)]

    def mixed(self, count: int) -> list[Sentence]:
        """Sentences to train with: up to two attractors, of any numbers."""
        return [self.sentence(tuple(self.draw.random() < 0.5 for _ in range(self.draw.randrange(3)))) for _ in range(count)]


def test_sentences(count: int, seed: int, seen: set[tuple[str, ...]]) -> dict[str, list[Sentence]]:
    """So many sentences of each condition, none of which is among those seen, nor twice."""
    grammar, taken = Grammar(seed), set(seen)
    found: dict[str, list[Sentence]] = {name: [] for name in CONDITIONS}
    for name, agrees in CONDITIONS.items():
        while len(found[name]) < count:
            sentence = grammar.sentence(agrees)
            if sentence.words not in taken:
                taken.add(sentence.words)
                found[name].append(sentence)
    return found


def encode(sentences: list[Sentence]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (B, T), padded with 0, lengths (B,), and the numbers to predict (B,)."""
    rows = [torch.tensor([IDS[word] for word in sentence.words]) for sentence in sentences]
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths, torch.tensor([s.number for s in sentences])
