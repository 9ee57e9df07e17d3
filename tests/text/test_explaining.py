"""Texts explained as a stream: the numbers are those of LRP on the network itself, in any company and order."""

import pytest
import torch

import seqxai
from seqxai.errors import CheckpointError, InputError, TargetError
from seqxai.targets import Contrast
from seqxai.text import OwnModel, Settings, TextClassifier, TextExplainer, TextModel, Vocabulary, explain, load
from seqxai.text import explaining as module
from seqxai.text.explaining import class_index
from seqxai.text.own import WordList, is_reference, load_own, rows_unused
from tests.text import own_models

WORDS = ("<pad>", "<unk>", *"a good bad film not but -lrb- , . n't is".split())
LABELS = ("negative", "neutral", "positive")
TEXTS = ["a good film", "is not bad , but (good)", "film", "zebra film isn't good .", "", "a bad film", "bad bad bad bad bad"]


@pytest.fixture(scope="module")
def model() -> TextModel:
    torch.manual_seed(0)
    settings = Settings("lstm", 6, 5, 1, True)
    network = TextClassifier(settings, len(WORDS), 3).double().eval().requires_grad_(False)
    return TextModel(network, Vocabulary(WORDS), LABELS, settings)


def test_every_number_is_that_of_the_network_explained_alone(model: TextModel) -> None:
    found = list(explain(model, TEXTS))
    assert [len(one.words) for one in found] == [3, 8, 1, 6, 0, 3, 5]
    lrp = seqxai.LRP(model.network, composite=seqxai.composites.Epsilon(1e-3))
    for text, one in zip(TEXTS, found, strict=True):
        if not one.words:
            continue
        encoded = model.encode([text])
        alone = lrp.attribute(encoded.tokens, args=(encoded.lengths,))  # packed, as the network runs
        assert one.relevance == pytest.approx(alone.relevance[0].tolist(), abs=1e-12)
        assert one.explained == pytest.approx(float(alone.explained), abs=1e-12)
        assert [score for _, score in one.scores] == pytest.approx(alone.output[0].tolist(), abs=1e-12)
        assert dict(one.ledger) == pytest.approx({name: float(value) for name, value in alone.ledger.total().items()}, abs=1e-12)
        assert sum(value for _, value in one.ledger) == pytest.approx(one.explained, abs=1e-12)
        assert sum(share for _, share in one.probabilities) == pytest.approx(1.0)
        assert one.target == one.predicted == LABELS[int(alone.output.argmax())]
    assert found[3].unknown == {0}
    assert "".join(found[3].pieces) == "zebra film isn't good."
    assert "".join(found[1].pieces) == "is not bad, but (good)"


def test_order_and_batches_change_nothing(model: TextModel, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(explain(model, TEXTS))
    monkeypatch.setattr(module, "WINDOW", 3)
    monkeypatch.setattr(module, "BATCH_WORDS", 6)
    taken = []
    stream = explain(model, (taken.append(text) or text for text in TEXTS * 2), batch=2)
    first = next(stream)
    assert len(taken) == 3  # only a window is read ahead
    for one, same in zip([first, *stream], expected * 2, strict=True):
        assert one.words == same.words
        assert one.relevance == pytest.approx(same.relevance, abs=1e-12)


def test_targets_by_label_and_against_another(model: TextModel) -> None:
    encoded = model.encode(["a good film"])
    lrp = seqxai.LRP(model.network, composite=seqxai.composites.Epsilon(1e-3))
    for options, target, told in (
        ({"target": "Positive "}, 2, "positive"),
        ({"target": 1}, 1, "neutral"),
        ({"target": "2", "against": "negative"}, Contrast(2, 0), "positive rather than negative"),
    ):
        (one,) = explain(model, ["a good film"], **options)
        expected = lrp.attribute(encoded.tokens, target=target, args=(encoded.lengths,))
        assert one.relevance == pytest.approx(expected.relevance[0].tolist(), abs=1e-12)
        assert one.target == told
    for other in LABELS:
        for one in explain(model, ["a good film", "bad"], against=other):
            rest = {label: score for label, score in one.scores if label != other}
            best = max(rest, key=rest.get)
            assert one.target == f"{best} rather than {other}"
            assert one.explained == pytest.approx(rest[best] - dict(one.scores)[other], abs=1e-12)


@pytest.mark.parametrize("method", sorted(module.methods()))
def test_every_method_explains_texts_by_its_name(model: TextModel, method: str) -> None:
    encoded = model.encode(["is not bad"])
    (one,) = explain(model, ["is not bad"], method=method, against=0 if method != "occlusion-probability" else None)
    assert len(one.relevance) == 3
    assert any(one.relevance)
    assert bool(one.ledger) == (method == "lrp")
    if method == "occlusion":
        hidden = encoded.tokens.clone()
        hidden[0, 2] = 0
        best = LABELS.index(one.target.split()[0])
        before, after = (model.network(tokens, encoded.lengths)[0] for tokens in (encoded.tokens, hidden))
        assert one.relevance[2] == pytest.approx(float(before[best] - before[0] - after[best] + after[0]), abs=1e-12)


def test_wrong_options_are_one_sentence(model: TextModel) -> None:
    for options, match in (
        ({"method": "magic"}, "a method among lrp, .*gradient.*, got 'magic'"),
        ({"target": "great"}, "Unknown label 'great'; the model's labels are negative, neutral, positive"),
        ({"target": 3}, "class 3 is out of range"),
        ({"target": 0, "against": "negative"}, "give two labels"),
        ({"epsilon": 0.0}, "positive, finite ε"),
        ({"epsilon": 1.0, "composite": "lrp-0"}, "lrp-0 has no ε"),
        ({"epsilon": 1.0, "method": "gradient"}, "epsilon belongs to the method lrp"),
        ({"product": "all"}, "product must be one of"),
        ({"composite": "epsilo"}, "did you mean 'epsilon'"),
    ):
        with pytest.raises((InputError, TargetError), match=match):
            TextExplainer(model, **options)
    with pytest.raises(InputError, match=r"write \[text\]"):
        explain(model, "a good film")


def test_attributions_of_text_models_know_layers_and_tokens(model: TextModel) -> None:
    encoded = model.encode(["a good film", "is not bad , but"])
    found = seqxai.LRP(model.network).attribute(encoded.tokens, target=2, args=(encoded.lengths,)).with_tokens(encoded.words)
    assert [[word for word, _ in row] for row in found.words()] == encoded.words
    by_component = found.at("embedding")
    assert by_component.shape == (2, 5, 6)
    assert torch.allclose(by_component.sum(-1), found.relevance, atol=1e-12)
    final = found.at("recurrent")[1]  # output, final hidden and cell states
    assert final.shape == (2, 2, 5)
    assert torch.allclose(final.sum((0, 2)) + found.ledger.by_node()[-1][1]["bias"], found.explained, atol=1e-5)


def test_ones_own_network_with_and_without_lengths(tmp_path) -> None:
    texts = ["abc", "ab", "cab", "a"]
    for factory, lengths in (("make", False), ("make_with_lengths", True)):
        own = load_own(f"tests.text.own_models:{factory}", None, "tests.text.own_models:letters", ["x", "y", "z"])
        assert own.takes_lengths is lengths
        assert not own.network.training
        for text, one in zip(texts, explain(own, texts, target="y"), strict=True):
            ids = torch.tensor([own_models.letters(text)[1]])
            args = (torch.tensor([len(text)]),) if lengths else ()
            alone = seqxai.LRP(own.network, composite=seqxai.composites.Epsilon(1e-3)).attribute(ids, target=1, args=args)
            assert one.words == tuple(text)
            assert one.relevance == pytest.approx(alone.relevance[0].tolist(), abs=1e-5)
    bare = OwnModel(own_models.make(), own_models.indices_only)
    (one,) = explain(bare, ["it is good"])
    assert one.words == ("#2", "#2", "#4")
    assert [label for label, _ in one.scores] == ["output 0", "output 1", "output 2"]


def test_weights_are_read_without_running_code(tmp_path) -> None:
    state = {name: torch.full_like(tensor, 0.25) for name, tensor in own_models.make().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    own = load_own("tests.text.own_models:make", tmp_path / "w.pt", "tests.text.own_models:letters", [])
    assert all(bool((tensor == 0.25).all()) for tensor in own.network.state_dict().values())

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"head.weight": Bomb()}, tmp_path / "bomb.pt")
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "half.safetensors").write_bytes(b"\x10\x00")
    torch.save(own.network, tmp_path / "whole.pt")
    torch.save({"head.weight": torch.zeros(2, 5)}, tmp_path / "shape.pt")
    torch.save({"x": torch.zeros(1)}, tmp_path / "keys.pt")
    (tmp_path / "bytes.pt").write_bytes(b"good film")
    for name, match in (
        ("whole.pt", "it holds a whole model"), ("bytes.pt", "it is damaged, or no file of weights"),
        ("shape.pt", r"head.weight has shape \(2, 5\) in the file and \(3, 5\) in the network, the file lacks embed.*and 3 more"),
        ("keys.pt", "the network lacks x; give the weights"),
        ("bomb.pt", "without running its code"), ("other.pt", "does not fit the network"), ("list.pt", "holds a list"),
        ("half.safetensors", "cannot be read as weights"), ("none.pt", "no file of weights"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=match) as caught:
            load_own("tests.text.own_models:make", tmp_path / name, "tests.text.own_models:letters", [])
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "parallel.pt")
    own = load_own("tests.text.own_models:make", tmp_path / "parallel.pt", "tests.text.own_models:letters", [])
    assert all(bool((tensor == 0.25).all()) for tensor in own.network.state_dict().values())
    assert not (tmp_path / "ran").exists()


def test_numbers_as_labels_are_labels() -> None:
    assert class_index(("1", "5"), "5") == 1
    with pytest.raises(TargetError, match="Unknown label '0'; the model's labels are 1, 5"):
        class_index(("1", "5"), "0")
    assert class_index(("bad", "good"), "1") == 1
    assert class_index(("1", "5"), 0) == 0


def test_a_list_of_words_fits_the_embedding(tmp_path) -> None:
    (tmp_path / "few.txt").write_text("<unk>\ngood\n")
    (tmp_path / "right.txt").write_text("\n".join("abcdef"))
    (tmp_path / "many.txt").write_text("\n".join("abcdefg"))
    few, right = (load_own("tests.text.own_models:make", None, str(tmp_path / name), []) for name in ("few.txt", "right.txt"))
    assert rows_unused(right) == []
    assert rows_unused(few) == ["few.txt has 2 words and the network's embedding 6 rows: is it the list of this network?"]
    with pytest.raises(InputError, match=r"many\.txt has 7 words and the network's embedding 6 rows"):
        load_own("tests.text.own_models:make", None, str(tmp_path / "many.txt"), [])


def test_word_lists(tmp_path) -> None:
    (tmp_path / "w.txt").write_text("<pad>\n<unk>\ngood\nbad\n", encoding="utf-8")
    words = WordList.read(tmp_path / "w.txt")
    assert words("bad bad zebra") == (["bad", "bad", "zebra"], [3, 3, 1])
    own = OwnModel(own_models.make(), words)
    assert next(explain(own, ["bad zebra"])).unknown == {1}
    (tmp_path / "w.json").write_text('{"good": 5}', encoding="utf-8")
    with pytest.raises(InputError, match=r"'bad' is not in w\.json, which has no entry for unknown words"):
        WordList.read(tmp_path / "w.json")("good bad")
    for name, text, match in (
        ("a.txt", "x\n\ny\n", "a.txt, line 2: the line is empty"),
        ("b.txt", "x\ny\nx\n", "b.txt, line 3: the word 'x' was there before, in line 1"),
        ("c.txt", "", "c.txt is empty"), ("d.json", "[1]", "one JSON object"), ("e.json", "{", "not JSON"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=match):
            WordList.read(tmp_path / name)


def test_what_is_wrong_with_ones_own_model_is_one_sentence() -> None:
    letters = "tests.text.own_models:letters"
    for model, tokenizer, match in (
        ("tests.text.no_such:make", letters, r"cannot import tests.text.no_such \(ModuleNotFoundError"),
        ("tests.text.own_models:nothing", letters, "has no nothing"),
        ("tests.text.own_models:wrong", letters, "names a int"),
        ("tests.text.own_models:fails", letters, r"failed \(RuntimeError: no such thing\)"),
        ("tests.text.own_models:returns_a_number", letters, "returned a int"),
        ("tests.text.own_models:make", "tests.text.own_models:wrong", "function from a text to"),
    ):
        with pytest.raises(InputError, match=match):
            load_own(model, None, tokenizer, [])
    assert is_reference("a.b:c")
    assert not is_reference("model.safetensors")
    assert not is_reference("C:\\model.safetensors")
    for tokenizer, match in (
        (lambda text: (["a"], [1, 2]), "got 1 and 2"), (lambda text: (["a"], ["b"]), "whole numbers"),
        (lambda text: [99], "tokenizer <lambda> gives the index 99, and the network's embedding 'embed' has 6 rows, 0 to 5"),
    ):  # fmt: skip
        with pytest.raises(seqxai.SeqxaiError, match=match):
            list(explain(OwnModel(own_models.make(), tokenizer), ["a"]))
    with pytest.raises(InputError, match="Expected 3 labels, one for each score of the model, got 2: x, y"):
        list(explain(OwnModel(own_models.make(), own_models.letters, ("x", "y")), ["a"]))
    with pytest.raises(InputError, match="got 'y' more than once"):
        OwnModel(own_models.make(), own_models.letters, ("x", "y", "y"))


def test_a_saved_model_explains_alike(model: TextModel, tmp_path) -> None:
    model.save(tmp_path / "m.safetensors", half=False)
    loaded = load(tmp_path / "m.safetensors")
    for one, same in zip(explain(loaded, TEXTS), explain(model, TEXTS), strict=True):
        assert one.relevance == pytest.approx(same.relevance, abs=1e-5)
