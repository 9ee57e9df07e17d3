"""Words and back: the Treebank's scheme, on text as it comes."""

import pytest

from seqxai.text.reading import read
from seqxai.text.tokens import detokenise, normalise, pieces, tokenise


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It isn't a classic, but odd.", "it is n't a classic , but odd ."),
        ("it 's a good film -- not a classic , but odd", "it 's a good film -- not a classic , but odd"),
        ("I can't; you cannot.", "i ca n't ; you can not ."),
        ('"Good," he (they) said...', "`` good , '' he -lrb- they -rrb- said ..."),
        ("“Good” – it’s «odd»", "`` good '' – it 's `` odd ''"),
        ("-LRB- n't -RRB- `` ''", "-lrb- n't -rrb- `` ''"),
        ("Mr. O'Fallon of the U.S. paid $1,000.50 on 9/11.", "mr. o'fallon of the u.s. paid $ 1,000.50 on 9/11 ."),
        ("Its '70s rock'n'roll, and\\/or a well-made 21st-century E.T.", "its '70s rock'n'roll , and/or a well-made 21st-century e.t."),
        ("see https://a.example/b?c=1. Now!!", "see https://a.example/b?c=1 . now ! !"),
        ("<script>alert(1)</script>", "< script > alert -lrb- 1 -rrb- < / script >"),
        ("café naïve ÜBER", "café naïve über"),
        ("فيلم رائع، حقا", "فيلم رائع ، حقا"),
        ("अच्छी फ़िल्म।", "अच्छी फ़िल्म ।"),
        ("bad\x00\x07 \u202enot\u202c\ufeff good\u200b", "bad not good"),
        ('bad\x00x "bad\x1b"good" a\x85b nor\u00admal', "bad x `` bad `` good '' a b normal"),
        ("nice 👩🏽‍🚀❤️🇩🇪👍", "nice 👩🏽‍🚀 ❤️ 🇩🇪 👍"),
        ("", ""),
        (" \t\n\u2028", ""),
        ("\x00\u200b", ""),
    ],
)
def test_words(text, words):
    assert tokenise(text) == words.split()
    assert tokenise(" ".join(tokenise(text))) == words.split()  # tokenised text stays as it is


def test_case_is_kept_when_asked():
    assert tokenise("Isn't it N'T?", lowercase=False) == ["Is", "n't", "it", "N'T", "?"]
    assert normalise(["And\\/or", "(", "Good"]) == ["and/or", "-lrb-", "good"]


def test_long_texts_and_long_words():
    assert tokenise("good " * 5000) == ["good"] * 5000
    assert tokenise("a" * 100_000) == ["a" * 100_000]


def test_words_are_put_together_as_people_write():
    words = ["it", "is", "n't", "new", "-lrb-", "``", "odd", "''", "-rrb-", ",", "mr.", "x", "'s", "$", "5", "%", "--", "!"]
    assert detokenise(words) == 'it isn\'t new ("odd"), mr. x\'s $5% --!'
    assert len(pieces(words)) == len(words)
    assert pieces(["a", ",", "b"]) == ["a", ",", " b"]
    assert detokenise([]) == ""


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "sentences", "changed", "lost"),
    [
        ("dev", 1101, 1, 26),
        pytest.param("test", 2210, 11, 52, marks=pytest.mark.slow),
        pytest.param("train", 8544, 20, 260, marks=pytest.mark.slow),
    ],
)
def test_the_treebank_stays_as_it_is(shared, name, sentences, changed, lost):
    """Few sentences are changed, and few more when written out for people and split again (single quotes have no side then)."""
    found = [normalise(example.text) for example in read(shared / "data" / "sst" / f"{name}.txt")]
    assert len(found) == sentences
    assert sum(tokenise(" ".join(words)) != words for words in found) == changed
    assert sum(tokenise(detokenise(words)) != words for words in found) == lost
