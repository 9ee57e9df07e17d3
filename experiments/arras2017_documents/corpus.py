"""Texts of four topics: what four packages say of themselves in their docstrings, read from their source files.

No corpus of documents can be had without a network, and none may be shipped here.  The docstrings of packages that ``pip install
.[dev]`` brings are real prose by many authors, about graphs, machine learning, symbolic mathematics and drawing; ``constraints.txt``
says which versions.  Only prose is kept: no lists of parameters, no examples, no formulas, and no word that names the package.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqxai.files import written_whole
from seqxai.text import tokenise

TOPICS = {"graphs": "networkx", "learning": "sklearn", "algebra": "sympy", "drawing": "matplotlib"}
METADATA = {"sklearn": "scikit-learn"}  # package -> the name under which it is installed
NAMES = {"networkx", "nx", "sklearn", "scikit", "scikit-learn", "sympy", "matplotlib", "mpl", "pyplot", "plt"}
SKIPPED = {"tests", "testing", "conftest", "externals", "benchmarks"}
SECTIONS = {"notes", "description", "explanation"}  # of a docstring, beside what stands before the first heading
WORDS = (15, 100)
_HEADING = re.compile(r"^(\w[\w ]*)\n[-=~]{3,}\s*$", re.M)
_MARKUP = re.compile(r":\w+:`~?([^`<]*)[^`]*`|``?([^`]*)``?|[*|]{1,2}([^*|\n]+)[*|]{1,2}|\[\w+\]_")
_WORD = re.compile(r"[a-z][a-z'-]*|[.,;:!?()]")


@dataclass(frozen=True)
class Document:
    """A text.

    Attributes:
        words: lower-cased.
        topic: its number in ``TOPICS``.
        where: package, file and object it comes from.
    """

    words: tuple[str, ...]
    topic: int
    where: str


@dataclass(frozen=True)
class Corpus:
    """All documents, and the words that name what their packages are about.

    Attributes:
        documents: at most so many of each topic, every text once; the same for the same versions of the packages.
        topic_words: words of which the names of one package's modules, classes and functions are made, and of no other's.  Names are
            taken, not texts: which words a document consists of plays no part.
        versions: of the packages.
    """

    documents: list[Document]
    topic_words: set[str]
    versions: dict[str, str]


def collect(limit: int) -> Corpus:
    """Read the packages' source files; half a minute."""
    found, named = [], []
    for topic, package in enumerate(TOPICS.values()):
        seen: set[tuple[str, ...]] = set()
        names: set[str] = set()
        of_topic = []
        for where, text in docstrings(package):
            names |= set(re.findall(r"[a-z]{3,}", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", where.split("/", 1)[1]).lower()))
            words = prose(text)
            if WORDS[0] <= len(words) and words not in seen:
                seen.add(words)
                of_topic.append(Document(words[: WORDS[1]], topic, where))
        random.Random(topic).shuffle(of_topic)
        found += of_topic[:limit]
        named.append(names)
    topic_words = {word for names in named for word in names if sum(word in other for other in named) == 1}
    return Corpus(found, topic_words, {package: importlib.metadata.version(METADATA.get(package, package)) for package in TOPICS.values()})


def read(path: Path, limit: int) -> Corpus:
    """The corpus as an earlier run left it, or collected now."""
    if path.exists():
        kept = json.loads(path.read_text())
        documents = [Document(tuple(words), topic, where) for words, topic, where in kept["documents"]]
        if kept["limit"] == limit:
            return Corpus(documents, set(kept["topic_words"]), kept["versions"])
    corpus = collect(limit)
    with written_whole(path) as partial:
        partial.write_text(json.dumps({
            "limit": limit, "documents": [[one.words, one.topic, one.where] for one in corpus.documents],
            "topic_words": sorted(corpus.topic_words), "versions": corpus.versions,
        }))  # fmt: skip
    return corpus


def docstrings(package: str) -> Iterator[tuple[str, str]]:
    """Where and what: the docstring of every public class, function and method in the package's source files."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"The package {package} is not installed; its docstrings belong to the corpus. pip install '.[dev]' brings it.")
    root = Path(spec.origin).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part in SKIPPED or part.startswith("test_") for part in parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if (text := ast.get_docstring(node)) is not None:
                    yield f"{package}/{'/'.join(parts)}:{node.name}", text


def prose(text: str) -> tuple[str, ...]:
    """The words of a docstring's description and notes."""
    pieces = _HEADING.split(text)
    kept = [pieces[0]] + [body for title, body in zip(pieces[1::2], pieces[2::2], strict=True) if title.lower() in SECTIONS]
    lines = []
    for line in "\n".join(kept).splitlines():
        if not line.lstrip().startswith((">>>", "...", "..", ":", "$", "#", "[", "|", "+")) and not line.startswith("        "):
            lines.append(line)
    plain = _MARKUP.sub(lambda match: next((group for group in match.groups() if group), ""), "\n".join(lines))
    return tuple(word for word in tokenise(plain) if _WORD.fullmatch(word) and word not in NAMES)


def split(found: list[Document], seed: int) -> tuple[list[Document], list[Document], list[Document]]:
    """Training, validation and test documents, 60, 15 and 25 of a hundred files: texts of one file stay together."""
    files = sorted({one.where.split(":")[0] for one in found})
    random.Random(seed).shuffle(files)
    first, second = (round(share * len(files)) for share in (0.6, 0.75))
    part = {file: 0 if place < first else 1 if place < second else 2 for place, file in enumerate(files)}
    parts: tuple[list[Document], list[Document], list[Document]] = ([], [], [])
    for one in found:
        parts[part[one.where.split(":")[0]]].append(one)
    return parts
