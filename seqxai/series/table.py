"""Numeric series from CSV files: every unusable cell is named with its line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from seqxai.errors import InputError
from seqxai.text.lines import numbered, place

GAPS = frozenset(("", "na", "n/a", "nan", "null", "none", "-", "#n/a", "."))
TIME_NAMES = frozenset(("date", "time", "datetime", "timestamp"))
COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


@dataclass(frozen=True, eq=False)
class NumericSeries:
    """One series: numbers over time.

    Attributes:
        name: of the file, or of the series in it.
        columns: names of the channels.
        values: (T, C), float64; NaN is a gap.
        times: (T,) ``datetime64``, numbers or texts; None without a time column.
        lines: (T,), where each row stands in the file.
        path: the file.
    """

    name: str
    columns: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray | None
    lines: np.ndarray
    path: Path

    def __len__(self) -> int:
        return len(self.values)

    def when(self, row: int) -> str:
        """The time of a row in words, or its number, counted from 0."""
        if self.times is None:
            return f"row {row}"
        time = self.times[row]
        if isinstance(time, np.datetime64):
            day = time.astype("datetime64[D]")
            return str(day if time == day else time.astype("datetime64[s]"))
        return f"{time:g}" if isinstance(time, np.floating) else str(time)

    def window(self, step: str | None = None, last: int | None = None) -> NumericSeries:
        """The rows up to a step, or only the last of them.

        Args:
            step: a time of the time column, a row number counted from 0, or ``None`` and "last" for the last row.
            last: keep so many.

        Raises:
            InputError: there is no such step, or there are not so many rows before it.
        """
        stop = self._row(step) + 1
        if last is not None and last > stop:
            raise InputError(
                f"{self.name} has {stop} rows up to {self.when(stop - 1)}, fewer than the {last} asked for; give --last {stop} or less."
            )
        rows = slice(0 if last is None else stop - last, stop)
        times = None if self.times is None else self.times[rows]
        return replace(self, values=self.values[rows], lines=self.lines[rows], times=times)

    def _row(self, step: str | None) -> int:
        if step is None or step == "last":
            return len(self) - 1
        if self.times is not None:
            found = np.flatnonzero(self.times == _like(step, self.times))
            if len(found):
                return int(found[-1])
        if step.isdigit() and int(step) < len(self) and (self.times is None or not np.issubdtype(self.times.dtype, np.number)):
            return int(step)
        span = f"{self.when(0)} to {self.when(len(self) - 1)}"
        raise InputError(f"{self.name} has no step {step!r}: expected a time from {span}, a row from 0 to {len(self) - 1}, or last.")

    def check_complete(self) -> None:
        """Refuse gaps.

        Raises:
            InputError: naming the first one's line and column.
        """
        missing = np.isnan(self.values)
        if missing.any():
            row, column = (int(i) for i in np.argwhere(missing)[0])
            raise InputError(
                f"{place(self.path, int(self.lines[row]))}: no number in column {self.columns[column]!r}, one of {int(missing.sum())} gaps "
                "in the rows that are explained; fill them first, or choose other rows or columns (--last, --step, --columns)."
            )


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    Attributes:
        columns: the channels, in the order in which the model reads them; all but time and series by default.
        time: the time column; by default one called date, time, datetime or timestamp.
        series: the column that tells to which series a row belongs.
        decimal: "." or ",".
        encoding: of the file.
    """

    columns: tuple[str, ...] = ()
    time: str | None = None
    series: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"


def read_series(path: Path, how: Reading) -> list[NumericSeries]:
    """The series of a CSV file, one unless a column tells several apart; the separator is the header's: comma, semicolon or tab.

    Raises:
        InputError: with the line, for whatever is not a table of numbers.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; expected a CSV file.")
    rows = _rows(path, how.encoding)
    try:
        _, header = next(rows)
    except StopIteration:
        raise InputError(f"{path.name} is empty; expected a line of column names and rows of numbers.") from None
    plan = _Plan.of(path, header, how)
    parsed = [plan.parse(line, cells) for line, cells in rows]
    if not parsed:
        raise InputError(f"{path.name} has a header and no rows; expected one row of numbers for each step.")
    kinds = _times([row.time for row in parsed], [row.line for row in parsed], path) if plan.time is not None else None
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(parsed):
        groups.setdefault(row.series, []).append(index)
    values, lines = np.array([row.numbers for row in parsed]), np.array([row.line for row in parsed])
    found = []
    for name, indices in groups.items():
        times = None if kinds is None else kinds[indices]
        _check_order(times, lines[indices], path)
        found.append(NumericSeries(name or path.stem, plan.columns, values[indices], times, lines[indices], path))
    return found


def _rows(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells), empty lines left out; all with the header's number of cells."""
    lines = numbered(path, encoding)
    delimiter = ","

    def texts() -> Iterable[str]:
        yield from (text for _, text in lines)

    first = next(lines, None)
    while first is not None and not first[1].strip():
        first = next(lines, None)
    if first is None:
        return
    delimiter = max("\t;,", key=first[1].count)
    header = next(csv.reader([first[1]], delimiter=delimiter))
    yield first[0], header
    reader = csv.reader(texts(), delimiter=delimiter)
    try:
        for cells in reader:
            line = first[0] + reader.line_num
            if not any(cell.strip() for cell in cells) and len(cells) <= 1:
                continue
            if len(cells) != len(header):
                raise InputError(f"{place(path, line)}: {len(cells)} cells, but the header names {len(header)} columns; correct the row.")
            yield line, cells
    except csv.Error as error:
        raise InputError(f"{place(path, first[0] + reader.line_num)}: {error}; expected a table with one separator.") from error


@dataclass(frozen=True)
class _Row:
    line: int
    series: str
    time: str
    numbers: list[float]


@dataclass(frozen=True)
class _Plan:
    """Which cells of a row are what."""

    path: Path
    columns: tuple[str, ...]
    places: tuple[int, ...]
    time: int | None
    series: int | None
    decimal: str
    chosen: bool

    @classmethod
    def of(cls, path: Path, header: Sequence[str], how: Reading) -> _Plan:
        """From the header.

        Raises:
            InputError: it has no such column, or no names.
        """
        names = [cell.strip() or f"column {number}" for number, cell in enumerate(header, 1)]
        if all(_is_number(name) for name in names):
            raise InputError(f"{place(path, 1)}: expected the names of the columns, got numbers; put a header line above them.")
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise InputError(f"{place(path, 1)}: two columns are called {double[0]!r}; rename one of them.")

        def find(name: str) -> int:
            if name not in names:
                raise InputError(f"{path.name} has no column {name!r}; its columns are {', '.join(names)}.")
            return names.index(name)

        time = find(how.time) if how.time else next((i for i, name in enumerate(names) if name.lower() in TIME_NAMES), None)
        time = None if time is not None and names[time] in how.columns and how.time is None else time
        series = find(how.series) if how.series else None
        places = [find(name) for name in how.columns] if how.columns else [i for i in range(len(names)) if i not in (time, series)]
        if not places:
            raise InputError(f"{path.name} has no numeric column beside {names[time or 0]!r}; add the numbers the model reads.")
        return cls(path, tuple(names[i] for i in places), tuple(places), time, series, how.decimal, bool(how.columns))

    def parse(self, line: int, cells: Sequence[str]) -> _Row:
        """A row's numbers.

        Raises:
            InputError: naming line and column of what is no number.
        """
        numbers = [self._number(cells[place], name, line) for place, name in zip(self.places, self.columns, strict=True)]
        series = cells[self.series].strip() if self.series is not None else ""
        return _Row(line, series, cells[self.time].strip() if self.time is not None else "", numbers)

    def _number(self, cell: str, column: str, line: int) -> float:
        text = cell.strip()
        if text.lower() in GAPS:
            return float("nan")
        try:
            number = float(text.replace(",", ".") if self.decimal == "," and "." not in text else text)
        except ValueError:
            number = float("inf")
        if "_" not in text and abs(number) < float("inf"):
            return number
        remedy = "choose the columns with --columns, and name one of times with --time, of names with --series"
        if self.chosen:
            remedy = "correct the cell, or choose other columns"
        if self.decimal == "." and COMMA.fullmatch(text):
            remedy = 'decimal commas are read with --decimal ","'
        raise InputError(f"{place(self.path, line)}: expected a number in column {column!r}, got {text[:40]!r}; {remedy}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _times(texts: list[str], lines: list[int], path: Path) -> np.ndarray:
    """Dates, numbers or texts, by what the first row has.

    Raises:
        InputError: naming the line of a time that is not of the first one's kind.
    """
    for what, kind, parse in (("a number", np.float64, float), ("an ISO date", "datetime64[us]", _date)):
        try:
            parse(texts[0])
        except ValueError:
            continue
        found = []
        for text, line in zip(texts, lines, strict=True):
            try:
                found.append(parse(text))
            except ValueError:
                raise InputError(
                    f"{place(path, line)}: expected {what} as time, as in the first row ({texts[0]}), got {text[:40]!r}; correct the cell."
                ) from None
        return np.array(found, dtype=kind)
    return np.array(texts)


def _date(text: str) -> datetime:
    """An ISO date or time; of one with an offset, that of Greenwich."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def _like(text: str, times: np.ndarray) -> np.datetime64 | float | str | None:
    """A step as the times are written; None if it cannot be one of them."""
    try:
        if np.issubdtype(times.dtype, np.datetime64):
            return np.datetime64(_date(text), "us")
        return float(text) if np.issubdtype(times.dtype, np.number) else text
    except ValueError:
        return None


def _check_order(times: np.ndarray | None, lines: np.ndarray, path: Path) -> None:
    if times is None or times.dtype.kind in "US" or len(times) < 2:
        return
    later = np.diff(times) > np.zeros(1, dtype=np.diff(times).dtype)
    if not later.all():
        row = int(np.argmin(later)) + 1
        raise InputError(
            f"{place(path, int(lines[row]))}: the time is not after that of the row before; sort the rows, or tell series apart with "
            "--series."
        )
