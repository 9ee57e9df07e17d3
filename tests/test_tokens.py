"""Attributions that know their tokens: words, subwords and phrases add up, and tokens go wherever the attribution goes."""

import re

import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.errors import InputError
from tests.contracts import random, seeded

IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
TOKENS = [["play", "##ing", "chess", "##s"], ["it", "is"]]


class Reader(nn.Module):
    """Token ids, or embedded tokens, to two scores; steps first if asked for."""

    def __init__(self, steps_first: bool = False) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=not steps_first)
        self.head, self.steps_first = nn.Linear(4, 2), steps_first

    def forward(self, x: Tensor) -> Tensor:
        embedded = x if x.is_floating_point() else self.embedding(x)
        out = self.lstm(embedded)[0]
        return self.head(out[-1] if self.steps_first else out[:, -1])


@pytest.fixture(scope="module")
def found() -> seqxai.Attribution:
    return seqxai.LRP(seeded(Reader, 5), ledger=True).attribute(IDS, target=1).with_tokens(TOKENS)


def test_words_and_relevance_in_pairs(found: seqxai.Attribution) -> None:
    rows = found.words()
    assert [[word for word, _ in row] for row in rows] == TOKENS
    assert [value for _, value in rows[0]] == found.relevance[0].tolist()
    assert [value for _, value in rows[1]] == found.relevance[1, :2].tolist()


def test_embedded_tokens_are_summed_over_their_components(found: seqxai.Attribution) -> None:
    model = seeded(Reader, 5)
    embedded = seqxai.LRP(model).attribute(model.embedding(IDS).detach(), target=1).with_tokens(TOKENS)
    assert embedded.relevance.shape == (2, 4, 3)
    assert torch.allclose(embedded.by_token(), found.relevance)
    assert [value for _, value in embedded.words()[0]] == pytest.approx([value for _, value in found.words()[0]])


def test_a_model_that_reads_steps_first_has_words_all_the_same() -> None:
    model = seeded(lambda: Reader(True), 5)
    x = random(4, 2, 3, seed=1).to(torch.float32 if next(model.parameters()).dtype == torch.float32 else torch.float64)
    found = seqxai.LRP(model).attribute(x, target=0).with_tokens([["a", "b", "c", "d"], ["e"]])
    assert found.batch == 1
    assert [value for _, value in found.words()[0]] == pytest.approx(found.relevance[:, 0].sum(-1).tolist())
    assert found[1].words() == [[("e", pytest.approx(float(found.relevance[0, 1].sum())))]]
    assert found.sum_over([[(0, 4)], []]).words()[0] == [("a b c d", pytest.approx(float(found.relevance[:, 0].sum())))]


@pytest.mark.parametrize(
    ("tokens", "convention", "words"),
    [
        (["play", "##ing", "chess", "##s"], "wordpiece", ["playing", "chesss"]),
        (["[CLS]", "un", "##do", "[SEP]"], "wordpiece", ["[CLS]", "undo", "[SEP]"]),
        (["▁the", "▁un", "do", "ing"], "sentencepiece", ["the", "undoing"]),
        (["<s>", "▁caf", "é", "</s>"], "sentencepiece", ["<s>", "café", "</s>"]),
        (["The", "Ġun", "do", "Ċ"], "byte-level", ["The", "undo", "\n"]),
        (["Ġna", "Ã¯", "ve", "ĠðŁĺ", "Ģ"], "byte-level", ["naïve", "😀"]),
        (["go@@", "ing", "home", "."], "continued", ["going", "home", "."]),
        (["go", "ing</w>", "home</w>"], "end-of-word", ["going", "home"]),
        (["a", "#1", "##", "@@"], "none", ["a", "#1", "##", "@@"]),
    ],
)
def test_subwords_add_up_to_words(tokens: list[str], convention: str, words: list[str]) -> None:
    values = torch.tensor([[2.0**i for i in range(len(tokens))]])
    given = seqxai.Attribution(values, None, values.sum(1), "t", "m").with_tokens(tokens)
    for name in ("auto", convention):
        summed = given.sum_subwords(name)
        assert summed.tokens == (tuple(words),)
        assert float(summed.sum()) == float(values.sum())
    assert given.words(subwords="auto") == given.sum_subwords().words()
    # Powers of two tell which tokens went into each sum: all of them, in order, each once.
    bits = [int(value) for _, value in summed.words()[0]]
    assert sum(bits) == 2 ** len(tokens) - 1
    assert all(bin(b).count("1") == bin(b).rstrip("0").count("1") and "01" not in bin(b)[2:] for b in bits)


def test_phrases_add_up_and_the_rest_stays(found: seqxai.Attribution) -> None:
    summed = found.sum_over([[(1, 3)], [(0, 2)]])
    first = found.relevance[0].tolist()
    assert [word for word, _ in summed.words()[0]] == ["play", "##ing chess", "##s"]
    assert [value for _, value in summed.words()[0]] == pytest.approx([first[0], first[1] + first[2], first[3]])
    assert summed.words()[1] == [("it is", pytest.approx(float(found.relevance[1, :2].sum())))]
    assert torch.equal(summed.ledger.total()["bias"], found.ledger.total()["bias"])
    assert found[0].sum_over([(0, 4)]).words()[0][0][1] == pytest.approx(float(found.relevance[0].sum()))
    assert found[0].sum_over([]).words() == found[0].words()


def test_tokens_are_saved_loaded_and_sliced(found: seqxai.Attribution, tmp_path) -> None:
    found.save(tmp_path / "a.safetensors")
    loaded = seqxai.Attribution.load(tmp_path / "a.safetensors")
    assert loaded.tokens == found.tokens == tuple(map(tuple, TOKENS))
    assert loaded.words() == found.words()
    assert found[-1].tokens == (("it", "is"),)
    assert found[torch.tensor([True, False])].tokens == (tuple(TOKENS[0]),)
    assert found[torch.tensor([1, 0])].words() == found.words()[::-1]
    assert found.release().tokens == found.tokens
    plain = seqxai.LRP(seeded(Reader, 5)).attribute(IDS, target=1)
    assert plain.tokens is None
    plain.save(tmp_path / "b.safetensors")
    assert seqxai.Attribution.load(tmp_path / "b.safetensors").tokens is None


def test_a_table_has_a_column_of_tokens(found: seqxai.Attribution) -> None:
    columns = found.to_arrays()
    assert columns["token"].tolist() == [*TOKENS[0], "it", "is", "", ""]
    assert columns["value"].tolist() == IDS.flatten().tolist()
    assert {len(column) for column in columns.values()} == {8}


def test_what_does_not_fit_is_one_sentence(found: seqxai.Attribution) -> None:
    bare = seqxai.LRP(seeded(Reader, 5)).attribute(IDS, target=1)
    for tokens, match in (
        ("a b", "one text"), ([["a"]], "2 samples, one list each, got 1"), ([["a"] * 5, []], "at most 4 tokens in sample 0"),
        (["ab", "c"], "tokens of sample 0 as a list of texts"), ([[1, 2], []], "list of texts"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            bare.with_tokens(tokens)
    with pytest.raises(InputError, match=re.escape("attribution.with_tokens(tokens)")):
        bare.words()
    for spans, match in (
        ([[(0, 2), (1, 3)], []], "do not overlap"), ([[(2, 2)], []], "start < stop"), ([[], [(0, 3)]], "stop <= 2"),
        ([[(0, 1)]], "each of 2 samples"), ([[3], []], "pairs"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            found.sum_over(spans)
    with pytest.raises(InputError, match="convention for subwords among auto"):
        found.sum_subwords("bpe")
    several = seqxai.LRP(seeded(Reader, 5)).attribute(IDS, target=seqxai.targets.Several((0, 1)))
    with pytest.raises(InputError, match="one target"):
        several.with_tokens(TOKENS)
    image = seqxai.Attribution(torch.zeros(2), None, torch.zeros(2), "t", "m")
    with pytest.raises(InputError, match="steps of one input"):
        image.with_tokens([["a"], ["b"]])
