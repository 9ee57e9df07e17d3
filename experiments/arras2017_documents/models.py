"""The two classifiers: a linear one on word statistics, and an LSTM that reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from corpus import TOPICS, Document
from sklearn.svm import LinearSVC
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqxai.text import Vocabulary


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


class Reader(nn.Module):
    """A bidirectional LSTM, the mean of its outputs over the words, and one linear layer."""

    def __init__(self, words: int, classes: int, width: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(2 * width, classes)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores (N, classes) of tokens (N, T)."""
        packed = pack_padded_sequence(self.dropout(self.embedding(tokens)), lengths, batch_first=True, enforce_sorted=False)
        read = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]  # (N, T, 2 width), 0 behind a text
        return self.output(self.dropout(read.sum(1) / lengths[:, None]))


def train_lstm(
    train: list[Document], validation: list[Document], vocabulary: Vocabulary, epochs: int, seed: int, tell: Callable[[str], None]
) -> Reader:
    """The epoch with the best validation accuracy is kept."""
    torch.manual_seed(seed)
    network = Reader(len(vocabulary), len(TOPICS))
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
    return network.eval().requires_grad_(False)


@torch.no_grad()
def predict(model: nn.Module, documents: list[Document], vocabulary: Vocabulary) -> Tensor:
    """The topic a model assigns to each, (N,)."""
    tokens, lengths, _ = encode(documents, vocabulary)
    found = [model(tokens[part, : int(lengths[part].max())], lengths[part]).argmax(1) for part in torch.arange(len(tokens)).split(64)]
    return torch.cat(found)


def accuracy(model: nn.Module, documents: list[Document], vocabulary: Vocabulary) -> float:
    """The share of documents whose topic is found."""
    return float((predict(model, documents, vocabulary) == torch.tensor([one.topic for one in documents])).double().mean())
