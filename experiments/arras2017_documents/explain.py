"""Word relevances of both classifiers, and what they are measured by."""

from __future__ import annotations

import numpy as np
import torch
from corpus import Document
from models import BagOfWords, encode
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import seqxai
from seqxai.evaluation import Sentences, relevance_by_word
from seqxai.text import Vocabulary

KINDS = ("topic", "stop", "other")


def bag_relevance(model: BagOfWords, documents: list[Document], vocabulary: Vocabulary, topics: Tensor) -> Tensor:
    """LRP-0 of the linear layer for a topic each, (N, T); a word that occurs twice has half of its entry's relevance at each place."""
    tokens, lengths, _ = encode(documents, vocabulary)
    by_entry = seqxai.LRP(model.output, composite="lrp-0").attribute(model.features(tokens, lengths), topics).relevance  # (N, V)
    present = torch.arange(tokens.shape[1]) < lengths[:, None]
    counts = torch.zeros_like(by_entry).scatter_add_(1, tokens, present.float())
    return torch.where(present, by_entry.gather(1, tokens) / counts.gather(1, tokens).clamp_min(1.0), 0.0)


def lstm_relevance(network: torch.nn.Module, documents: list[Document], vocabulary: Vocabulary, topics: Tensor) -> Tensor:
    """LRP-all with ε = 0.001 for a topic each, (N, T)."""
    tokens, lengths, _ = encode(documents, vocabulary)
    explainer = seqxai.LRP(network, seqxai.composites.Epsilon(1e-3))
    return relevance_by_word(explainer, Sentences(tokens, lengths, topics), batch=64)


def kinds(documents: list[Document], topic_words: set[str]) -> list[np.ndarray]:
    """Of each word its place in ``KINDS``; punctuation is with the stop words, and a stop word is never a topic word."""
    stop = ENGLISH_STOP_WORDS
    return [
        np.array([1 if word in stop or not word[0].isalpha() else 0 if word in topic_words else 2 for word in one.words])
        for one in documents
    ]


def shares(relevance: Tensor, of_words: list[np.ndarray]) -> np.ndarray:
    """Of each document the share of its positive relevance that words of each kind have, (N, 3)."""
    found = []
    for row, kind in zip(relevance.double().clamp_min(0).numpy(), of_words, strict=True):
        by_kind = np.bincount(kind, weights=row[: len(kind)], minlength=len(KINDS))
        found.append(by_kind / max(by_kind.sum(), 1e-12))
    return np.stack(found)


def vectors(relevance: Tensor, documents: list[Document], vocabulary: Vocabulary) -> np.ndarray:
    """The relevance of every word of the vocabulary in each document, of length 1 (Arras et al. 2017, on one-hot words)."""
    tokens = encode(documents, vocabulary)[0]
    found = torch.zeros(len(tokens), len(vocabulary), dtype=torch.float64).scatter_add_(1, tokens, relevance.double())
    found[:, 0] = 0.0
    return (found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)).numpy()


def neighbours(points: np.ndarray, topics: np.ndarray, seeds: int = 10) -> np.ndarray:
    """The accuracy of 10 nearest neighbours with half of the documents given and the other half asked, for each random halving."""
    found = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(points))
        known, asked = np.array_split(order, 2)
        machine = KNeighborsClassifier(n_neighbors=min(10, len(known))).fit(points[known], topics[known])
        found.append(machine.score(points[asked], topics[asked]))
    return np.array(found)
