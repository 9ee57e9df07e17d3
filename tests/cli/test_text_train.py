"""``seqxai text train``: its report, its files, and what a wrong call or file is answered with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import seqxai.text
from seqxai.cli import app
from seqxai.text.session import Session

SMALL = ("--embedding-size", "8", "--hidden-size", "6", "--epochs", "2", "--batch", "16", "--learning-rate", "0.05")


def run(*arguments: object):
    return CliRunner().invoke(app, ["text", "train", *map(str, arguments)], prog_name="seqxai")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    rows = [f"{i},{'good' if i % 2 else 'bad'} film {i % 5},{'up' if i % 2 else 'down'}" for i in range(40)]
    path.write_text("\n".join(["id,review,mood", *rows]))
    return path


@pytest.fixture
def columns():
    return ("--text-column", "review", "--label-column", "mood")


def test_from_a_table_to_a_model_with_a_report(table, columns, tmp_path):
    (tmp_path / "test.csv").write_text("mood,review\nup,good film\ndown,bad unheard-of film\n")
    out = tmp_path / "m.safetensors"
    done = run(table, *columns, "--out", out, "--test", tmp_path / "test.csv", *SMALL, "--epochs", "12", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["test"] == {
        "texts": 2, "accuracy": 1.0, "majority": 0.5, "coverage": 0.8, "confusion": [[1, 0], [0, 1]], "loss": report["test"]["loss"],
    }  # fmt: skip
    assert (report["texts"], report["validation"]["texts"], report["words"]) == (36, 4, 10)
    assert report["validation"]["accuracy"] == max(epoch["validation_accuracy"] for epoch in report["history"])
    assert "epoch   1  loss 0." in done.stderr
    model = seqxai.text.load(out)
    assert model.labels == ("down", "up")
    assert model.report == {name: value for name, value in report.items() if name != "model"}
    assert model.predict(["a GOOD film", "bad"]).argmax(dim=1).tolist() == [1, 0]
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_trees_with_phrases_and_text_output(tmp_path):
    (tmp_path / "t.txt").write_text("(3 (2 a) (4 good))\n(1 (2 a) (0 bad))\n" * 4)
    out = tmp_path / "m.safetensors"
    (tmp_path / "v.txt").write_bytes((tmp_path / "t.txt").read_bytes())
    done = run(tmp_path / "t.txt", "--phrases", "--validation", tmp_path / "v.txt", "--out", out, *SMALL, "--quiet")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert "trained on  11 texts (8 whole), 2 epochs" in done.stdout
    assert "5 classes" in done.stdout
    assert "of the 8 that are not neutral, positive against negative" in done.stdout
    assert seqxai.text.load(out).labels == ("very negative", "negative", "neutral", "positive", "very positive")


def test_ctrl_c_leaves_the_best_epoch_and_resume_goes_on(table, columns, tmp_path, monkeypatch):
    out = tmp_path / "m.safetensors"
    straight = json.loads(run(table, *columns, "--out", tmp_path / "s.safetensors", *SMALL, "--json").stdout)
    whole = Session.run

    def stopped(self, state, progress):
        yield next(whole(self, state, progress))
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "run", stopped)
    done = run(table, *columns, "--out", out, *SMALL)
    assert done.exit_code == 130
    assert "m.safetensors holds the best of 1 complete epoch; go on with the same call and --resume" in done.stderr
    assert seqxai.text.load(out).labels == ("down", "up")
    monkeypatch.undo()
    refused = run(table, *columns, "--out", out, *SMALL)
    assert refused.exit_code == 1
    assert "go on with --resume" in refused.stderr
    resumed = json.loads(run(table, *columns, "--out", out, *SMALL, "--resume", "--json").stdout)
    assert [epoch["validation_loss"] for epoch in resumed["history"]] == [e["validation_loss"] for e in straight["history"]]
    assert out.read_bytes()[-900:] == (tmp_path / "s.safetensors").read_bytes()[-900:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text-column", "x"], "reviews.csv, line 1: no column 'x'; the columns are 'id', 'review', 'mood'"),
        (["--label-column", "id"], "reviews.csv has 40 different labels in 40 texts"),
        (["--validation", "other.csv"], "other.csv, line 3: the label 'sideways' does not occur in the training texts"),
        (["--validation", "other.csv", "--validation-share", "0.1"], "--validation names a file and --validation-share takes"),
        (["--test", "none.csv"], "no file at"),
        (["--validation-share", "1"], "a share of 1.0 of 40 texts leaves nothing for training"),
        (["--cell", "rnn"], "cell should be one of lstm, gru, got 'rnn'"),
        (["--dropout", "1"], "dropout should be a share from 0 to below 1, got 1.0"),
        (["--epochs", "0"], "epochs should be at least 1, got 0"),
        (["--resume"], "there is nothing to resume"),
        (["--out", "m.pt"], "expected a name ending in .safetensors"),
        (["--out", "nowhere/m.safetensors"], "the directory"),
        (["--format", "trees"], "reviews.csv, line 1: expected a tree"),
        (["--encoding", "utf-16"], "line 1: the file does not begin with the byte order mark of UTF-16; leave --encoding out"),
    ],
)
def test_one_sentence_for_what_is_wrong(table, columns, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("review,mood\ngood,up\nbad,sideways\n")
    done = run(table, *columns, "--out", "m.safetensors", *options)
    assert done.exit_code == 1, done.output
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "reviews.csv"]


def test_files_that_would_be_lost_or_measured_twice_are_refused(tmp_path: Path) -> None:
    from seqxai.cli.text_train import _check_files
    from seqxai.errors import InputError

    data, model = tmp_path / "a.csv", tmp_path / "m.safetensors"
    data.touch()
    _check_files(model, data, None, None, replace=False)
    model.touch()
    _check_files(model, data, None, None, replace=True)
    for out, other, words in ((model, None, "finished model"), (data, None, "would be lost"), (tmp_path / "n", data, "same file as DATA")):
        with pytest.raises(InputError, match=words):
            _check_files(out, data, other, None, replace=False)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_tells_the_separator(tmp_path: Path, separator: str) -> None:
    from seqxai.text.reading import read

    (tmp_path / "a.csv").write_text(f'text{separator}label\n"good{separator} film"{separator}yes\n')
    assert [(found.text, found.label) for found in read(tmp_path / "a.csv")] == [(f"good{separator} film", "yes")]
