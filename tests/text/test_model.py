"""Vocabulary, network and the file with both: alone and in a batch the same, explained in full, refused when damaged."""

import json
import pickle
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import seqxai
from seqxai.errors import CheckpointError, InputError
from seqxai.text import load
from seqxai.text.classifier import Settings
from seqxai.text.vocabulary import Vocabulary

TEXTS = ["The film is not good.", "bad", "the play was so so unheard-of and dull"]


def test_a_vocabulary_counts_and_looks_up():
    vocabulary = Vocabulary.build([["b", "a", "b"], ["c", "a", "<unk>"]])
    assert vocabulary.words == ("<pad>", "<unk>", "a", "b", "c")
    assert vocabulary.indices(["c", "x", "a", "<pad>", "<unk>"]) == [4, 1, 2, 1, 1]
    assert ("a" in vocabulary, "x" in vocabulary, "<unk>" in vocabulary) == (True, False, False)
    assert Vocabulary.build([["b", "a", "b", "c", "a"]], occurrences=2).words[2:] == ("a", "b")
    assert Vocabulary.build([["b", "a", "b"]], size=3).words == ("<pad>", "<unk>", "b")
    with pytest.raises(InputError, match="holds each word once, got 'a' twice"):
        Vocabulary(("<pad>", "<unk>", "a", "a"))
    with pytest.raises(InputError, match="begins with '<pad>' and '<unk>', got"):
        Vocabulary(("a", "b"))


def test_texts_become_numbers(model):
    encoded = model.encode(["Good, FINE film.", ("Not", "(", "dull")])
    assert encoded.words == [["good", ",", "fine", "film", "."], ["not", "-lrb-", "dull"]]
    assert encoded.lengths.tolist() == [5, 3]
    words = [[model.vocabulary.words[i] for i in row] for row in encoded.tokens.tolist()]
    assert words == [["good", "<unk>", "fine", "film", "."], ["not", "<unk>", "dull", "<pad>", "<pad>"]]
    for texts, message in [([], "at least one text"), (["a", " "], "text 1 .* has no words, got ' '"), ("a b", "got one string")]:
        with pytest.raises(InputError, match=message):
            model.encode(texts)


def test_the_padding_is_never_read(model):
    together = model.encode(TEXTS)
    explained = seqxai.LRP(model.network).attribute(together.tokens, target=2, args=(together.lengths,))
    assert float(explained.ledger.gap.abs().max()) < 1e-14
    scores = model.network(together.tokens, together.lengths)
    for row, text in enumerate(TEXTS):
        alone = model.encode([text])
        assert torch.allclose(scores[row : row + 1], model.network(alone.tokens, alone.lengths), rtol=0, atol=1e-14)
        found = seqxai.LRP(model.network).attribute(alone.tokens, target=2, args=(alone.lengths,)).relevance[0]
        assert found.abs().sum() > 0.001
        assert torch.allclose(explained.relevance[row, : len(found)], found, rtol=0, atol=1e-13)
        assert not explained.relevance[row, len(found) :].any()


def test_probabilities_come_in_the_order_of_the_texts(model):
    found = model.predict(TEXTS, batch=2)
    encoded = model.encode(TEXTS)
    assert torch.allclose(found, model.network(encoded.tokens, encoded.lengths).softmax(dim=-1), rtol=0, atol=1e-14)


def test_a_file_holds_everything(model, tmp_path):
    model.save(tmp_path / "m.safetensors", half=False)
    again = load(tmp_path / "m.safetensors")
    assert (again.vocabulary, again.labels, again.settings, again.report) == (
        model.vocabulary, model.labels, model.settings, model.report
    )  # fmt: skip
    assert torch.allclose(again.predict(TEXTS).double(), model.predict(TEXTS), atol=1e-6)
    assert not again.network.training
    model.save(tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size < (tmp_path / "m.safetensors").stat().st_size
    assert torch.allclose(load(tmp_path / "half.safetensors").predict(TEXTS).double(), model.predict(TEXTS), atol=1e-3)
    with pytest.raises(InputError, match=r"expected a name ending in \.safetensors"):
        model.save(tmp_path / "m.pt")


def facts_of(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())


DAMAGE = {
    "no text-model": lambda t, m: m.update(format="other"),
    "format version '9', this seqxai reads '1'": lambda t, m: m.update(format_version="9"),
    "lacks the metadata entry 'labels'": lambda t, m: m.pop("labels"),
    "metadata that are not JSON": lambda t, m: m.update(labels="["),
    "labels should be at least two different texts, got": lambda t, m: m.update(labels='["a", "a", "b"]'),
    "the vocabulary should be a list of words": lambda t, m: m.update(vocabulary="[1]"),
    "holds each word once": lambda t, m: m.update(vocabulary='["<pad>", "<unk>", "a", "a"]'),
    "settings should have exactly the fields cell": lambda t, m: m.update(settings="{}"),
    "setting layers should be a int, got '2.0'": lambda t, m: changed(m, layers=2.0),
    "cell should be one of lstm, gru, got 'rnn'": lambda t, m: changed(m, cell="rnn"),
    "'recurrent.weight_hh_l0' should have shape (4000000000, 1000000000), got (20, 5)": lambda t, m: changed(m, hidden_size=10**9),
    "ask for 1000000 layers": lambda t, m: changed(m, layers=10**6),
    "missing recurrent.bias_hh_l2": lambda t, m: changed(m, layers=3),
    "'output.bias' should have shape": lambda t, m: m.update(labels='["a", "b"]'),
    "'output.bias' holds numbers that are not finite": lambda t, m: t["output.bias"].fill_(float("nan")),
    "report should be an object": lambda t, m: m.update(report="[]"),
}


def changed(metadata, **values):
    metadata["settings"] = json.dumps(json.loads(metadata["settings"]) | values)


@pytest.mark.parametrize("model", ["lstm"], indirect=True)
@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_file_is_refused_in_one_sentence(model, tmp_path, message):
    path = tmp_path / "m.safetensors"
    model.save(path)
    tensors, metadata = facts_of(path)
    DAMAGE[message](tensors, metadata)
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=re.escape(message.replace("no text", "no seqxai-text"))) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_loading_leaves_chance_alone(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    before = torch.random.get_rng_state()
    load(tmp_path / "m.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_other_files_are_refused_and_never_opened(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    torch.save({"a": torch.zeros(1)}, tmp_path / "zip.pt")
    for content, message in [
        (b"", "is empty"),
        (whole[: len(whole) // 2], "damaged or cut off"),
        (whole[:40], "damaged or cut off"),
        (pickle.dumps({"a": 1}), "a Python pickle: it can run code"),
        ((tmp_path / "zip.pt").read_bytes(), "a zip archive, as PyTorch saves"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"hello, this is text", "no safetensors file"),
    ]:
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path / "x.safetensors")
    for path, message in [(tmp_path / "none", "no model at"), (tmp_path, "is a folder"), (tmp_path / "a\0", "cannot be read|no model")]:
        with pytest.raises(CheckpointError, match=message):
            load(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": "rnn"}, "cell should be one of lstm, gru, got 'rnn'"),
        ({"hidden_size": 0}, "hidden_size should be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout should be a share from 0 to below 1, got 1.0"),
    ],
)
def test_settings_out_of_range(values, message):
    with pytest.raises(InputError, match=message):
        replace(Settings(), **values)
