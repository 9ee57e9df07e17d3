"""Text to words and back: one plain scheme, the Penn Treebank's, which keeps text that is already tokenised as it is.

Words are separated at white space; then, inside each piece,

- punctuation stands alone, runs of dots (``...``) and hyphens (``--``) stay together;
- contractions are split as in the Treebank: ``isn't`` is ``is n't``, ``it's`` is ``it 's``, ``cannot`` is ``can not``;
- brackets become ``-lrb- -rrb-`` (``[]``: ``-lsb- -rsb-``, ``{}``: ``-lcb- -rcb-``), double quotes become ``````` and ``''``;
- hyphenated words, numbers (``1,000.5``, ``9/11``), initials (``j.r.r.``), usual abbreviations (``mr.``) and URLs are one word;
- an emoji with its modifiers is one word; control characters separate words, marks of writing direction are dropped.

So ``tokenise(" ".join(words))`` gives Treebank words back: for all but 32 of the 11,855 sentences of the
Stanford Sentiment Treebank (``tests/text/test_tokens.py``).  Scripts without spaces (Chinese, Japanese, Thai) are not segmented.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

REMEMBERED_CHARACTERS = 40
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
OPENED = {token: bracket for bracket, token in BRACKETS.items()}
PLAIN_QUOTES = {"``": '"', "''": '"', "`": "'"}
QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": "`` ", "\u201d": " ''", "\u201e": "`` ", "\u00ab": "`` ", "\u00bb": " ''"})
CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]+")
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffc]")
OPENING_QUOTE = re.compile(r'^([(\[{]*)"')

# A letter, digit or mark of any script: whatever is neither space nor punctuation, symbol or picture.
_W = (
    "[^\\s\x00-\x1f!-/:-@\\[-^`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u2000-\u200b\u200d-\u206f\u20a0-\u20cf\u2190-\u2bff"
    "\u3000-\u3004\u3008-\u3020\ufe00-\ufe0f\uff01-\uff0f\uff1a-\uff1f\u037e\u0589\u05c3\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\U0001f000-\U0001faff]"
)
_SUFFIX = r"'(?:s|re|ve|ll|d|m)"
_MODIFIED = "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\u20e3]"
_PATTERN = re.compile(
    rf"""
    -[lr][rsc]b-                                                  # a bracket of the Treebank
  | (?:https?://|www\.)\S*[^\s.,;:!?'")\]}}]                      # a URL without what follows it
  | \.{{2,}} | -{{2,}} | \*+ | `` | ''                            # what stays together
  | (?<!{_W})(?:{_W}\.){{2,}}(?!{_W})                             # initials: u.s., j.r.r.
  | (?<!{_W})(?:mr|mrs|ms|dr|prof|jr|sr|st|vs|etc|inc|bros|ltd|al|i\.e|e\.g|[b-hj-z])\.(?!{_W})
  | (?<!{_W})can(?=not(?!{_W}))
  | n't(?!{_W}) | {_SUFFIX}(?!{_W}) | '(?:em|til|tis|twas|n|\d\ds?)(?!{_W})
  | {_W}+?(?=n't(?!{_W}))                                         # what stands before n't
  | {_W}(?:{_W}|(?!{_SUFFIX}(?!{_W}))[-/&.,:'@*+](?={_W}))*       # a word, with what is inside it
  | [\U0001f1e6-\U0001f1ff]{{2}}                                  # a flag
  | \S(?:{_MODIFIED}|\u200d\S)*                                   # anything else alone; emoji with its modifiers
    """,
    re.VERBOSE | re.IGNORECASE,
)

_CLOSING = {".", ",", ";", ":", "!", "?", "...", ")", "]", "}", "''", "%"}
_OPENING = {"(", "[", "{", "``", "`", "$", "#"}
_ATTACHED = re.compile(r"n't|'(?:s|re|ve|ll|d|m)", re.IGNORECASE)


def tokenise(text: str, *, lowercase: bool = True) -> list[str]:
    """Split a text into words, as the module's documentation says.

    Args:
        text: any text; tokenised text stays as it is.
        lowercase: lower-case the words, as the shipped model wants them.

    Returns:
        The words; none for an empty text.

    >>> tokenise("It isn't Tolkien's (J.R.R.) best-known film.")
    ['it', 'is', "n't", 'tolkien', "'s", '-lrb-', 'j.r.r.', '-rrb-', 'best-known', 'film', '.']
    """
    words: list[str] = []
    for piece in text.split():
        words += _remembered(piece) if len(piece) <= REMEMBERED_CHARACTERS else _split(piece)
    return [word.lower() for word in words] if lowercase else words


def _split(piece: str) -> list[str]:
    """The words of a piece of text without white space; what else controls a terminal separates words like white space."""
    if CONTROL.search(piece):
        return [word for part in CONTROL.split(piece) for word in _split(part)]
    plain = INVISIBLE.sub("", piece.translate(QUOTES)).replace("\\/", "/").replace("\\*", "*")
    quoted = OPENING_QUOTE.sub(r"\1`` ", plain).replace('"', " ''")
    return [BRACKETS.get(word, word) for word in _PATTERN.findall(quoted)]


_remembered = lru_cache(maxsize=50_000)(_split)  # texts repeat their words: six times as fast


def normalise(words: Sequence[str], *, lowercase: bool = True) -> list[str]:
    r"""Write words that were separated elsewhere as :func:`tokenise` writes them.

    Args:
        words: for example the leaves of a tree; they are neither split nor joined.
        lowercase: as for :func:`tokenise`.

    Returns:
        As many words: brackets by their names, ``\/`` as ``/``, lower-cased if asked for.
    """
    plain = [BRACKETS.get(word, word).replace("\\/", "/").replace("\\*", "*") for word in words]
    return [word.lower() for word in plain] if lowercase else plain


def detokenise(words: Sequence[str]) -> str:
    r"""Put words together for display: brackets, quotes and punctuation as people write them.

    Args:
        words: as :func:`tokenise` gives them.

    Returns:
        One line of text.  What was lower-cased stays so.

    >>> detokenise(["it", "is", "n't", "new", "-lrb-", "``", "odd", "''", "-rrb-", "."])
    'it isn\'t new ("odd").'
    """
    return "".join(pieces(words))


def as_written(word: str) -> str:
    """One word of the Treebank as people write it: brackets and quotes."""
    shown = OPENED.get(word.lower(), word)
    return PLAIN_QUOTES.get(shown, shown)


def pieces(words: Sequence[str]) -> list[str]:
    """What each word contributes to :func:`detokenise`: itself as people write it, after a blank where one belongs.

    Args:
        words: as :func:`tokenise` gives them.

    Returns:
        As many strings; joined they are the text.
    """
    written = []
    glued = True
    for word in words:
        shown = OPENED.get(word.lower(), word)
        if glued or shown in _CLOSING or _ATTACHED.fullmatch(shown):
            blank = ""
        else:
            blank = " "
        written.append(blank + PLAIN_QUOTES.get(shown, shown))
        glued = shown in _OPENING
    return written
