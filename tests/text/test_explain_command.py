"""``seqxai text explain``: texts as they come, whole files as a stream, every wrong call one sentence; the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from seqxai.cli import app
from seqxai.text import Settings, TextClassifier, TextModel, Vocabulary, explain

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WORDS = ("<pad>", "<unk>", *"a good bad film not but , . n't is".split())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    settings = Settings("lstm", 6, 5, 1, True)
    network = TextClassifier(settings, len(WORDS), 3).eval().requires_grad_(False)
    out = tmp_path_factory.mktemp("model") / "m.safetensors"
    TextModel(network, Vocabulary(WORDS), ("negative", "neutral", "positive"), settings).save(out)
    return out


def run(*arguments: object, model: Path | None = None, given: bytes | None = None):
    words = ["text", "explain", *map(str, arguments), *(["--model", str(model)] if model else [])]
    return CliRunner().invoke(app, words, prog_name="seqxai", input=given)


def texts(result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["texts"]


def test_words_numbers_and_balance_are_those_of_the_library(path: Path) -> None:
    from seqxai.text import load

    found = texts(run("a good film", "n't", "--json", model=path))
    for plain, one in zip(found, explain(load(path), ["a good film", "n't"]), strict=True):
        assert plain["words"] == list(one.words)
        assert plain["relevance"] == pytest.approx(one.relevance, abs=1e-6)
        assert plain["ledger"] == pytest.approx(dict(one.ledger), abs=1e-6)
        assert sum(plain["ledger"].values()) == pytest.approx(plain["explained"], abs=1e-5)
        assert plain["predicted"] == max(plain["scores"], key=plain["scores"].get)
    shown = run("a good film", model=path)
    first = found[0]
    assert f"good({first['relevance'][1]:+.3f})".replace("-", "−")[:9] in shown.stdout
    assert re.search(r"balance\s+\S+ = words \S+, biases \S+", shown.stdout)


def test_options_reach_the_explanation(path: Path) -> None:
    def relevance(*options: str) -> list[float]:
        return texts(run("a good film", "--json", *options, model=path))[0]["relevance"]

    (plain,) = texts(run("a good film", "--json", model=path))
    usual, other = plain["relevance"], next(label for label in plain["scores"] if label != plain["predicted"])
    for options in (
        ("--target", other),
        ("--product", "half"),
        ("--epsilon", "0.5"),
        ("--method", "occlusion"),
        ("--composite", "lrp-0"),
    ):
        assert relevance(*options) != pytest.approx(usual, abs=1e-6), options
    contrast = [
        relevance("--target", "positive", "--against", "negative"),
        relevance("--target", "negative", "--against", "positive"),
    ]
    assert contrast[0] == pytest.approx([-value for value in contrast[1]], abs=1e-6)


NASTY = [
    "a good film", "", "film", " \t ", "😀 👩‍👩‍👧 good", "هذا فيلم جيد", "<script>alert(1)</script>",
    "bad \x00\x1b[31m film", "good " * 5000, "zebra",
]  # fmt: skip


def test_texts_as_they_come(path: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\r\n".join(NASTY).encode() + b"\n")
    result = run("--file", tmp_path / "t.txt", "--json", "--html", tmp_path / "p.html", model=path)
    found = texts(result)
    assert [one["line"] for one in found] == [1, 3, 5, 6, 7, 8, 9, 10]
    whole = json.loads(result.stdout)
    assert (whole["skipped"], whole["skipped_lines"]) == (2, [2, 4])
    assert "passed over, for want of words: lines 2, 4" in result.stderr
    by_line = {one["line"]: one for one in found}
    assert len(by_line[9]["words"]) == 5000
    assert by_line[10]["unknown"] == [0]
    assert by_line[5]["words"][:2] == ["😀", "👩‍👩‍👧"]
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert page.count("<article>") == 8


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("t.txt", "good\nna\xefve\n".encode("latin-1"), (), "t.txt, line 2: the byte 0xef is not UTF-8"),
        ("t.txt", "good\n".encode("utf-16"), (), "t.txt, line 1: the file is written in UTF-16"),
        ("t.csv", b"id,review\n1,good\n", (), "t.csv, line 1: no column 'text'"),
        ("t.csv", b"text,x\ngood,1\nbad\n", (), "t.csv, line 3: expected 2 fields"),
        ("t.jsonl", b'{"text": "good"}\n{"text": ', (), "t.jsonl, line 2"),
        ("t.xyz", b"good\n", (), "cannot tell the format"),
        ("t.txt", b"good\n", ("--encoding", "utf-99"), "unknown encoding"),
        ("none.txt", None, (), "no file at"),
        ("t.txt", b"good\n", ("--format", "word"), "unknown format"),
    ],
)
def test_files_that_cannot_be_read_are_one_sentence_with_the_line(path, tmp_path, name, content, options, message) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = run("--file", tmp_path / name, "--html", tmp_path / "p.html", "--quiet", *options, model=path)
    assert result.exit_code == 1
    assert re.search(re.escape(message), result.stderr), result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "p.html").exists()


def test_other_encodings_columns_and_standard_input(path: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("review;x\n".replace(";", ",").encode() + 'good,caf\xe9\n"bad, bad",1\n'.encode("latin-1"))
    found = texts(run("--file", tmp_path / "t.csv", "--text-column", "review", "--encoding", "latin-1", "--json", model=path))
    assert [one["words"] for one in found] == [["good"], ["bad", ",", "bad"]]
    found = texts(run("--file", "-", "--json", "--quiet", model=path, given=b"good\n\nbad film\n"))
    assert [(one["line"], one["words"]) for one in found] == [(1, ["good"]), (3, ["bad", "film"])]
    found = texts(run("--file", "-", "--format", "csv", "--json", model=path, given=b"text\ngood\n"))
    assert found[0]["words"] == ["good"]
    failed = run("--file", "-", model=path, given=b"good\n\xff\n")
    assert "standard input, line 2: the byte 0xff is not UTF-8" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Give texts, each in quotes, or a --file of them"),
        (("good", "--file", "x.txt"), "not both"),
        (("",), "The text has no words"),
        (("good", " "), "Text 2 has no words"),
        (("good", "--target", "great"), "labels are negative, neutral, positive"),
        (("good", "--method", "magic"), "a method among lrp"),
        (("good", "--html", "p.txt"), "ending in .html"),
        (("good", "--png", "p.gif"), "ending in .png or .svg or .pdf"),
        (("good", "--scale", "0"), "--scale should be a positive number"),
        (("good", "--tokenizer", "w.txt"), "belongs to a network of your own"),
        (("good", "--model", "no.such:module"), "needs its --tokenizer"),
    ],
)
def test_wrong_calls_are_one_sentence(path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments, model=None if "--model" in arguments else path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_ones_own_network_from_the_command_line(tmp_path: Path) -> None:
    from tests.text import own_models

    torch.save(own_models.make_with_lengths().state_dict(), tmp_path / "w.pt")
    (tmp_path / "words.txt").write_text("<pad>\n<unk>\ngood\nbad\nfilm\n.\n")
    result = run("good zebra film", "bad", "--model", "tests.text.own_models:make_with_lengths", "--weights", tmp_path / "w.pt",
                 "--tokenizer", tmp_path / "words.txt", "--labels", "x, y, z", "--target", "y", "--json")  # fmt: skip
    found = texts(result)
    assert [one["words"] for one in found] == [["good", "zebra", "film"], ["bad"]]
    assert found[0]["unknown"] == [1]
    assert set(found[0]["scores"]) == {"x", "y", "z"}
    assert sum(found[0]["ledger"].values()) == pytest.approx(found[0]["scores"]["y"], abs=1e-4)


def test_words_are_written_alike_everywhere(path: Path) -> None:
    (found,) = texts(run('(a "good" film)', "--json", model=path))
    assert found["words"] == ["(", "a", '"', "good", '"', "film", ")"]
    shown = run('(a "good" film)', model=path).stdout
    assert "lrb" not in shown
    assert "``" not in shown


def test_a_file_without_words_is_an_error_and_writes_nothing(path: Path, tmp_path: Path) -> None:
    for options in ((), ("--json",)):
        files = ("--html", tmp_path / "p.html", "--png", tmp_path / "p.png")
        result = run("--file", "-", *options, *files, model=path, given=b"\n \n")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "standard input has no text with words" in result.stderr
        assert not list(tmp_path.iterdir())


def test_what_was_read_before_an_error_is_shown_and_json_is_whole(path: Path) -> None:
    given = b"good\n\nbad film\n\xff\ngood\n"
    result = run("--file", "-", "--json", model=path, given=given)
    whole = json.loads(result.stdout)
    assert (result.exit_code, [one["line"] for one in whole["texts"]], whole["skipped_lines"]) == (1, [1, 3], [2])
    assert "standard input, line 4: the byte 0xff" in whole["error"]
    shown = run("--file", "-", model=path, given=given)
    assert (shown.exit_code, shown.stdout.count("line "), shown.stderr.count("\n")) == (1, 2, 1)
    assert run("--file", "-", "--json", model=path, given=b"\xff\n").stdout == ""


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
def test_weights_alone_are_no_model(tmp_path: Path, name: str) -> None:
    from safetensors.torch import save_file

    state = {"x": torch.zeros(1)}
    save_file(state, tmp_path / name) if name.endswith("s") else torch.save(state, tmp_path / name)
    result = run("good", model=tmp_path / name)
    assert result.exit_code == 1
    assert f"--model package.module:factory --weights {tmp_path / name} --tokenizer" in result.stderr
    assert result.stderr.count("\n") == 1


def test_random_weights_are_said(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("<pad>\n<unk>\ngood\nbad\nfilm\n.\n")
    own = ("--model", "tests.text.own_models:make", "--tokenizer", tmp_path / "words.txt")
    result = run("good", *own, "--json", "--html", tmp_path / "p.html")
    assert json.loads(result.stdout)["weights"] == "as it is built: no --weights"
    assert result.stderr == "model tests.text.own_models:make, as it is built: no --weights\n"
    assert "own_models:make, as it is built" in (tmp_path / "p.html").read_text()
    assert run("good", *own, "--json", "--quiet").stderr == ""


def test_a_figure_is_written_and_refused_when_too_large(path: Path, tmp_path: Path) -> None:
    result = run("a good film", "bad", "--png", tmp_path / "f.svg", model=path)
    assert result.exit_code == 0, result.output
    assert "<svg" in (tmp_path / "f.svg").read_text()
    failed = run("good " * 3001, "--png", tmp_path / "g.png", model=path)
    assert "holds at most 3000 words" in failed.stderr
    assert not (tmp_path / "g.png").exists()


def test_what_is_read_is_never_overwritten(path: Path, tmp_path: Path) -> None:
    text, link = tmp_path / "in.html", tmp_path / "link.html"
    text.write_text("text\ngood\n")
    link.symlink_to(text)
    for arguments, said in (
        (("--file", text, "--format", "csv", "--html", tmp_path / "." / "in.html"), "--html"),
        (("--file", link, "--format", "csv", "--html", text), "--file"),
        (("good", "--weights", text, "--html", text), "--weights"),
        (("good", "--model", text, "--html", text), "--model"),
    ):
        result = run(*arguments, model=None if "--model" in arguments else path)
        assert result.exit_code == 1
        assert said in result.stderr
        assert "would overwrite" in result.stderr
        assert result.stderr.count("\n") == 1
        assert text.read_text() == "text\ngood\n"


def test_the_page_in_a_browser(path: Path, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install chromium to open the page as a user would")
    (tmp_path / "t.txt").write_text("\n".join([*NASTY[:8], "x" * 900, '"><img src=x onerror="document.title=1">']))
    assert run("--file", tmp_path / "t.txt", "--html", tmp_path / "p.html", "--quiet", model=path).exit_code == 0
    # What a reader's browser makes of the page, measured by a script that the test adds and the page itself would forbid.
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    page = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"<script>{MEASURE}</script></body>")
    (tmp_path / "m.html").write_text(page, encoding="utf-8")
    for scheme, size in (("0", "420,800"), ("1", "1200,800")):  # 0: dark, narrow; 1: light, wide
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu",
                   f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={size}",
                   f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", (tmp_path / "m.html").as_uri()]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert 'id="measured"' in done.stdout, done.stderr[-500:]
        seen = json.loads(re.search(r'id="measured">([^<]*)<', done.stdout)[1])
        assert seen["title"] == "Explained texts"
        assert seen["scripts"] == 1
        assert seen["images"] == 0
        assert seen["wide"] <= seen["window"]  # nothing to scroll sideways, whatever the word
        assert seen["dark"] is (scheme == "0")
        assert seen["rtl"] == 1
        assert seen["contrast"] >= 4.5
        assert seen["above"] > 0
        assert seen["below"] > 0


MEASURE = """
const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function light(colours) {
  paint.clearRect(0, 0, 1, 1);
  for (const colour of colours) { paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); }
  const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map(v => v / 255).map(v =>
    v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const style = (node, part) => getComputedStyle(node, part);
const card = style(document.querySelector("article")).backgroundColor;
const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
const words = [...document.querySelectorAll(".w b")];
let contrast = Math.min(...words.map(w => ratio(light([style(w).color]), light([card, style(w).backgroundColor]))));
for (const name of [".facts dt", ".facts .f", ".facts .a", ".classes td", ".w i", ".title"])
  for (const node of document.querySelectorAll(name)) contrast = Math.min(contrast, ratio(light([style(node).color]), light([card])));
const tall = (name, part) => Math.max(0, ...[...document.querySelectorAll(name)].map(w => parseFloat(style(w, part).height) || 0));
const out = document.createElement("pre");
out.id = "measured";
out.textContent = JSON.stringify({title: document.title, scripts: document.scripts.length, images: document.images.length,
  wide: document.documentElement.scrollWidth, window: innerWidth, dark: light([style(document.body).backgroundColor]) < 0.1,
  rtl: document.querySelectorAll('.words[dir="rtl"]').length, contrast,
  above: tall(".w.p b", "::before"), below: tall(".w.n b", "::after")});
document.body.append(out);
"""
