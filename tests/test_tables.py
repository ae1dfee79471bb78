import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augury.tables import csv_text, write_csv

cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
)


def test_a_table_by_hand():
    rows = [["a,b", 'say "x"', 0.1], ["two\nlines", None, np.float64(0.1)], ["a\rb", "", True]]
    assert csv_text(["x", "y", "z"], rows) == (
        'x,y,z\n"a,b","say ""x""",0.1\n"two\nlines",,0.1\n"a\rb",,True\n'
    )


def test_a_table_without_columns_is_empty():
    assert csv_text((), ()) == ""


@given(st.lists(st.lists(cells, min_size=2, max_size=2)))
def test_python_reads_back_what_was_written(rows):
    text = csv_text(["a", "b"], rows)
    expected = [["" if cell is None else str(cell) for cell in row] for row in rows]
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], *expected]


@given(st.lists(st.lists(cells.filter(lambda c: "\r" not in str(c)), min_size=2, max_size=2)))
def test_only_a_bare_carriage_return_is_written_otherwise_than_by_python(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["a", "b"], *rows])
    assert csv_text(["a", "b"], rows) == text.getvalue()


def test_a_name_that_is_not_utf8(tmp_path):
    path = tmp_path / "t.csv"
    write_csv(path, ["path"], [["odd\udcff.wav"]])
    assert path.read_bytes() == b"path\nodd\\udcff.wav\n"
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        write_csv(path, ["path"], [["other\udcff.wav"]], errors="strict")
    assert path.read_bytes() == b"path\nodd\\udcff.wav\n"
