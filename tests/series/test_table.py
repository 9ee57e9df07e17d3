"""Reading series: what is in the file, and one sentence with the line for whatever is not a table of numbers."""

from pathlib import Path

import numpy as np
import pytest

from seqxai.errors import InputError
from seqxai.series import Reading, Scale, read_series


@pytest.fixture
def table(tmp_path: Path):
    def write(text: str, encoding: str = "utf-8", name: str = "river.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_numbers_names_times_and_lines(table):
    (one,) = read_series(table("date,rain,heat\n2004-01-01,1.5,-2\n\n2004-01-02,NA,3e2\n"), Reading())
    assert (one.name, one.columns, one.lines.tolist()) == ("river", ("rain", "heat"), [2, 4])
    assert np.array_equal(one.values, [[1.5, -2.0], [np.nan, 300.0]], equal_nan=True)
    assert one.times.tolist() == [np.datetime64("2004-01-01", "us").item(), np.datetime64("2004-01-02", "us").item()]
    assert [one.when(row) for row in (0, 1)] == ["2004-01-01", "2004-01-02"]


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), ("\t", "."), (";", ".")])
def test_separators_and_decimal_marks(table, separator, decimal):
    rows = [["a", "b"], [f"1{decimal}5", "2"]]
    (one,) = read_series(table("\n".join(separator.join(row) for row in rows)), Reading(decimal=decimal))
    assert one.values.tolist() == [[1.5, 2.0]]


def test_columns_in_the_models_order_and_encodings(table):
    (one,) = read_series(table("höhe,a,b\n1,2,3\n", "latin-1"), Reading(columns=("b", "höhe"), encoding="latin-1"))
    assert (one.columns, one.values.tolist()) == (("b", "höhe"), [[3.0, 1.0]])
    (one,) = read_series(table("\ufeffa\n1\n", "utf-16-le"), Reading(encoding="utf-16"))
    assert one.columns == ("a",)


def test_a_column_tells_series_apart(table):
    north, south = read_series(table("t,at,x\n1,north,10\n1,south,20\n2,north,11\n"), Reading(time="t", series="at"))
    assert (north.name, north.values.tolist(), north.times.tolist()) == ("north", [[10.0], [11.0]], [1.0, 2.0])
    assert (south.name, south.values.tolist()) == ("south", [[20.0]])


def test_windows_end_at_a_step(table):
    (one,) = read_series(table("time,x\n2004-01-01T06:00,0\n2004-01-01T12:00,1\n2004-01-01T18:00,2\n"), Reading())
    assert one.window().values[:, 0].tolist() == [0, 1, 2]
    assert one.window("2004-01-01T12:00", 1).values[:, 0].tolist() == [1]
    assert one.window("1").values[:, 0].tolist() == [0, 1]
    assert one.window("last", 2).when(0) == "2004-01-01T12:00:00"
    with pytest.raises(InputError, match=r"river has 2 rows up to 2004-01-01T12:00:00, fewer than the 3 asked for; give --last 2 or less"):
        one.window("1", 3)
    with pytest.raises(InputError, match=r"no step '2005-01-01': expected a time from 2004-01-01T06:00:00 to .*, a row from 0 to 2"):
        one.window("2005-01-01")


def test_gaps_count_only_where_they_are_explained(table):
    (one,) = read_series(table("a,b\n1,2\n,2\n3,nan\n4,5\n"), Reading())
    one.window(last=1).check_complete()
    with pytest.raises(InputError, match=r"river.csv, line 3: no number in column 'a', one of 2 gaps in the rows that are explained"):
        one.check_complete()


@pytest.mark.parametrize(
    ("text", "how", "message"),
    [
        ("", {}, r"river.csv is empty; expected a line of column names"),
        ("a,b\n", {}, r"river.csv has a header and no rows"),
        ("a,b\n1,2\n3,high\n", {}, r"river.csv, line 3: expected a number in column 'b', got 'high'; choose the columns"),
        ("a,b\n1,2\n3,high\n", {"columns": ("b",)}, r"got 'high'; correct the cell, or choose other columns"),
        ("a;b\n1,5;2\n", {}, r'line 2: expected a number in column \'a\', got \'1,5\'; decimal commas are read with --decimal ","'),
        ("a,b\n1,2\n3\n", {}, r"line 3: 1 cells, but the header names 2 columns"),
        ("a,b\n1,inf\n", {}, r"line 2: expected a number in column 'b', got 'inf'"),
        ("a,b\n1,1_000\n", {}, r"got '1_000'"),
        ("a,a\n1,2\n", {}, r"line 1: two columns are called 'a'; rename one"),
        ("1,2\n3,4\n", {}, r"line 1: expected the names of the columns, got numbers"),
        ("a,b\n1,2\n", {"columns": ("c",)}, r"river.csv has no column 'c'; its columns are a, b"),
        ("date\n2004-01-01\n", {}, r"no numeric column beside 'date'"),
        ("date,a\n2004-01-02,1\n2004-01-01,1\n", {}, r"line 3: the time is not after that of the row before; sort the rows"),
        ("date,a\n2004-01-02,1\n03.01.2004,1\n", {}, r"line 3: expected an ISO date as time, as in the first row \(2004-01-02\), got"),
        ('a,b\n1,"2\n3,4\n', {}, r"line 3: expected a number in column 'b', got '2\\n3,4'"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(table, text, how, message):
    with pytest.raises(InputError, match=message):
        read_series(table(text), Reading(**how))


def test_bytes_of_another_encoding_are_named(table):
    with pytest.raises(InputError, match=r"river.csv, line 1: the byte 0xf6 is not UTF-8; say how the file is written"):
        read_series(table("höhe\n1\n", "latin-1"), Reading())


def test_the_scale_is_of_the_data_or_of_a_file(table):
    (one,) = read_series(table("a,b\n1,2\n3,\n5,8\n"), Reading())
    scale = Scale.of_data([one])
    assert scale.mean.tolist() == [3.0, 5.0]
    assert scale(one.values)[:, 0] == pytest.approx(np.array([-1, 0, 1]) * 1.5**0.5)
    assert scale(one.values)[[0, 2], 1].tolist() == [-1.0, 1.0]
    told = Scale.of_file(table(",mean,std\nb,5,2\na,1,4\n", name="scale.csv"), one.columns)
    assert told(np.array([[1.0, 9.0]])).tolist() == [[0.0, 2.0]]
    for text, message in {
        "column,mean,std\nb,5,2\n": r"scale.csv has no row for the column 'a'; it has b",
        "column,mean,std\nb,5,2\na,1,0\n": r"scale.csv, line 3: expected a mean and a positive deviation for 'a'",
        "mean,std\n5,2\n": r"scale.csv, line 1: expected the columns column, mean and std, got 'mean,std'",
    }.items():
        with pytest.raises(InputError, match=message):
            Scale.of_file(table(text, name="scale.csv"), one.columns)
    (constant,) = read_series(table("a\n1\n1\n"), Reading())
    with pytest.raises(InputError, match=r"The column 'a' never changes"):
        Scale.of_data([constant])
