"""The two classifiers: a linear one on word statistics, and an LSTM that reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from corpus import TOPICS, Document
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from seqxai.text import Settings, TextClassifier, TextModel, Vocabulary


def encode(documents: list[Document], vocabulary: Vocabulary) -> tuple[Tensor, Tensor, Tensor]:
    """Word indices (N, T), lengths (N,) and topics (N,)."""
    rows = [torch.tensor(vocabulary.indices(one.words)) for one in documents]
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return tokens, torch.tensor([len(row) for row in rows]), torch.tensor([one.topic for one in documents])


class BagOfWords(nn.Module):
    """One linear layer on normalised tf-idf: the order of the words plays no part."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("idf", torch.zeros(words))
        self.output = nn.Linear(words, classes)

    def features(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(N, V): how often each word occurs times its inverse document frequency, of length 1; padding and unknown words count nothing."""
        present = torch.arange(tokens.shape[1]) < lengths[:, None]
        counts = torch.zeros(len(tokens), len(self.idf)).scatter_add_(1, tokens, present.float())
        found = counts * self.idf
        return found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores (N, classes) of tokens (N, T)."""
        return self.output(self.features(tokens, lengths))


def train_bag(train: list[Document], vocabulary: Vocabulary, penalty: float, seed: int) -> BagOfWords:
    """A linear support vector machine on tf-idf (one class against the others), as a module."""
    tokens, lengths, topics = encode(train, vocabulary)
    model = BagOfWords(len(vocabulary), len(TOPICS))
    counts = torch.zeros(len(tokens), len(vocabulary)).scatter_(1, tokens, 1.0)
    model.idf = torch.log(len(train) / counts.sum(0).clamp_min(1.0))
    model.idf[:2] = 0.0  # padding, unknown
    machine = LinearSVC(C=penalty, random_state=seed).fit(model.features(tokens, lengths).numpy(), topics.numpy())
    with torch.no_grad():
        model.output.weight.copy_(torch.from_numpy(machine.coef_))
        model.output.bias.copy_(torch.from_numpy(machine.intercept_))
    return model.eval().requires_grad_(False)


def train_lstm(
    train: list[Document], validation: list[Document], vocabulary: Vocabulary, epochs: int, seed: int, tell: Callable[[str], None]
) -> TextModel:
    """A bidirectional LSTM; the epoch with the best validation accuracy is kept."""
    torch.manual_seed(seed)
    settings = Settings(embedding_size=50, hidden_size=50, bidirectional=True, dropout=0.5)
    network = TextClassifier(settings, len(vocabulary), len(TOPICS))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    tokens, lengths, topics = encode(train, vocabulary)
    best, kept = -1.0, {}
    for epoch in range(epochs):
        network.train()
        batches = list(torch.argsort(lengths + 8 * torch.rand(len(lengths))).split(32))  # of like length
        for number in torch.randperm(len(batches)).tolist():
            part = batches[number]
            loss = nn.functional.cross_entropy(network(tokens[part, : int(lengths[part].max())], lengths[part]), topics[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        network.eval()
        reached = accuracy(network, validation, vocabulary)
        tell(f"LSTM {seed}: epoch {epoch + 1} of {epochs}, validation accuracy {100 * reached:.1f} %")
        if reached > best:
            best, kept = reached, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(kept)
    return TextModel(network.eval().requires_grad_(False), vocabulary, tuple(TOPICS), settings)


@torch.no_grad()
def predict(model: nn.Module, documents: list[Document], vocabulary: Vocabulary) -> Tensor:
    """The topic a model assigns to each, (N,)."""
    tokens, lengths, _ = encode(documents, vocabulary)
    found = [model(tokens[part, : int(lengths[part].max())], lengths[part]).argmax(1) for part in torch.arange(len(tokens)).split(64)]
    return torch.cat(found)


def accuracy(model: nn.Module, documents: list[Document], vocabulary: Vocabulary) -> float:
    """The share of documents whose topic is found."""
    return float((predict(model, documents, vocabulary) == torch.tensor([one.topic for one in documents])).double().mean())
