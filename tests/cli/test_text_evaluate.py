"""``seqxai text evaluate``: the numbers are those of the metric, every output, and what a user can do wrong."""

import csv
import json
import random
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import seqxai
from seqxai.cli import app
from seqxai.comparison import by_name
from seqxai.evaluation import Sentences, WordDeletion, relevance_by_word
from seqxai.text import Settings, TextClassifier, TextModel, Vocabulary

WORDS = "good bad film plot the a very dull great and".split()
LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model with large random weights, and 30 sentences of 4 to 9 words, one to a line."""
    folder = tmp_path_factory.mktemp("evaluate")
    draw = random.Random(1)
    rows = [([draw.choice(WORDS) for _ in range(draw.randrange(4, 10))], draw.choice(LABELS)) for _ in range(30)]
    (folder / "test.csv").write_text("text,label\n" + "".join(f"{' '.join(words)},{label}\n" for words, label in rows))
    return save_model(folder, "lstm"), folder / "test.csv"


def save_model(folder: Path, cell: str) -> Path:
    settings = Settings(cell=cell, embedding_size=4, hidden_size=5, bidirectional=True)
    vocabulary = Vocabulary.build([WORDS])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = TextClassifier(settings, len(vocabulary), 2).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(3.0)
    TextModel(network, vocabulary, LABELS, settings).save(folder / f"{cell}.safetensors")
    return folder / f"{cell}.safetensors"


def run(*arguments: object) -> str:
    found = CliRunner().invoke(app, ["text", "evaluate", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    return found.stdout


def failure(*arguments: object) -> str:
    found = CliRunner().invoke(app, ["text", "evaluate", *map(str, arguments)])
    assert found.exit_code == 1, found.output
    assert found.stderr.count("\n") == 1
    return found.stderr


def test_the_numbers_are_those_of_the_metric(files, tmp_path):
    path, data = files
    options = (data, "--model", path, "--max-words", 3, "--min-length", 6, "--methods", "lrp,gradient,random", "--product", "half")
    found = json.loads(run(*options, "--json", "--quiet", "--csv", tmp_path / "curves.csv", "--out", tmp_path / "curves.svg"))
    model = seqxai.text.load(path)
    examples = [one for one in seqxai.text.read(data) if len(str(one.text).split()) >= 6]
    encoded = model.encode([str(one.text) for one in examples])
    inputs = Sentences(encoded.tokens, encoded.lengths, torch.tensor([LABELS.index(str(one.label)) for one in examples]))
    assert (found["sentences"], found["left_out"]) == (len(examples), 30 - len(examples))
    explainers = {
        "lrp": seqxai.LRP(model.network, seqxai.composites.Epsilon(1e-3), product="half"),
        "gradient": by_name("gradient", model.network),
    }
    taking_part = {}
    for one in found["results"]:
        metric = WordDeletion(3, one["order"])
        if one["method"] == "random":
            curve = metric.random(model.network, inputs)
        else:
            curve = metric.curve(model.network, inputs, relevance_by_word(explainers[one["method"]], inputs))
        assert one["accuracy"] == pytest.approx(curve.accuracy.tolist())
        assert one["mean"] == pytest.approx(curve.area)
        assert one["low"] <= one["mean"] <= one["high"]
        assert one["better"] == ("higher" if metric.higher_is_better else "lower")
        taking_part[one["order"]] = one["sentences"]
    assert len(found["results"]) == 6
    assert sum(taking_part.values()) == len(examples)
    assert min(taking_part.values()) >= 3
    assert found["accuracy"] == taking_part["decreasing"] / len(examples)
    with (tmp_path / "curves.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 4
    first = next(one for one in found["results"] if one["method"] == "lrp" and one["order"] == "increasing")
    written = [float(line["accuracy"]) for line in lines if (line["method"], line["order"]) == ("lrp", "increasing")]
    assert written == pytest.approx(first["accuracy"], abs=1e-6)
    drawing = (tmp_path / "curves.svg").read_text()
    assert drawing.count('id="patch_') > 4


def test_all_ten_methods_by_default_the_best_first(files):
    path, data = files
    text = run(data, "--model", path, "--max-words", 2, "--min-length", 8, "--limit", 8, "--quiet", "--runs", 2)
    tables = text.split("\n\n")[1:]
    assert tables
    for table in tables:
        rows = [line.split() for line in table.splitlines()[2:]]
        assert sorted(row[0] for row in rows) == sorted(
            ["lrp-all", "lrp-prop", "lrp-abs", "lrp-half", "gradient", "gradient-times-input", "occlusion", "occlusion-probability",
             "contextual-decomposition", "random"]
        )  # fmt: skip
        means = [float(row[4]) for row in rows]
        assert means == sorted(means, reverse="higher is better" in table)


def test_a_gru_has_no_contextual_decomposition(files, tmp_path):
    path, data = save_model(tmp_path, "gru"), files[1]
    options = (data, "--model", path, "--max-words", 1, "--min-length", 9, "--runs", 1)
    found = CliRunner().invoke(app, ["text", "evaluate", *map(str, options)])
    assert found.exit_code == 0
    assert "contextual-decomposition is left out" in found.stderr
    assert "contextual-decomposition" not in found.stdout
    assert "error: " in failure(*options, "--methods", "contextual-decomposition", "--quiet")


def test_what_a_user_can_do_wrong(files, tmp_path):
    path, data = files
    good = ("--model", path, "--max-words", 2, "--min-length", 5, "--quiet")
    for arguments, message in {
        (data, *good, "--methods", "lime"): "--methods must be among lrp, lrp-all",
        (data, *good, "--methods", "lrp,lrp"): "names 'lrp' twice",
        (data, *good, "--methods", ","): "--methods is empty",
        (data, *good, "--methods", "gradient", "--product", "half"): "add lrp to it",
        (data, *good, "--methods", "lrp", "--product", "third"): "half",
        (data, "--model", path, "--max-words", 10): "--min-length must be above --max-words, got 10 and 10",
        (data, *good[:4], "--min-length", 30, "--quiet"): "no sentence of test.csv has 30 words or more",
        (data, *good, "--out", tmp_path / "a.gif"): "a name ending in .png or .svg or .pdf",
        (data, *good, "--out", tmp_path / "a.png", "--csv", tmp_path / "a.png"): "a.png would overwrite what --out names",
        (data, *good, "--csv", data): "would overwrite what DATA names; give --csv a name of its own",
        (data, *good, "--label-column", "stars"): "no column 'stars'",
        (tmp_path / "no.csv", *good): "no file at",
        (data, "--model", tmp_path / "no.safetensors", "--quiet"): "no.safetensors",
    }.items():
        assert message in failure(*arguments)
    other = tmp_path / "other.csv"
    other.write_text("text,label\ngood bad film plot the,positive\ngood bad film plot the,neutral\n")
    assert "other.csv, line 3: the label 'neutral' is none of the model's, 'negative', 'positive'" in failure(other, *good)
    assert list(tmp_path.iterdir()) == [other]
