"""Files of texts: what is read, and one sentence with the line for everything that cannot be."""

import json
import os
import threading
from itertools import islice

import pytest

from seqxai.errors import InputError
from seqxai.text.reading import Example, read, recognise

TREE = "(3 (2 It) (4 (2 's) (4 good)))"


@pytest.fixture
def made(tmp_path):
    def make(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def test_csv_with_quotes_lines_inside_texts_and_empty_lines(made):
    path = made('id,text,label\n1,"Good, he said.\nReally ""good"".",pos\n\n2, plain ,neg \r\n')
    assert list(read(path)) == [
        Example('Good, he said.\nReally "good".', "pos", 2),
        Example(" plain ", "neg", 5),
    ]


def test_tsv_where_quotes_are_letters(made):
    path = made('label\ttext\n1\t"Good" and "bad"\n0\t"He said ""no"""\n1\t"open\n', "data.tsv")
    assert [example.text for example in read(path)] == ['"Good" and "bad"', 'He said "no"', '"open']


def test_json_lines_with_texts_words_and_other_labels(made):
    lines = [{"t": "a b", "y": 3}, {"t": ["a", "b"], "y": True}, {"t": "é", "y": "x"}]
    path = made("\n\n".join(map(json.dumps, lines)), "data.jsonl")
    assert list(read(path, text="t", label="y")) == [Example("a b", "3", 1), Example(("a", "b"), "True", 3), Example("é", "x", 5)]


def test_trees_with_each_phrase_once(made):
    path = made(f"{TREE}\n\n(0 (1 bad) (1 bad))\n", "data.txt")
    assert recognise(path) == "trees"
    assert list(read(path)) == [
        Example(("It", "'s", "good"), "positive", 1),
        Example(("bad", "bad"), "very negative", 3),
    ]
    phrases = [(" ".join(e.text), e.label, e.line, e.whole) for e in read(path, phrases=True)]
    assert phrases == [
        ("It", "neutral", 1, False),
        ("'s", "neutral", 1, False),
        ("good", "very positive", 1, False),
        ("'s good", "very positive", 1, False),
        ("It 's good", "positive", 1, True),
        ("bad", "negative", 3, False),
        ("bad bad", "very negative", 3, True),
    ]


def test_texts_alone_keep_their_empty_lines(made):
    assert [(e.text, e.line) for e in read(made("a b\r\n\n c\n", "t.txt"), label=None)] == [("a b", 1), ("", 2), (" c", 3)]
    assert [e.text for e in read(made('text\n""\nb\n'), label=None)] == ["", "b"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_encodings(made, encoding):
    path = made("text,label\r\nclichéd,1\nü\u0085,0\n".encode(encoding))
    asked = "utf-8" if encoding == "utf-8-sig" else encoding
    assert [(e.text, e.line) for e in read(path, encoding=asked)] == [("clichéd", 2), ("ü\u0085", 3)]


def test_a_pipe_can_be_read(tmp_path):
    pipe = tmp_path / "texts.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("text,label\ngood,1\n",))
    writer.start()
    assert list(read(pipe)) == [Example("good", "1", 2)]
    writer.join()


def test_a_file_is_a_stream(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("text,label\n" + "good,1\n" * 1000 + '"never closed')
    assert len(list(islice(read(path), 1000))) == 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.csv", "a,b\n1,2\n", r"d.csv, line 1: no column 'text'; the columns are 'a', 'b'; name the right one with --text-column"),
        ("d.csv", "text,b\n1,2\n", r"line 1: no column 'label'; .* --label-column"),
        ("d.csv", "text,text,label\n1,2,3\n", r"line 1: 2 columns are called 'text'; rename all but one"),
        ("d.csv", "", r"line 1: no column 'text'; the columns are none, the file is empty"),
        ("d.csv", "text,label\na,1\nb\n", r"line 3: expected 2 fields as in the header, got 1; the line may be cut off"),
        ("d.csv", "text,label\na,b,1\n", r"line 2: expected 2 .* got 3; put texts that contain the separator in quotes"),
        ("d.csv", 'text,label\na,1\n"b\nc', r"line 3: not CSV \(unexpected end of data\); the line may be cut off"),
        ("d.csv", 'text,label\n"a" b,1\n', r"line 2: not CSV"),
        ("d.csv", "text,label\n ,1\n", r"line 2: the text is empty"),
        ("d.csv", "text,label\na,\n", r"line 2: the label is empty"),
        ("d.csv", b"text,label\na,1\nclich\xe9,0\n", r"line 3: the byte 0xe9 is not UTF-8; .* --encoding latin-1"),
        ("d.csv", "text,label\na,1\nb,0\n".encode("utf-16")[:-1], r"line 1: .* written in UTF-16, not utf-8; .* --encoding utf-16"),
        ("d.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "lab', r"line 2: the line is cut off or not JSON"),
        ("d.jsonl", '[{"text": "a"}]', r"line 1: expected one JSON object a line, got \[\{'text': 'a'\}\]"),
        ("d.jsonl", '{"label": 1}', r"line 1: no field 'text'; the fields are 'label'; .* --text-column"),
        ("d.jsonl", '{"text": 5, "label": 1}', r"line 1: the field 'text' should be a text or a list of words, got 5"),
        ("d.jsonl", '{"text": "a", "label": 0.5}', r"line 1: the label should be a text or a whole number, got 0.5"),
        ("d.jsonl", '{"text": "a", "label": null}', r"line 1: the label should be a text or a whole number, got None"),
        ("d.jsonl", "[" * 100_000, r"line 1: the line is cut off or not JSON \(nested too deeply\)"),
        ("d.txt", "(3 (2 a) (2 b)\n", r"line 1: the tree does not end: 1 of its brackets are never closed"),
        ("d.txt", "(3 (2 a) (2 b))\n(3 (2 a)))\n", r"line 2: .* expected one tree a line, got '\)' after it"),
        ("d.txt", "(3 (2 a) (2 b))\n(7 a)\n", r"line 2: expected a label from 0 to 4 after '\(', got '7'"),
        ("d.txt", "(3 (2 a) (2 b))\n(3 (2) a)\n", r"line 2: a node of the tree has no words"),
        ("d.txt", "(3 (2 a) (2 b))\nplain words\n", r"line 2: expected a tree .*, got 'plain words'"),
        ("d.txt", "(3 (2 a) (2 b)) c\n", r"line 1: the tree ends before the line does; .* got 'c' after it"),
        ("d.txt", "(3 (2 a) (", r"line 1: expected a label from 0 to 4 after '\(', got 'the end of the line'"),
        ("d.txt", "just words\n", r"cannot tell the format of 'd.txt': .* --format"),
        ("d.dat", "text,label\n", r"cannot tell the format of 'd.dat': expected a name ending in .csv"),
    ],
)
def test_one_sentence_with_the_line(made, name, content, message):
    with pytest.raises(InputError, match=message) as caught:
        list(read(made(content, name)))
    assert "\n" not in str(caught.value)


def test_files_and_encodings_that_are_none(made, tmp_path):
    for path, options, message in [
        (tmp_path / "no.csv", {}, "no file at"),
        (tmp_path, {"format": "csv"}, "is a folder; expected a file of texts"),
        (tmp_path, {}, "is a folder; expected a file of texts"),
        (tmp_path / "a\0b.csv", {}, "cannot be read"),
        (made("text,label\na,1\n".encode("utf-16")[:-1], "w.csv"), {"encoding": "utf-16"}, "line 1 or soon after: not UTF-16, or cut off"),
        (made("text,label\n", "k.csv"), {"encoding": "klingon"}, "unknown encoding 'klingon'"),
        (made("text,label\n", "x.csv"), {"format": "xls"}, "unknown format 'xls'; expected one of csv, tsv, jsonl, trees, lines"),
        (made("a\n", "l.csv"), {"format": "lines"}, "plain lines, which have no labels"),
    ]:
        with pytest.raises(InputError, match=message):
            list(read(path, **options))
