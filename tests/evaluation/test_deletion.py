"""Word deletion against a slow twin that deletes by hand, and on a model whose right answer is known."""

import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.comparison import by_name
from seqxai.comparison.named import BY_NAME
from seqxai.errors import InputError
from seqxai.evaluation import Metric, Sentences, WordDeletion, relevance_by_word, selectivity
from seqxai.evaluation.deletion import bootstrap
from tests.contracts import assert_close

GOOD, BAD = 1, 2  # word indices; the others are neutral


class Counting(nn.Module):
    """Scores (bad, good): how often each word occurs; neutral words and the padding count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 2, padding_idx=0)
        with torch.no_grad():
            self.embedding.weight.zero_()
            self.embedding.weight[GOOD, 1] = self.embedding.weight[BAD, 0] = 1.0
        self.requires_grad_(False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        assert bool((lengths >= 1).all())
        behind = torch.arange(tokens.shape[1]) >= lengths[:, None]
        assert not bool(tokens[behind].any()), "nothing but padding behind a sentence"
        return self.embedding(tokens).sum(1)


class Reading(nn.Module):
    """A small LSTM on packed sentences, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 3, padding_idx=0)
        self.lstm = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
        self.output = nn.Linear(8, 3)
        self.double().requires_grad_(False)
        for parameter in self.parameters():
            parameter.mul_(4.0)  # so that it decides by the words, and not the same of all

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        hidden = self.lstm(packed)[1][0]
        return self.output(torch.cat([hidden[0], hidden[1]], 1))


def sentences(*rows: list[int], labels: list[int]) -> Sentences:
    lengths = torch.tensor([len(row) for row in rows])
    tokens = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return Sentences(tokens, lengths, torch.tensor(labels))


def random_sentences(count: int = 30) -> Sentences:
    draw = torch.Generator().manual_seed(3)
    rows = [torch.randint(1, 6, (int(torch.randint(4, 9, (), generator=draw)),), generator=draw).tolist() for _ in range(count)]
    return sentences(*rows, labels=torch.randint(0, 3, (count,), generator=draw).tolist())


def twin(model: nn.Module, inputs: Sentences, relevance: Tensor, words: int, order: str) -> list[list[bool]]:
    """Sentence by sentence, with Python lists."""

    def right(row: list[int], label: int) -> bool:
        return int(model(torch.tensor([row]), torch.tensor([len(row)])).argmax(1)) == label

    found = []
    lists = inputs.tokens.tolist(), inputs.lengths.tolist(), inputs.labels.tolist()
    for tokens, length, label, values in zip(*lists, relevance, strict=True):
        row = tokens[:length]
        if right(row, label) != (order == "decreasing"):
            continue
        by_relevance = sorted(range(length), key=lambda place: float(values[place]) * (-1 if order == "decreasing" else 1))
        found.append([
            right([word for place, word in enumerate(row) if place not in by_relevance[:count]], label) for count in range(words + 1)
        ])  # fmt: skip
    return found


@pytest.mark.parametrize("order", ["decreasing", "increasing"])
def test_it_equals_deletion_by_hand(order):
    model, inputs = Reading(), random_sentences()
    relevance = torch.randint(-2, 3, inputs.tokens.shape, generator=torch.Generator().manual_seed(1)).double()  # with ties
    curve = WordDeletion(3, order, batch=7).curve(model, inputs, relevance)
    slow = torch.tensor(twin(model, inputs, relevance, 3, order)).double()
    assert 3 <= len(slow) < len(inputs)
    assert 0.05 < abs(float(slow[:, 0].mean() - slow[:, 3].mean())) < 0.9
    assert torch.equal(curve.correct, slow)
    assert torch.equal(curve.accuracy, slow.mean(0))
    assert WordDeletion(3, order)(model, inputs, relevance) == pytest.approx(float(slow[:, 1:].mean()), abs=1e-12)
    assert not bool(curve.spread.any())


def test_the_right_words_are_worth_more_than_the_wrong_ones():
    inputs = sentences([3, GOOD, GOOD, BAD, 4, 5], [GOOD, 3, 4, GOOD, 5, 3], [BAD, BAD, 3, GOOD, 4, 5], labels=[1, 1, 1])
    model = Counting()
    relevance = relevance_by_word(seqxai.LRP(model, "lrp-0"), inputs)
    assert_close(relevance, (inputs.tokens == GOOD).float(), 1e-12)  # of the true class: bad words have none
    contrast = (inputs.tokens == GOOD).float() - (inputs.tokens == BAD).float()
    falling, rising = WordDeletion(2), WordDeletion(2, "increasing")
    assert falling.curve(model, inputs, contrast).accuracy.tolist() == [1.0, 0.5, 0.0]  # two good, one bad: one word leaves a tie
    assert falling(model, inputs, -contrast) == 1.0
    assert rising.curve(model, inputs, contrast).accuracy.tolist() == [0.0, 0.0, 1.0]
    assert rising(model, inputs, -contrast) == 0.0
    assert not falling.higher_is_better
    assert rising.higher_is_better
    assert isinstance(falling, Metric)
    assert falling == WordDeletion(2, "decreasing")


def test_words_are_taken_out_and_not_masked():
    """The model below knows a sentence by its length alone."""

    def model(tokens: Tensor, lengths: Tensor) -> Tensor:
        return torch.stack([lengths.double(), torch.full_like(lengths, 4).double()], 1)

    inputs = sentences([3, 4, 5, 3, 4, 5], labels=[0])
    assert WordDeletion(3).curve(model, inputs, torch.zeros(1, 6)).accuracy.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_padding_is_never_deleted_whatever_stands_there():
    model, inputs = Reading(), random_sentences()
    relevance = torch.randn(inputs.tokens.shape)
    for value in (1e9, -1e9, torch.nan):
        other = torch.where(inputs.present, relevance, value)
        for order in ("decreasing", "increasing"):
            metric = WordDeletion(3, order)
            assert torch.equal(metric.curve(model, inputs, other).correct, metric.curve(model, inputs, relevance).correct)


def test_random_orders_are_averaged_and_a_seed_decides_them():
    model, inputs = Reading(), random_sentences()
    metric = WordDeletion(3)
    ten, again, other = (metric.random(model, inputs, runs=10, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(ten.correct, again.correct)
    assert not torch.equal(ten.correct, other.correct)
    generator = torch.Generator().manual_seed(0)
    single = torch.stack([metric.curve(model, inputs, torch.rand(inputs.tokens.shape, generator=generator)).correct for _ in range(10)])
    assert_close(ten.correct[None], single.mean(0)[None], 1e-12)
    assert_close(ten.spread[None], single.mean(1).std(0, correction=0)[None], 1e-12)
    assert float(ten.spread.max()) > 0


def test_sentences_of_unlike_length_are_explained_as_alone():
    inputs = random_sentences(9)
    explainer = seqxai.LRP(Reading())
    together = relevance_by_word(explainer, inputs, batch=4)
    for row, (tokens, length, label) in enumerate(zip(inputs.tokens, inputs.lengths, inputs.labels, strict=True)):
        alone = explainer.attribute(tokens[None, :length], int(label), args=(length[None],)).relevance
        assert_close(together[row : row + 1, :length], alone, 1e-10)
        assert not bool(together[row, length:].any())


def test_several_methods_at_once():
    model, inputs = Reading(), random_sentences()
    methods = {name: by_name(name, model) for name in BY_NAME} | {"random": None}
    seen: dict[str, int] = {}
    found = selectivity(model, inputs, methods, words=2, runs=3, batch=16, tell=lambda name, done: seen.update({name: done}))
    assert list(found) == list(methods)
    assert seen == dict.fromkeys(methods, len(inputs))
    for name, explainer in methods.items():
        for order in ("decreasing", "increasing"):
            curve, metric = found[name].curve(order), WordDeletion(2, order)
            if explainer is None:
                assert torch.equal(curve.correct, metric.random(model, inputs, runs=3).correct)
            else:
                relevance = explainer.attribute(inputs.tokens, inputs.labels, args=(inputs.lengths,)).relevance
                assert_close(found[name].relevance, torch.where(inputs.present, relevance, 0.0), 1e-9)
                assert torch.equal(curve.correct, metric.curve(model, inputs, found[name].relevance).correct)


def test_names_stand_for_what_the_paper_used():
    model, inputs = Reading(), random_sentences(4)

    def relevance(explainer: seqxai.Attributor) -> Tensor:
        return explainer.attribute(inputs.tokens, inputs.labels, args=(inputs.lengths,)).relevance

    paper = seqxai.composites.Epsilon
    for name, explainer in {
        "lrp-all": seqxai.LRP(model, paper(1e-3)),
        "lrp-half": seqxai.LRP(model, paper(1e-3), product="half"),
        "lrp-abs": seqxai.LRP(model, paper(1e-3), product=seqxai.rules.Absolute(epsilon=1e-3)),
        "lrp-prop": seqxai.LRP(model, paper(0.2), product=seqxai.rules.Proportional(epsilon=0.2)),
    }.items():
        assert torch.equal(relevance(by_name(name, model)), relevance(explainer))
    assert not torch.allclose(relevance(by_name("lrp-all", model)), relevance(by_name("lrp-all", model, epsilon=0.5)))
    with pytest.raises(InputError, match=r"must be one of lrp-all, .*Got 'lime' instead"):
        by_name("lime", model)


def test_the_bootstrap_knows_a_mean_s_spread():
    values = (torch.arange(400) % 2).double()
    low, high = bootstrap(values, draws=4000)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.5 / 20, 0.5 + 1.96 * 0.5 / 20), abs=0.006)
    assert bootstrap(values) == bootstrap(values)
    narrow = bootstrap(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, s: WordDeletion(4)(m, s, torch.zeros(s.tokens.shape)), "sentences of at least 5, got one of 4"),
        (lambda m, s: WordDeletion(2)(m, s, torch.zeros(2, 2)), r"the tokens' shape, \(2, 5\), got \(2, 2\)"),
        (lambda m, s: WordDeletion(2)(m, s, torch.full(s.tokens.shape, torch.nan)), "NaN or infinity for some word"),
        (lambda m, s: WordDeletion(2, "increasing")(m, s, torch.zeros(s.tokens.shape)), "wrongly take part, but of 2 there is none"),
        (lambda m, s: WordDeletion(0), "'words' parameter of WordDeletion must be a whole number from 1. Got 0"),
        (lambda m, s: WordDeletion(2, "random"), "must be one of decreasing, increasing. Got 'random'"),
        (lambda m, s: WordDeletion(2).random(m, s, runs=0), "'runs' parameter"),
        (lambda m, s: Sentences(s.tokens, s.lengths, s.labels[:1]), "2 lengths and 1 labels"),
        (lambda m, s: Sentences(s.tokens, s.lengths + 1, s.labels), "lengths from 1 to 5, the columns of the tokens, got 5 to 6"),
        (lambda m, s: selectivity(m, s, {}), "at least one method"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_one_sentence(change, message):
    with pytest.raises(InputError, match=message):
        change(Counting(), sentences([GOOD, 3, 4, 5], [GOOD, GOOD, 3, 4, 5], labels=[1, 1]))
