"""The scale a model was trained on: mean and standard deviation of each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqxai.errors import InputError
from seqxai.series.table import NumericSeries, Reading, read_series
from seqxai.text.lines import numbered, place


@dataclass(frozen=True, eq=False)
class Scale:
    """``(x - mean) / std`` for each channel.

    Attributes:
        mean, std: (C,).
        source: in words.
    """

    mean: np.ndarray
    std: np.ndarray
    source: str

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(T, C) to (T, C)."""
        scaled: np.ndarray = (values - self.mean) / self.std
        return scaled

    @classmethod
    def none(cls, channels: int) -> Scale:
        """The numbers as they are."""
        return cls(np.zeros(channels), np.ones(channels), "as in the file")

    @classmethod
    def of_data(cls, series: Sequence[NumericSeries]) -> Scale:
        """Mean and deviation of all rows of all series, gaps left out.

        Raises:
            InputError: a channel never changes.
        """
        values = np.concatenate([one.values for one in series])
        known = ~np.isnan(values)
        count = np.maximum(known.sum(0), 1)
        mean = np.where(known, values, 0.0).sum(0) / count
        std = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(0) / count)
        for name, one in zip(series[0].columns, std, strict=True):
            if not one > 0:
                raise InputError(
                    f"The column {name!r} never changes, so it has no deviation to divide by; give --normalise a file, or leave it out."
                )
        return cls(mean, std, f"mean and deviation of the {len(values)} rows given")

    @classmethod
    def of_file(cls, path: Path, columns: Sequence[str]) -> Scale:
        """From a CSV file with a row for each channel: its name, ``mean`` and ``std``.

        Raises:
            InputError: a channel is missing, or its deviation is not positive.
        """
        header = next(iter(numbered(path)), (1, ""))[1]
        delimiter = max("\t;,", key=header.count)
        names = [part.strip().strip('"') for part in header.split(delimiter)]
        if len(names) < 3 or not {"mean", "std"} <= set(names[1:]):
            raise InputError(f"{place(path, 1)}: expected the columns column, mean and std, got {header.strip()[:60]!r}.")
        (table, *more) = read_series(path, Reading(columns=("mean", "std"), series=names[0] or "column 1"))
        found = {one.name: one for one in (table, *more)}
        missing = [name for name in columns if name not in found]
        if missing:
            raise InputError(f"{path.name} has no row for the column {missing[0]!r}; it has {', '.join(found)}.")
        for name in columns:
            if not np.isfinite(found[name].values[0]).all() or not found[name].values[0, 1] > 0:
                raise InputError(f"{place(path, int(found[name].lines[0]))}: expected a mean and a positive deviation for {name!r}.")
        values = np.stack([found[name].values[0] for name in columns])
        return cls(values[:, 0], values[:, 1], f"mean and deviation of {path.name}")
