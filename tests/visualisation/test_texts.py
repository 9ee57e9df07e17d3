"""Explained texts: what is shown are the numbers that were given, nothing of a text runs, and the sign needs no colour."""

import re
from html.parser import HTMLParser

import pytest
import torch
from rich.color import ColorSystem

import seqxai
from seqxai.errors import InputError
from seqxai.visualisation import (
    ExplainedText,
    TextScale,
    open_text_page,
    save_figure,
    save_text_page,
    text_figure,
    text_html,
    text_lines,
)
from seqxai.visualisation.explained import EXACT, digits, number, runs, visible
from seqxai.visualisation.text_figure import drawable

LABELS = (("bad", -0.5), ("good", 2.0))


def explained(words: str = "not a <b>bad</b> film .", relevance=(-0.4, 0.01, 1.2, 0.5, 0.19), **more) -> ExplainedText:
    given = {"explained": 2.0, "target": "good", "method": "LRP, ε = 0.001", "scores": LABELS,
             "ledger": (("input", sum(relevance)), ("initial_state", 0.0), ("bias", 0.45), ("stabilizer", 0.05))}  # fmt: skip
    return ExplainedText(tuple(words.split(" ")), tuple(relevance), **(given | more))


class Words(HTMLParser):
    """Words and numbers of a page, and every element in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.styles: list[str] = []
        self.found: dict[str, list[str]] = {"b": [], "i": []}
        self.feed(page.split("<main>")[-1])

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        if (given.get("class") or "").startswith("w "):
            self.styles.append((given["class"], given["style"]))

    def handle_data(self, data):
        if self.tags and self.tags[-1] in self.found and data.strip() and self.get_starttag_text() in ("<b>", "<i>"):
            self.found[self.tags[-1]].append(data)


def test_a_page_has_the_words_their_numbers_and_one_printed_scale(tmp_path):
    second = explained("so so", (0.5, -2.5), title="line 2")
    save_text_page(tmp_path / "p.html", [explained(title="line 1"), second], title="A & B", note="model: m")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert 'style="--s:2.5"' in page
    assert "One scale for the whole page: full colour and bar at ±2.50" in page
    assert "<title>A &amp; B</title>" in page
    assert "LRP, ε = 0.001 · 2 texts · model: m" in page
    words = Words(page)
    assert words.styles[0] == ("w n", "--m:0.4")
    assert words.styles[2] == ("w p", "--m:1.2")
    assert re.findall(r"<b>([^<]*)</b><i>([^<]*)</i>", page)[:3] == [
        ("not", "−0.40"),
        ("a", "+0.01"),
        ("&lt;b&gt;bad&lt;/b&gt;", "+1.20"),
    ]
    assert "+2.00 = words +1.50, biases +0.45, stabilizer +0.05" in page
    assert not re.search(r"//|url\(|src=|@import", page)  # standalone


def test_nothing_of_a_text_becomes_markup(tmp_path):
    evil = '<script>alert(1)</script> "><img/src=x/onerror=alert(1)> </main><style>*{display:none} &lt; \x00\x1b[31m'
    text = explained(evil, (0.1,) * 5, target="<i>t</i>", title='<a href="x">', scores=(("<u>", 1.0),), method="<s>")
    save_text_page(tmp_path / "p.html", [text], title="<h6>", note="<h5>")
    words = Words((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert set(words.tags) <= {"article", "header", "span", "b", "i", "p", "table", "caption", "tr", "th", "td", "dl", "dt", "dd", "bdi",
                               "footer", "div"}  # fmt: skip
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<h6>" not in page
    assert "<h5>" not in page
    assert "\x00" not in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [("good", "good"), ("a\x00b", "a␀b"), ("\x7f", "␡"), ("", "⟨empty⟩"), (" ", "␣"), ("\t", "␉"), ("\u202eevil", "⟨U+202E⟩evil"),
     ("👩\u200d👧", "👩\u200d👧"), ("\u200d", "⟨U+200D⟩"), ("naïve", "naïve"), ("\udc80x", "⟨U+DC80⟩x"), ("می\u200cشود", "می\u200cشود")],
)  # fmt: skip
def test_control_characters_are_made_visible(text, shown):
    assert visible(text) == shown
    visible(text).encode("utf-8")


def test_directions_follow_the_words():
    assert runs("a film .".split()) == (False, [(0, 3, False)])
    assert runs("the title שלום , עולם means hello .".split()) == (False, [(0, 2, False), (2, 5, True), (5, 8, False)])
    assert runs("هذا film جيد !".split()) == (True, [(0, 1, True), (1, 2, False), (2, 4, True)])
    assert runs(["...", "42"]) == (False, [(0, 2, False)])
    assert runs([]) == (False, [])
    fragment = text_html([explained("say שלום עולם now", (1.0, -1.0, 0.5, 0.1))])
    assert fragment.count('<bdi dir="rtl">') == 1
    assert '<p class="words" dir="ltr">' in fragment


def test_numbers_have_signs_and_as_many_decimals_as_they_need():
    assert [number(v, digits(1.4)) for v in (1.4, -0.004, -1.406, 0.0)] == ["+1.40", "0.00", "−1.41", "0.00"]
    assert number(-0.0123, digits(0.0123)) == "−0.012"
    assert number(1234.56, digits(1234.56)) == "+1235"
    assert number(-3e-9, digits(3e-9)) == "−3.0e-09"
    assert digits(0.0) == 2


def test_the_scale_of_a_stream_is_that_of_all_values():
    meter = TextScale()
    assert meter.value == 1.0
    meter.add((0.5, -2.0))
    meter.add(())
    assert meter.value == 2.0
    values = torch.linspace(-10, 10, 40 * EXACT, dtype=torch.float64)
    for part in values.split(1000):
        meter.add(part.tolist())
    assert meter.value == pytest.approx(float(values.abs().quantile(0.995)), rel=0.012)
    assert meter.largest == 10.0


def test_a_terminal_shows_signs_with_and_without_colours():
    text = explained("not bad", (-0.4, 1.2), ledger=(), unknown=frozenset({0}), title="line 3")
    plain = "\n".join(text_lines(text, 1.2))
    assert plain.startswith("line 3: good +2.00\n  not?(−0.40) bad(+1.20)\n")
    assert "keeps no balance" in plain
    coloured = text_lines(text, 1.2, colours=ColorSystem.TRUECOLOR)[1]
    assert re.findall(r"\x1b\[(4;)?38;2;\d+;\d+;\d+;48;2;(\d+);\d+;(\d+)m(\w+)", coloured) == [
        ("4;", *re.findall(r"48;2;(\d+);\d+;(\d+)m", coloured)[0], "not"),
        ("", *re.findall(r"48;2;(\d+);\d+;(\d+)m", coloured)[1], "bad"),
    ]
    (cold_red, cold_blue), (warm_red, warm_blue) = [
        tuple(map(int, pair)) for pair in re.findall(r"48;2;(\d+);\d+;(\d+)m", coloured)
    ]
    assert cold_red < cold_blue
    assert warm_red > warm_blue
    eight = text_lines(text, 1.2, colours=ColorSystem.STANDARD)[1]
    assert eight == "  \x1b[4;34mnot?\x1b[0m \x1b[37;41mbad\x1b[0m"


def test_probabilities_are_found_by_place_not_by_name():
    same = (("good", -0.5), ("good", 2.0))
    text = explained(scores=same, probabilities=(("good", 0.1), ("good", 0.9)))
    (line,) = [line for line in text_lines(text, 1.0) if "classes" in line]
    assert re.findall(r"\d+ %", line) == ["90 %", "10 %"]
    page = text_html([text])
    assert re.findall(r"<td>(\d+ %)", page) == ["10 %", "90 %"]
    assert page.count('class="top"') == 1


def test_a_label_that_is_a_number_has_quotes():
    text = explained(target="5", scores=(("1", -0.5), ("5", 2.0)))
    assert text_lines(text, 1.0)[0].startswith('"5" +2.0')
    assert "<b>&quot;5&quot;</b> +2.0" in text_html([text])
    assert text_lines(explained(target="5 rather than bad"), 1.0)[0].startswith('"5" rather than bad +2.0')
    assert '<th scope="row">&quot;1&quot;' in text_html([text])


def test_long_lines_are_wrapped_and_every_word_is_there():
    words = [f"word{i}" for i in range(300)]
    lines = text_lines(explained(" ".join(words), (0.1,) * 300, ledger=()), 1.0, width=60, compact=True)
    assert max(map(len, lines)) <= 60
    assert re.findall(r"word\d+", " ".join(lines[1:])) == words


def test_words_written_together_stay_together():
    text = explained("it 's good .", (0.1, 0.2, 0.3, -0.4), pieces=("it", "'s", " good", "."))
    assert [[shown for _, shown in group] for group in text.groups] == [["it", "'s"], ["good", "."]]
    assert "it's good." in re.sub(r"\x1b\[[\d;]*m", "", text_lines(text, 1.0, colours=ColorSystem.TRUECOLOR)[1])
    with pytest.raises(InputError, match="one piece of text for each of 1 words, got 2"):
        explained("it", (0.1,), pieces=("it", "'s"))


def drawn(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_figure_has_bars_above_and_below_on_one_scale(tmp_path):
    figure = text_figure([explained("not bad", (-1.0, 2.0)), explained("so", (0.5,))])
    axes = figure.axes[0]
    boxes = [patch for patch in axes.patches if patch.get_height() > 12]
    bars = [patch for patch in axes.patches if patch.get_height() <= 12]
    assert [round(bar.get_height() / bars[1].get_height(), 3) for bar in bars] == [0.5, 1.0, 0.25]
    assert bars[0].get_y() + bars[0].get_height() == pytest.approx(boxes[0].get_y())
    assert bars[1].get_y() == pytest.approx(boxes[1].get_y() + boxes[1].get_height())
    assert {"not", "bad", "so", "−1.00", "+2.00", "+0.50"} <= set(drawn(figure))
    assert "full colour at ±2.00" in drawn(figure)[-1]
    for ending in ("png", "svg", "pdf"):
        save_figure(figure, tmp_path / f"f.{ending}")
        assert (tmp_path / f"f.{ending}").stat().st_size > 2000


def test_a_figure_wraps_long_texts_and_cuts_words_longer_than_a_line():
    words = ["x" * 400, *["word"] * 40]
    figure = text_figure([explained(" ".join(words), (0.1,) * 41)], width=4)
    boxes = [patch for patch in figure.axes[0].patches if patch.get_height() > 12]
    assert max(box.get_x() + box.get_width() for box in boxes) <= 4 * 72 - 10
    assert sum(text.count("x") for text in drawn(figure) if set(text) == {"x"}) == 400
    with pytest.raises(InputError, match="at most 3000 words"):
        text_figure([explained("a " * 3000 + "a", (0.1,) * 3001)])


def test_a_figure_places_right_to_left_words_from_the_right():
    figure = text_figure([explained("say שלום עולם now", (1.0, -1.0, 0.5, 0.1))])
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert places["say"] < places["עולם"] < places["שלום"] < places["now"]
    whole = text_figure([explained("هذا جيد", (1.0, -1.0))])
    places = {text.get_text(): text.get_position()[0] for text in whole.axes[0].texts}
    assert places["جيد"] < places["هذا"]


def test_what_no_font_has_is_named_in_figures():
    assert drawable("a") == "a"
    assert drawable("\U0001faaa") == "⟨identification card⟩"
    assert drawable("␀") in ("␀", "⟨U+0000⟩")
    save_to = text_figure([explained("🫠 \U000e0001 $x_1$", (1.0, -1.0, 0.5))])
    assert "$x_1$" in drawn(save_to)


def test_half_a_page_stands_under_no_name(tmp_path):
    def interrupted() -> None:
        with open_text_page(tmp_path / "p.html") as page:
            page.add(explained())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    for name, match in (("p.txt", r"ending in \.html"), ("no/p.html", "missing")):
        with pytest.raises(InputError, match=match):
            save_text_page(tmp_path / name, [explained()])
    with pytest.raises(InputError, match="positive, finite colour scale"):
        save_text_page(tmp_path / "p.html", [explained()], scale=0)


@pytest.fixture(scope="module")
def attribution() -> seqxai.Attribution:
    torch.manual_seed(1)
    embed, out = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3)
    model = torch.nn.Sequential(embed, torch.nn.Flatten(2))
    return seqxai.LRP(lambda ids: out(model(ids).sum(1))).attribute(torch.tensor([[1, 2, 3], [4, 5, 0]]), target=2)


def test_an_attribution_with_tokens_draws_its_words(attribution, tmp_path):
    told = attribution.with_tokens([["not", "so", "bad"], ["good", "."]])
    html = told._repr_html_()
    assert re.findall(r"<b>([^<]*)</b><i>", html) == ["not", "so", "bad", "good", "."]
    assert "padding" in html  # of the second, whose third step also carries relevance
    assert attribution._repr_html_() is None
    assert {"good", "."} <= set(drawn(told.plot(1)))
    save_text_page(tmp_path / "p.html", told, labels=["a", "b", "c"])
    assert "explained: <b>c</b>" in (tmp_path / "p.html").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="Expected 3 labels"):
        text_html(told, labels=["a"])
    with pytest.raises(InputError, match="does not know its tokens"):
        text_html(attribution)
