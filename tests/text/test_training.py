"""The training: what it learns, that a seed decides it, and that it goes on where it was stopped."""

from dataclasses import replace
from itertools import chain

import pytest
import torch

from seqxai.errors import InputError, SeqxaiError
from seqxai.text import corpus, load
from seqxai.text.classifier import Settings
from seqxai.text.corpus import Corpus, Labelled
from seqxai.text.reading import Example, read
from seqxai.text.report import describe, evaluate, polarity, table
from seqxai.text.session import Session
from seqxai.text.training import Epoch, TrainingSettings, begin, epochs
from seqxai.text.trees import LABELS

SMALL = Settings(embedding_size=6, hidden_size=6, bidirectional=True, dropout=0.2)
QUICK = TrainingSettings(epochs=4, batch=16, learning_rate=0.02, averaging=0.9)


@pytest.fixture
def session(table, tmp_path):
    """Three quarters of the small task to learn from, the rest to validate by."""
    learned, validated = corpus.split(corpus.gather(read(table), table.name), 0.25, seed=0)
    labels = corpus.ordered_labels(learned, table.name)
    return Session.prepare(tmp_path / "m.safetensors", SMALL, QUICK, learned, validated, labels)


def test_phrases_are_kept_once_and_sentences_always():
    tree = [Example(("Good", "film"), "positive", 1, False), Example(("Good", "film"), "positive", 1)]
    gathered = corpus.gather([*tree, *tree], "t")
    assert [(e.words, e.whole) for e in gathered] == [(("good", "film"), False)] + [(("good", "film"), True)] * 2


def test_labels_are_ordered_as_people_would():
    def order(*labels):
        return corpus.ordered_labels([Labelled(("a",), label, 1) for label in labels], "t")

    assert order("positive", "very negative", "neutral") == ("very negative", "neutral", "positive")
    assert order("10", "9", "-1") == ("-1", "9", "10")
    assert order("b", "a", "b", "10") == ("10", "a", "b")
    with pytest.raises(InputError, match="t has one class only, 'a'; a classifier needs texts of at least two"):
        order("a", "a")
    with pytest.raises(InputError, match="t has 30 different labels in 30 texts"):
        order(*map(str, range(30)))


def test_phrases_stay_with_their_sentence_when_texts_are_put_aside():
    texts = [Labelled((f"w{line}",), "a", line, whole) for line in range(20) for whole in (False, True)]
    learned, aside = corpus.split(texts, 0.2, seed=3)
    assert len(aside) == 4
    assert all(example.whole for example in aside)
    assert len(learned) == 32
    assert not {example.line for example in learned} & {example.line for example in aside}
    assert corpus.split(texts, 0.2, seed=3)[1] == aside
    assert corpus.split(texts, 0.2, seed=4)[1] != aside
    with pytest.raises(InputError, match=r"a share of 0.001 of 20 texts leaves nothing for validation"):
        corpus.split(texts, 0.001, seed=0)


def test_batches_hold_every_text_once_and_little_padding():
    lengths = [1, 7, 2, 2, 7, 1, 3]
    texts = [Labelled(tuple(f"w{n}{i}" for i in range(n)), "ab"[n % 2], k) for k, n in enumerate(lengths)]
    vocabulary = corpus.Vocabulary.build([text.words for text in texts])
    built = Corpus.build(texts, vocabulary, ("a", "b"))
    found = [part.tolist() for part in built.batches(2, torch.Generator().manual_seed(0))]
    assert sorted(chain(*found)) == list(range(7))
    assert sorted(tuple(sorted(lengths[i] for i in part)) for part in found) == [(1, 1), (2, 2), (3, 7), (7,)]
    tokens, measured, labels = built.batch(torch.tensor([1, 0]))
    assert [vocabulary.words[i] for i in tokens[0]] == list(texts[1].words)
    assert tokens[1].tolist() == [vocabulary.indices(texts[0].words)[0], 0, 0, 0, 0, 0, 0]
    assert (measured.tolist(), labels.tolist()) == ([7, 1], [1, 1])
    assert built.fingerprint() != Corpus.build([replace(texts[0], label="a"), *texts[1:]], vocabulary, ("a", "b")).fingerprint()


def test_negation_is_learned(session):
    quick = replace(QUICK, epochs=15, patience=15, learning_rate=0.05)
    settings = replace(SMALL, dropout=0.0)
    state = begin(settings, quick, len(session.vocabulary), 2)
    list(epochs(state, quick, session.texts, session.validation))
    assert state.best_epoch.validation_accuracy == 1.0


def test_an_interrupted_training_goes_on_to_the_same_numbers(session, tmp_path):
    straight = list(session.run(session.open(resume=False)))
    whole = load(session.out)
    session.unfinished.unlink()

    again = replace(session, out=tmp_path / "again.safetensors")
    run = again.run(again.open(resume=False))
    first = [next(run), next(run)]
    run.close()  # as after a kill: nothing but the files is left
    torch.rand(7)
    with pytest.raises(InputError, match=r"again.unfinished.safetensors is there: .* go on with --resume, or delete that file"):
        again.open(resume=False)
    state = again.open(resume=True)
    rest = list(again.run(state))
    assert [replace(e, seconds=0) for e in first + rest] == [replace(e, seconds=0) for e in straight]
    assert state.best_epoch.number == max(straight, key=lambda e: (e.validation_accuracy, -e.validation_loss)).number
    for name, tensor in load(again.out).network.state_dict().items():
        assert torch.equal(tensor, whole.network.state_dict()[name]), name
    again.finish(again.model(state))
    assert not again.unfinished.exists()
    with pytest.raises(InputError, match=r"there is nothing to resume: no again\.unfinished\.safetensors beside again\.safetensors"):
        again.open(resume=True)


def test_another_training_is_not_continued(session):
    next(session.run(session.open(resume=False)))
    for other, name in [
        (replace(session, training=replace(QUICK, seed=1)), "seed is 0, now it would be 1"),
        (replace(session, settings=replace(SMALL, hidden_size=7)), "hidden_size is 6, now it would be 7"),
        (replace(session, texts=session.validation), "texts is"),
    ]:
        with pytest.raises(InputError, match=name):
            other.open(resume=True)
    assert len(replace(session, training=replace(QUICK, epochs=9)).open(resume=True).history) == 1
    content = bytearray(session.unfinished.read_bytes())
    session.unfinished.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged or cut off"):
        session.open(resume=True)


def test_the_best_epoch_is_kept_and_patience_ends():
    def state(*accuracies):
        history = [Epoch(i, 1.0, loss, accuracy, 1.0) for i, (accuracy, loss) in enumerate(accuracies, 1)]
        return replace(begin(SMALL, QUICK, 3, 2), history=history)

    assert state((0.5, 1.0), (0.6, 2.0), (0.6, 1.5), (0.6, 1.5), (0.4, 0.1)).best_epoch.number == 3
    patient = TrainingSettings(epochs=20, patience=2)
    assert [state(*[(0.5, 1.0)] * done).finished(patient) for done in range(5)] == [False, False, False, True, True]
    assert not state((0.5, 1.0), (0.5, 1.1), (0.4, 0.9)).finished(patient)  # the loss still falls
    assert state((0.1, 1.0), (0.2, 1.0)).finished(TrainingSettings(epochs=2))


def test_a_diverging_training_is_told(session):
    wild = replace(QUICK, learning_rate=1e30)
    state = begin(SMALL, wild, len(session.vocabulary), 2)
    with pytest.raises(SeqxaiError, match=r"the training diverged: .* smaller learning rate than 1e\+30"):
        list(epochs(state, wild, session.texts, session.validation))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs should be at least 1, got 0"),
        ("word_dropout", 1.0, "word_dropout should be a share"),
        ("learning_rate", float("nan"), "learning_rate should be above 0, got nan"),
        ("weight_decay", -1.0, "weight_decay should be at least 0"),
    ],
)
def test_settings_out_of_range(name, value, message):
    with pytest.raises(InputError, match=message):
        replace(QUICK, **{name: value})


def test_the_report_counts():
    scores = torch.tensor([[0.0, 0, 0, 3, 0], [2, 0, 3, 0, 0], [3, 3, 0, 3.5, 0], [0, 0, 9, 0, 0]])
    assert polarity(scores, torch.tensor([4, 0, 3, 2])) == {"texts": 3, "accuracy": pytest.approx(2 / 3)}
    assert table([[3, 0], [12, 7]], ["a", "a very long name"]) == [
        "true \\ predicted   a  a very long n…",
        "a                  3               0",
        "a very long n…    12               7",
    ]


def test_an_evaluation_agrees_with_counting_by_hand(session, table):
    state = session.open(resume=False)
    next(session.run(state))
    network, examples = session.model(state).network, corpus.gather(read(table), table.name)
    result = evaluate(network, session.vocabulary, session.labels, examples)
    built = Corpus.build(examples, session.vocabulary, session.labels)
    predicted = [int(network(*built.batch(torch.tensor([i]))[:2]).argmax()) for i in range(len(built))]
    right = sum(p == int(t) for p, t in zip(predicted, built.labels, strict=True))
    assert result["accuracy"] == pytest.approx(right / 108)
    assert (result["majority"], result["coverage"], result["texts"]) == (0.5, 1.0, 108)
    assert sum(map(sum, result["confusion"])) == 108
    assert "polarity" not in result
    unknown = evaluate(network, session.vocabulary, session.labels, [Labelled(("good", "x", "y", "film"), "positive", 1)])
    assert unknown["coverage"] == 0.5
    assert f"{right / 108:.1%} of 108 texts are right (always the most frequent class: 50.0%); 100.0% of their words" in describe(
        result, session.labels
    )


def test_the_treebank_has_its_polarity(session):
    state = begin(SMALL, QUICK, len(session.vocabulary), 5)
    result = evaluate(state.network, session.vocabulary, LABELS, [Labelled(("good",), label, 1) for label in LABELS])
    assert result["polarity"]["texts"] == 4
    assert result["polarity"]["accuracy"] == 0.5


def test_every_epoch_has_chance_of_its_own(session):
    still = replace(QUICK, learning_rate=1e-30, weight_decay=0.0, epochs=2)
    first, second = epochs(begin(SMALL, still, len(session.vocabulary), 2), still, session.texts, session.validation)
    assert first.validation_loss == second.validation_loss  # nothing was learned, so that what differs is dropout alone
    assert first.loss != second.loss


def test_forgotten_words_are_unknown_and_padding_stays(session):
    seen = []
    forgetful = replace(QUICK, word_dropout=0.5, epochs=1)
    state = begin(SMALL, forgetful, len(session.vocabulary), 2)
    state.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    list(epochs(state, forgetful, session.texts, session.validation))
    unknown = sum(int((tokens == 1).sum()) for tokens, _ in seen)
    words = sum(int(lengths.sum()) for _, lengths in seen)
    assert all(((tokens != 0).sum(dim=1) == lengths).all() for tokens, lengths in seen)
    assert 0.4 < unknown / words < 0.6
