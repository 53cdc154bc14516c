"""Edges of fraud_demo.batch: rows that are wrong, files that are wrong, and runs that stop half-way."""

import csv
import errno
import hashlib
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fraud_demo import batch, serving
from fraud_demo.batch import ParquetReader, score_batch, score_file
from fraud_demo.core import FEATURE_NAMES, FEATURES, InputError, ServiceError, check_value
from fraud_demo.details import csv_reader, kept_scores
from fraud_demo.details.csv_reader import CsvReader, find_cut, find_lines
from fraud_demo.serving import EndpointScorer

from .v2_double import THRESHOLD, make_rows, run_model

ROWS = make_rows(200)
HEADER = ",".join(FEATURE_NAMES)
GOOD = "1,1,1,0,0,0,0"
FORMATS = [
    (f"in.{source}", f"out.{target}") for source in ("csv", "parquet") for target in ("csv", "parquet")
]
quick = hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(serving, "RETRY_WAITS_S", (0.01, 0.02))


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(batch, "ROWS_PER_PIECE", 33)
    monkeypatch.setattr(csv_reader, "BYTES_PER_PIECE", 1000)


def make_table(rows=ROWS, **columns):
    table = pa.table({name: rows[:, i].astype(np.float64) for i, name in enumerate(FEATURE_NAMES)})
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def write_table(path: Path, table):
    (pa_csv.write_csv if path.suffix == ".csv" else pq.write_table)(table, path)
    return path


def write_lines(path: Path, *lines, end="\n"):
    path.write_bytes(end.join((HEADER, *lines)).encode())
    return path


def read_table(path: Path):
    return pa_csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)


def read_rejected(output: Path):
    """Return the list of rejected rows as tuples of text."""
    with output.with_name(f"{output.stem}.rejected.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def list_names(folder: Path):
    return sorted(path.name for path in folder.iterdir())


def digest(path: Path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Stopping:
    """A scorer that raises an error at one row, so that it does not matter which thread comes first."""

    def __init__(self, scorer, row, error):
        self.scorer, self.row, self.error = scorer, row, error

    def score(self, data):
        if (data == self.row).all(axis=1).any():
            raise self.error
        return self.scorer.score(data)


DOWN = ServiceError("The model server is gone.", "Its cable was pulled.", "Plug it in.")


# --- pieces


def test_pieces_are_bounded_by_what_their_rows_need_in_memory(tmp_path, local, monkeypatch):
    """A dictionary makes a file of long equal texts short, and its rows are long all the same."""
    monkeypatch.setattr(batch, "MOST_BYTES", 2**20)
    note = "x" * 20_000
    for kind, narrow in (("narrow first", 150), ("wide", 0)):
        notes = [""] * narrow + [note] * (400 - narrow)
        table = make_table(np.tile(ROWS, (2, 1)), note=notes)
        pq.write_table(table, tmp_path / "in.parquet", row_group_size=200)
        assert (tmp_path / "in.parquet").stat().st_size < 40_000
        reader = ParquetReader(tmp_path / "in.parquet")
        sizes = [piece.content.nbytes for piece in reader.cut()]
        assert max(sizes) < 2 * batch.MOST_BYTES and len(sizes) > 4, kind
        score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", local)
        assert pq.read_table(tmp_path / "out.parquet")["note"].to_pylist() == notes


def test_a_long_dictionary_does_not_make_rows_wide(tmp_path, monkeypatch):
    """A column of categories carries all of them with each batch; its rows hold a number each."""
    monkeypatch.setattr(batch, "MOST_BYTES", 2**20)
    numbers = np.arange(20_000, dtype=np.int32)
    cards = pa.DictionaryArray.from_arrays(numbers, [f"card {i:50}" for i in range(50_000)])
    table = make_table(np.tile(ROWS, (100, 1))).append_column("card", cards)
    for group in (20_000, 19_990):  # the last group may be a short one, with the same dictionary
        pq.write_table(table, tmp_path / "in.parquet", row_group_size=group)
        reader = ParquetReader(tmp_path / "in.parquet")
        assert pa.types.is_dictionary(reader.schema.field("card").type) and reader.piece_rows > 1000
        pieces = [piece.content for piece in reader.cut()]
        assert len(pieces) < 20 and sum((p["card"].to_pylist() for p in pieces), []) == cards.to_pylist()


def test_a_piece_holds_no_more_than_its_bytes(monkeypatch):
    """Spark hands over batches of any width, and a gigabyte of text must not become one piece."""
    monkeypatch.setattr(batch, "MOST_BYTES", 1200)
    text = pa.record_batch({"n": np.arange(10), "note": ["x" * 90] * 10})
    found = [piece["n"].to_pylist() for piece in batch.regroup([text] * 4, text.schema, 25)]
    assert [len(rows) for rows in found] == [20, 20] and sum(found, []) == [*range(10)] * 4


# --- whole files


@pytest.mark.parametrize(("source", "target"), FORMATS)
def test_score_file(tmp_path, local, source, target):
    labels, names = np.arange(200) % 2, [f'card "{i}", é' for i in range(200)]
    table = make_table(fraud=labels.astype(np.float64), card=names)
    order = ["card", "fraud", *reversed(FEATURE_NAMES)]
    path = write_table(tmp_path / source, table.select(order))
    done = []
    result = score_file(path, tmp_path / "new" / target, local, lambda *step: done.append(step))
    scored = read_table(result.output)
    expected = local.score(ROWS)
    assert scored.column_names == [*order, "fraud_probability", "is_fraud"]
    assert scored["card"].to_pylist() == names and (scored["fraud"].to_numpy() == labels).all()
    assert scored.select(FEATURE_NAMES).equals(
        table.select(FEATURE_NAMES).cast(scored.select(FEATURE_NAMES).schema)
    )
    written = scored["fraud_probability"].to_numpy().astype(np.float32)
    assert (written == expected.fraud_probability).all()
    assert (scored["is_fraud"].to_numpy() == expected.is_fraud).all()
    assert (result.rows, result.frauds) == (200, expected.is_fraud.sum()) and done[-1] == (200, 1.0)
    assert (result.rejected, result.rejected_list, result.resumed_rows) == (0, None, 0)
    assert list_names(result.output.parent) == [target]
    assert "200 scored" in str(result) and result.model_version == "1"


@pytest.mark.parametrize(("source", "target"), FORMATS)
def test_many_pieces_are_one_file(tmp_path, local, small_pieces, source, target):
    path = write_table(tmp_path / source, make_table(card=[f"a\nb,{i}" for i in range(200)]))
    done = []
    result = score_file(path, tmp_path / target, local, lambda rows, share: done.append(rows))
    scored = read_table(result.output)
    assert len(done) > 5 and done == sorted(done)
    assert source == "in.csv" or done == [33, 66, 99, 132, 165, 198, 200]
    assert scored["card"].to_pylist() == [f"a\nb,{i}" for i in range(200)]
    expected = local.score(ROWS).fraud_probability
    assert (scored["fraud_probability"].to_numpy().astype(np.float32) == expected).all()


def test_each_piece_is_a_row_group_with_its_statistics(tmp_path, local, small_pieces):
    table = make_table(card=[f"card {i % 5}" for i in range(200)])
    result = score_file(write_table(tmp_path / "in.parquet", table), tmp_path / "out.parquet", local)
    with pq.ParquetFile(result.output) as file:
        meta, whole = file.metadata, file.read()
        assert [meta.row_group(i).num_rows for i in range(7)] == [33] * 6 + [2]
        for i in range(7):
            part = file.read_row_group(i)
            assert part.equals(whole.slice(33 * i, 33))
            highest = meta.row_group(i).column(0).statistics.max
            assert highest == max(part.column(0).to_pylist())
    assert pq.read_table(result.output, filters=[("card", "==", "card 3")]).num_rows == 40
    assert meta.row_group(6).column(0).data_page_offset > meta.row_group(5).column(0).data_page_offset


@pytest.mark.parametrize("groups", [1, 7, 33, 50, 1000])
def test_pieces_do_not_depend_on_the_row_groups_of_the_input(tmp_path, small_pieces, groups):
    pq.write_table(make_table(), tmp_path / "in.parquet", row_group_size=groups)
    pieces = list(ParquetReader(tmp_path / "in.parquet").cut())
    assert [piece.end for piece in pieces] == [33, 66, 99, 132, 165, 198, 200]
    assert pa.Table.from_batches([piece.content for piece in pieces]).equals(make_table())


def test_parquet_types(tmp_path, local):
    table = make_table()
    kinds = [
        pa.float32(),
        pa.float64(),
        pa.decimal128(38, 12),
        pa.bool_(),
        pa.uint8(),
        pa.int64(),
        pa.float16(),
    ]
    mixed = pa.table(
        [table[n].cast(kind, safe=False) for n, kind in zip(FEATURE_NAMES, kinds, strict=True)], FEATURE_NAMES
    )
    result = score_file(write_table(tmp_path / "in.parquet", mixed), tmp_path / "out.parquet", local)
    written = pq.read_table(result.output)
    assert result.rejected == 0 and written.schema.field("used_chip").type == pa.uint8()
    assert np.allclose(
        written["fraud_probability"].to_numpy(), local.score(ROWS).fraud_probability, atol=1e-6
    )
    text = pa.table(
        [table[n].cast(pa.string()) if n == "used_chip" else table[n] for n in FEATURE_NAMES], FEATURE_NAMES
    )
    with pytest.raises(InputError, match="used_chip of text.parquet.*string"):
        score_file(write_table(tmp_path / "text.parquet", text), tmp_path / "out2.parquet", local)


def test_other_columns_come_through_whatever_they_hold(tmp_path, local, small_pieces):
    table = make_table(
        category=pa.array([f"kind {i % 70}" for i in range(200)]).dictionary_encode(),
        time=pa.array(range(200), pa.timestamp("us", "UTC")),
        amount=pa.array(range(200), pa.decimal128(12, 2)),
        tags=[["a", "b"], None] * 100,
        place=[{"x": 1.5, "y": None}] * 200,
        raw=[b"\x00\xff"] * 200,
        nothing=pa.nulls(200),
    )
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=50)
    result = score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", local)
    before, after = pq.read_table(tmp_path / "in.parquet"), pq.read_table(result.output)
    assert after.select(before.column_names).equals(before)
    assert all(after.schema.field(field.name) == field for field in before.schema)


def test_long_rows_make_small_pieces(tmp_path, small_pieces, monkeypatch):
    monkeypatch.setattr(batch, "MOST_BYTES", 20_000)
    short = ParquetReader(write_table(tmp_path / "short.parquet", make_table()))
    long = ParquetReader(
        write_table(tmp_path / "long.parquet", make_table(note=[f"{i} " * 500 for i in range(200)]))
    )
    assert short.piece_rows == 33 and 5 < long.piece_rows < 20
    pieces = [piece.content.num_rows for piece in long.cut()]
    assert sum(pieces) == 200 and set(pieces[:-1]) == {long.piece_rows}


def test_column_that_csv_cannot_hold(tmp_path, local):
    path = write_table(tmp_path / "in.parquet", make_table(tags=[["a", "b"]] * 200))
    with pytest.raises(InputError, match="cannot be written as CSV"):
        score_file(path, tmp_path / "out.csv", local)
    assert list_names(tmp_path) == ["in.parquet"]
    assert score_file(path, tmp_path / "out.parquet", local).rows == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no process tells its peak here")
def test_memory_does_not_grow_with_the_file(tmp_path, onnx_path):
    """The peak of a process that scores sixteen times as many rows is hardly higher."""
    for name, count in (("one", 150_000), ("sixteen", 2_400_000)):
        rows = np.tile(make_rows(150_000), (count // 150_000, 1))
        pq.write_table(
            make_table(rows).cast(pa.schema([(n, pa.float32()) for n in FEATURE_NAMES])),
            tmp_path / f"{name}.parquet",
        )
    peaks = {}
    for name in ("one", "sixteen"):
        code = f"""
import re
from pathlib import Path
from fraud_demo import batch
from fraud_demo.serving import LocalScorer
batch.ROWS_PER_PIECE = 20_000
batch.score_file({str(tmp_path / name)!r} + ".parquet", {str(tmp_path / name)!r} + ".out.parquet", LocalScorer({str(onnx_path)!r}))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks[name] = int(done.stdout) / 1024
    assert peaks["sixteen"] < peaks["one"] + 40, f"{peaks} MiB; the longer file alone has 64 MiB of features"


# --- rows that are wrong


@pytest.mark.parametrize(("source", "target"), FORMATS)
@pytest.mark.parametrize(
    ("column", "bad", "reason"),
    [
        (1, -1.0, "negative"),
        (1, np.nan, "finite"),
        (0, np.inf, "finite"),
        (2, 1e39, "32-bit"),
        (4, 2.0, "two values"),
        (4, 0.5, "two values"),
    ],
)
def test_bad_row_is_listed_and_keeps_its_place(
    tmp_path, local, small_pieces, source, target, column, bad, reason
):
    rows = ROWS.astype(np.float64)
    rows[150, column] = bad
    path = write_table(tmp_path / source, make_table(rows))
    result = score_file(path, tmp_path / target, local)
    assert (result.rows, result.rejected) == (200, 1) and "1 rejected" in str(result)
    scored = read_table(result.output)
    assert [i for i, value in enumerate(scored["fraud_probability"].to_pylist()) if value is None] == [150]
    assert [i for i, value in enumerate(scored["is_fraud"].to_pylist()) if value is None] == [150]
    keep = np.arange(200) != 150
    written = scored["fraud_probability"].to_numpy(zero_copy_only=False)[keep].astype(np.float32)
    assert (written == local.score(ROWS[keep]).fraud_probability).all()
    [(row, line, name, value, why)] = read_rejected(result.output)
    assert (row, line) == ("150", "152" if source == "in.csv" else "") and name == FEATURE_NAMES[column]
    assert reason in why and (np.isnan(bad) or float(value) == bad)
    assert list_names(tmp_path) == sorted([source, target, "out.rejected.csv"])
    assert result.rejected_list == tmp_path / "out.rejected.csv"


@pytest.mark.parametrize(("source", "target"), FORMATS)
def test_bad_row_is_refused_when_asked(tmp_path, local, small_pieces, source, target):
    rows = ROWS.astype(np.float64)
    rows[150, 1] = rows[170, 2] = -1
    path = write_table(tmp_path / source, make_table(rows))
    with pytest.raises(InputError, match=rf"{source}, row 150.*: distance_from_last_transaction") as info:
        score_file(path, tmp_path / target, local, on_bad="refuse")
    assert ("(line 152)" in str(info.value)) == (source == "in.csv")
    assert list_names(tmp_path) == [source]
    with pytest.raises(InputError, match="on_bad"):
        score_file(path, tmp_path / target, local, on_bad="ignore")


def test_corrected_file_leaves_no_old_list(tmp_path, local):
    path = write_lines(tmp_path / "in.csv", GOOD, "-1" + GOOD[1:])
    assert score_file(path, tmp_path / "out.csv", local).rejected == 1
    write_lines(path, GOOD, GOOD)
    assert score_file(path, tmp_path / "out.csv", local).rejected == 0
    assert list_names(tmp_path) == ["in.csv", "out.csv"]


CELLS = {
    "much": "It is not a number.",
    "1_0": "It is not a number.",
    "": "It is empty.",
    "  ": "It is empty.",
    "NA": "It is not a number.",
    "1e400": "It is not a finite number.",
    "nan": "It is not a finite number.",
    "0x10": "It is not a number.",
    "１": "It is not a number.",
}


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_cells_of_csv_that_are_no_numbers(tmp_path, local, target):
    lines = [GOOD, *(f"1,{cell},1,0,0,0,0" for cell in CELLS), " 1 , +1.0e0,.1e1,0.0,0,-0,0", GOOD]
    result = score_file(write_lines(tmp_path / "in.csv", *lines), tmp_path / target, local)
    listed = read_rejected(result.output)
    assert [(int(row), int(line)) for row, line, *_ in listed] == [
        (i, i + 2) for i in range(1, len(CELLS) + 1)
    ]
    assert {value.strip(): why for *_, value, why in listed} == {
        cell.strip() if cell != "1e400" else "inf": why for cell, why in CELLS.items()
    }
    scored = read_table(result.output)
    probabilities = scored["fraud_probability"].to_pylist()
    assert probabilities[-1] == probabilities[-2] == probabilities[0]
    assert scored["distance_from_last_transaction"].to_pylist()[1] is None


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_lines_with_a_wrong_number_of_cells(tmp_path, local, small_pieces, target, end):
    lines = [GOOD] * 300
    lines[7], lines[8], lines[200], lines[299] = "1,2", f"{GOOD},9", "", "lonely"
    path = write_lines(tmp_path / "in.csv", *lines, end=end)
    result = score_file(path, tmp_path / target, local)
    assert (result.rows, result.rejected) == (299, 3)  # the empty line is no row
    listed = read_rejected(result.output)
    assert [(row, line, column) for row, line, column, *_ in listed] == [
        ("7", "9", ""), ("8", "10", ""), ("298", "301", "")]  # fmt: skip
    assert listed[0][3:] == ("1,2", "The line has 2 cells, and the header has 7.")
    missing = [
        i for i, value in enumerate(read_table(result.output)["is_fraud"].to_pylist()) if value is None
    ]
    assert missing == [7, 8, 298]


def test_quoted_cells_over_several_lines(tmp_path, local, small_pieces):
    text = "\ufeff" + HEADER + ",note\n"
    for i in range(100):
        text += f'1,1,1,0,{2 if i % 10 == 9 else 0},0,0,"a ""{i}""\n\nb, c"\n'
    (tmp_path / "in.csv").write_text(text, encoding="utf-8")
    result = score_file(tmp_path / "in.csv", tmp_path / "out.parquet", local)
    assert pq.read_table(result.output)["note"].to_pylist() == [f'a "{i}"\n\nb, c' for i in range(100)]
    assert [(int(r), int(line)) for r, line, *_ in read_rejected(result.output)] == [
        (i, 3 * i + 2) for i in range(9, 100, 10)
    ]


def test_quote_that_is_an_inch(tmp_path, local, small_pieces):
    (tmp_path / "in.csv").write_text(HEADER + ",note\n" + f'{GOOD},5" disk\n' * 101)
    result = score_file(tmp_path / "in.csv", tmp_path / "out.parquet", local)
    assert pq.read_table(result.output)["note"].to_pylist() == ['5" disk'] * 101


def test_text_in_the_label_is_listed(tmp_path, local):
    (tmp_path / "in.csv").write_text(f"{HEADER},fraud\n{GOOD},0\n{GOOD},yes\n{GOOD},\n")
    result = score_file(tmp_path / "in.csv", tmp_path / "out.parquet", local)
    assert read_rejected(result.output) == [("1", "3", "fraud", "yes", "It is not a number.")]
    assert pq.read_table(result.output)["fraud"].to_pylist() == [0, None, None]


numbers = st.one_of(
    st.floats(0, 2.0**100),
    st.sampled_from([0.0, 1.0, -1.0, 2.0, float("nan"), float("inf"), 1e39, None]),
    st.integers(0, 1).map(float),
)


@quick
@given(
    st.lists(st.tuples(*[numbers] * 7), min_size=1, max_size=80), st.sampled_from(FORMATS), st.integers(1, 40)
)
def test_any_rows_keep_their_order(tmp_path_factory, local, rows, formats, piece_rows):
    """Each row of the output is the row of the input, with the score of that row alone or with none."""

    def is_good(row):
        try:
            return all(check_value(f, v) >= 0 for f, v in zip(FEATURES, row, strict=True))
        except InputError:
            return False

    good = [is_good(row) for row in rows]
    assume(any(good))
    folder = tmp_path_factory.mktemp("any")
    table = pa.table([pa.array(column, pa.float64()) for column in zip(*rows, strict=True)], FEATURE_NAMES)
    table = table.append_column("place", pa.array([f"row {i}" for i in range(len(rows))]))
    path = write_table(folder / formats[0], table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "ROWS_PER_PIECE", piece_rows)
        patch.setattr(csv_reader, "BYTES_PER_PIECE", 1000 + piece_rows)
        result = score_file(path, folder / formats[1], local)
    scored = read_table(result.output)
    assert scored["place"].to_pylist() == [f"row {i}" for i in range(len(rows))]
    probabilities = scored["fraud_probability"].to_pylist()
    assert [value is not None for value in probabilities] == good
    assert result.rejected == good.count(False)
    if not all(good):
        assert [int(row) for row, *_ in read_rejected(result.output)] == [
            i for i, fine in enumerate(good) if not fine
        ]
    for row, value in zip(rows, probabilities, strict=True):
        if value is not None:
            alone = run_model(np.array([row], np.float32))["fraud_probability"][0, 0]
            assert abs(value - alone) < 1e-5


def test_score_batch_is_arrow_in_and_arrow_out(local):
    [rows] = make_table(card=[str(i) for i in range(200)]).to_batches()
    found = score_batch(rows, local)
    assert found.batch.schema.names == [*rows.schema.names, "fraud_probability", "is_fraud"]
    assert found.batch.select(rows.schema.names).equals(rows) and found.rejected == ()
    pieces = [score_batch(rows.slice(i, 40), local).batch for i in range(0, 200, 40)]
    assert pa.Table.from_batches(pieces).combine_chunks().to_batches()[0].equals(found.batch)
    [empty] = [score_batch(rows.slice(0, 0), local)]
    assert empty.batch.num_rows == 0 and empty.scores is None


@quick
@given(st.lists(st.text('ab,"\n\r', max_size=6), min_size=1, max_size=20), st.integers(1, 200))
def test_cut_is_always_between_rows(cells, size):
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([cell, "x"] for cell in cells)
    text = sink.getvalue().encode()
    cut = find_cut(text[:size])
    ends, place = {0}, 0
    for cell in cells:
        place += len(cell.replace('"', '""').encode()) + len('"",x\n') + 2
        ends.add(place)
    assert cut in ends or not any(0 < end <= size for end in ends)
    assert len(find_lines(text)) == len(cells)


# --- files that are wrong


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.csv", b"", "in.csv is empty"),
        ("in.csv", f"{HEADER}\n".encode(), "no rows"),
        ("in.csv", HEADER.encode(), "no rows"),
        ("in.csv", f"{HEADER}\n\n\n".encode(), "no rows"),
        ("in.csv", b"a,b\n1,2\n", "has no distance_from_home"),
        ("in.csv", f"{HEADER},used_chip\n{GOOD},1\n".encode(), "used_chip of in.csv.*twice"),
        ("in.csv", f"{HEADER},is_fraud\n{GOOD},1\n".encode(), "already has a column is_fraud"),
        ("in.csv", f"{HEADER}\n1,2\n-1,1,1,0,0,0,0\n".encode(), "None of the 2 rows.*1,2"),
        ("in.csv", b"\xff\xfe\x00", "cannot be read"),
        ("in.csv", f"{HEADER},note\n{GOOD},caf\xe9\n".encode("latin-1"), "cannot be read.*UTF"),
        ("in.csv", f'{HEADER},note\n{GOOD},"open\n{GOOD},x\n'.encode(), "never closed.*open"),
        ("in.csv", f"{HEADER}\n{GOOD}{' ' * 5_000_000}\n{GOOD}\n".encode(), "longer than"),
        ("in.parquet", b"no parquet", "cannot be read"),
        ("in.parquet", b"", "cannot be read"),
        ("in.txt", b"", "neither CSV nor Parquet"),
        ("none.csv", None, "There is no file"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_scored(tmp_path, local, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        score_file(tmp_path / name, tmp_path / "out.csv", local)
    assert list_names(tmp_path) == ([name] if content is not None else [])


def test_parquet_that_breaks_off(tmp_path, local, small_pieces):
    path = write_table(tmp_path / "in.parquet", make_table())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        score_file(path, tmp_path / "out.csv", local)
    path.write_bytes(whole[:200] + b"\xff" * 2000 + whole[2200:])  # a sound footer, spoiled pages
    with pytest.raises(InputError, match="cannot be read"):
        score_file(path, tmp_path / "out.csv", local)
    assert list_names(tmp_path) == ["in.parquet"]


def test_a_file_of_somebody_else_is_not_taken_for_a_list(tmp_path, local):
    """The list of rejected rows has a name of its own, and a file of that name may be there."""
    source = write_table(tmp_path / "in.csv", make_table())
    (tmp_path / "out.rejected.csv").write_text("my notes\n")
    with pytest.raises(InputError, match=r"out\.rejected\.csv is there"):
        score_file(source, tmp_path / "out.csv", local)
    assert (tmp_path / "out.rejected.csv").read_text() == "my notes\n"
    assert list_names(tmp_path) == ["in.csv", "out.rejected.csv"]


def test_places_that_cannot_be(tmp_path, local):
    path = write_lines(tmp_path / "in.csv", GOOD)
    (tmp_path / "folder.csv").mkdir()
    for source, target, words in [
        (tmp_path / "folder.csv", tmp_path / "out.csv", "is a folder"),
        (path, tmp_path / "folder.csv", "is a folder"),
        (path, path, "same file"),
        (path, tmp_path / "in.csv" / "out.csv", "Nothing can be written"),
        (path, Path("/proc/nowhere/out.csv"), "Nothing can be written"),
    ]:
        with pytest.raises(InputError, match=words):
            score_file(source, target, local)
    assert list_names(tmp_path) == ["folder.csv", "in.csv"]
    listed = write_lines(tmp_path / "out.rejected.csv", GOOD)
    with pytest.raises(InputError, match="same file"):
        score_file(listed, tmp_path / "out.csv", local)


def test_input_that_changes_meanwhile(tmp_path, local, small_pieces):
    path = write_lines(tmp_path / "in.csv", *[GOOD] * 300)
    with pytest.raises(InputError, match="changed while"):
        score_file(path, tmp_path / "out.csv", local, lambda rows, share: os.utime(path, (1, 1)))
    assert list_names(tmp_path) == ["in.csv"]


# --- runs that stop half-way


def start_run(folder, onnx_path, source, target, wait_s):
    """Score in a process of its own that takes its time over each part."""
    code = f"""
import time
from fraud_demo import batch
from fraud_demo.details import csv_reader
from fraud_demo.serving import LocalScorer
batch.ROWS_PER_PIECE, csv_reader.BYTES_PER_PIECE = 500, 20_000
class Slow:
    local = LocalScorer({str(onnx_path)!r}, "1")
    def score(self, data):
        time.sleep({wait_s})
        return self.local.score(data)
batch.score_file({str(folder / source)!r}, {str(folder / target)!r}, Slow())
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def list_kept(output: Path):
    """Return the files of the scores that are kept."""
    return sorted(output.with_name(f".{output.name}.scores").glob("*.npy"))


def wait_for_pieces(process, output: Path, count: int):
    """Wait until the scores of a number of pieces are kept."""
    deadline = time.monotonic() + 30
    while len(list_kept(output)) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("source", "target"), FORMATS)
def test_killed_and_started_again_gives_the_same_bytes(
    tmp_path, local, onnx_path, monkeypatch, source, target
):
    monkeypatch.setattr(batch, "ROWS_PER_PIECE", 500)
    monkeypatch.setattr(csv_reader, "BYTES_PER_PIECE", 20_000)
    rows = make_rows(12_000).astype(np.float64)
    rows[::700, 4] = 3
    write_table(tmp_path / source, make_table(rows, card=[f"card {i}" for i in range(len(rows))]))
    whole = score_file(tmp_path / source, tmp_path / f"whole{Path(target).suffix}", local)
    for _ in range(2):  # killed twice, each time with pieces of its own
        before = len(list_kept(tmp_path / target))
        process = start_run(tmp_path, onnx_path, source, target, wait_s=0.15)
        wait_for_pieces(process, tmp_path / target, before + 2)
        time.sleep(random.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (tmp_path / target).exists()
    result = score_file(tmp_path / source, tmp_path / target, local)
    assert 0 < result.resumed_rows < len(rows) == result.rows and "had scores before" in str(result)
    assert digest(result.output) == digest(whole.output)
    assert digest(result.rejected_list) == digest(whole.rejected_list)
    assert (result.frauds, result.rejected) == (whole.frauds, whole.rejected) and whole.rejected == 18
    assert list_names(tmp_path) == sorted(
        [source, target, "out.rejected.csv", whole.output.name, "whole.rejected.csv"]
    )


@pytest.mark.parametrize(("source", "target"), FORMATS)
def test_whatever_a_killed_process_left_is_used_or_made_again(tmp_path, local, small_pieces, source, target):
    rows = ROWS.astype(np.float64)
    rows[::20, 0] = -1
    path, output = write_table(tmp_path / source, make_table(rows)), tmp_path / target
    whole = score_file(path, tmp_path / f"whole{Path(target).suffix}", local)
    folder = tmp_path / f".{target}.scores"

    def truncate(size):
        return lambda: os.truncate(list_kept(output)[0], size)

    for name, spoil in {
        "nothing": lambda: None,
        "torn output": lambda: (folder / target).write_bytes(b"PAR1 and more"),
        "torn list": lambda: (folder / "rejected").write_bytes(b"9,9,x"),
        "torn name": lambda: (folder / "000001.new").write_bytes(b"9"),
        "empty": truncate(0),
        "torn head": truncate(40),
        "torn scores": truncate(140),
        "other kind": lambda: np.save(list_kept(output)[0], np.zeros(5)),
        "no identity": lambda: (folder / "identity.json").unlink(),
        "torn identity": lambda: os.truncate(folder / "identity.json", 30),
    }.items():
        with pytest.raises(ServiceError):
            score_file(path, output, Stopping(local, ROWS[155], DOWN))
        kept = [len(np.load(file)) for file in list_kept(output)]
        spoil()
        result = score_file(path, output, local)
        assert digest(result.output) == digest(whole.output), name
        assert digest(result.rejected_list) == digest(whole.rejected_list), name
        assert not folder.exists()
        if name in ("no identity", "torn identity"):
            assert result.resumed_rows == 0
        else:  # a spoiled piece is asked for again, and no other one
            first = 1 if name in ("empty", "torn head", "torn scores", "other kind") else 0
            assert result.resumed_rows == sum(kept[first:]) > 0, name


def test_killed_between_the_two_names(tmp_path, local, small_pieces, monkeypatch):
    """The list gets its name first; a run that dies before the output gets its own loses nothing."""
    rows = ROWS.astype(np.float64)
    rows[3, 0] = -1
    path = write_table(tmp_path / "in.parquet", make_table(rows))
    replace_file, names = os.replace, []

    def die(source, target):
        names.append(Path(target).name)
        if names[-1] == "out.parquet":
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        score_file(path, tmp_path / "out.parquet", local)
    monkeypatch.undo()
    monkeypatch.setattr(batch, "ROWS_PER_PIECE", 33)
    monkeypatch.setattr(csv_reader, "BYTES_PER_PIECE", 1000)
    assert names[-2:] == ["out.rejected.csv", "out.parquet"]
    result = score_file(
        path, tmp_path / "out.parquet", Stopping(local, ROWS[0], DOWN)
    )  # nothing is asked again
    assert result.resumed_rows == 199 and pq.read_table(result.output).num_rows == 200


def test_endpoint_that_goes_down_and_comes_back(tmp_path, double, small_pieces):
    rows = make_rows(2000)
    path, output = write_table(tmp_path / "in.parquet", make_table(rows)), tmp_path / "out.parquet"
    output.write_bytes(b"the old one")

    def go_down(done, share):
        if done == 66:
            double.script = [(500, "text/plain", b"boom")] * 100

    with pytest.raises(ServiceError, match="boom.*asks only for the scores that are missing") as info:
        score_file(path, output, EndpointScorer(double.url), go_down)
    done = int(re.fullmatch("Scoring in.parquet stopped after ([0-9]+) rows.", info.value.what)[1])
    kept = 33 * len(list_kept(output))
    assert 66 <= done <= kept <= 66 + 33 * (batch.WORKERS + 1)  # what was on its way was still answered
    assert output.read_bytes() == b"the old one"
    assert list_names(tmp_path) == [".out.parquet.scores", "in.parquet", "out.parquet"]
    double.script = []
    result = score_file(path, output, EndpointScorer(double.url))
    assert (result.resumed_rows, result.rows) == (kept, 2000)
    expected = EndpointScorer(double.url).score(rows).fraud_probability
    assert (pq.read_table(output)["fraud_probability"].to_numpy() == expected).all()
    assert list_names(tmp_path) == ["in.parquet", "out.parquet"]


def test_answers_keep_their_order_however_late_they_are(tmp_path, double, small_pieces):
    path = write_table(tmp_path / "in.csv", make_table())
    double.script = [0, 0] + [0.05 * (i % 3) for i in range(12)]
    result = score_file(path, tmp_path / "out.parquet", EndpointScorer(double.url))
    expected = run_model(ROWS)["fraud_probability"][:, 0]
    assert (pq.read_table(result.output)["fraud_probability"].to_numpy() == expected).all()
    assert result.threshold == pytest.approx(float(THRESHOLD))


def test_endpoint_that_never_answers_leaves_nothing(tmp_path, double, small_pieces):
    path = write_table(tmp_path / "in.parquet", make_table())
    double.script = [0, *[(500, "text/plain", b"boom")] * 50]
    with pytest.raises(ServiceError, match="boom"):
        score_file(path, tmp_path / "out.parquet", EndpointScorer(double.url))
    assert list_names(tmp_path) == ["in.parquet"]


def test_model_change_half_way_is_told(tmp_path, double, small_pieces):
    path = write_table(tmp_path / "in.parquet", make_table())

    def promote(rows, share):
        double.version = "2"

    with pytest.raises(ServiceError, match="Version 1 began, and version 2"):
        score_file(path, tmp_path / "out.csv", EndpointScorer(double.url), promote)
    result = score_file(path, tmp_path / "out.csv", EndpointScorer(double.url))
    assert (result.model_version, result.resumed_rows) == ("2", 0) and "the model changed" in str(result)
    assert list_names(tmp_path) == ["in.parquet", "out.csv"]


class Renamed:
    """The same scorer under another version."""

    def __init__(self, scorer, version):
        self.scorer, self.version = scorer, version

    def score(self, data):
        return replace(self.scorer.score(data), model_version=self.version)


def test_scores_of_another_model_or_file_are_thrown_away(tmp_path, local, small_pieces):
    path, output = write_table(tmp_path / "in.parquet", make_table()), tmp_path / "out.parquet"

    def stop():
        with pytest.raises(ServiceError, match="that are missing"):
            score_file(path, output, Stopping(local, ROWS[150], DOWN))

    stop()
    result = score_file(path, output, Renamed(local, "2"))
    assert (result.resumed_rows, result.model_version) == (0, "2") and "the model changed" in str(result)
    stop()
    os.utime(path, (1, 1))
    assert "file to score changed" in score_file(path, output, local).restarted
    stop()
    result = score_file(path, output, local, on_bad="refuse")
    assert result.resumed_rows > 0 and not result.restarted  # what becomes of bad rows changes no score
    stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "ROWS_PER_PIECE", 50)
        result = score_file(path, output, local)
    assert "another version of the library" in result.restarted
    assert (
        pq.read_table(output)["fraud_probability"].to_numpy().tolist()
        == local.score(ROWS).fraud_probability.tolist()
    )


def test_second_process_is_refused(tmp_path, local, onnx_path, monkeypatch):
    monkeypatch.setattr(batch, "ROWS_PER_PIECE", 500)
    write_table(tmp_path / "in.csv", make_table(make_rows(12_000)))
    process = start_run(tmp_path, onnx_path, "in.csv", "out.csv", wait_s=0.2)
    try:
        wait_for_pieces(process, tmp_path / "out.csv", 1)
        with pytest.raises(ServiceError, match="Another process is making out.csv"):
            score_file(tmp_path / "in.csv", tmp_path / "out.csv", local)
        assert score_file(tmp_path / "in.csv", tmp_path / "other.csv", local).rows == 12_000
    finally:
        process.kill()
        process.communicate()
    monkeypatch.setattr(csv_reader, "BYTES_PER_PIECE", 20_000)
    result = score_file(tmp_path / "in.csv", tmp_path / "out.csv", local)  # the lock went with the process
    assert result.resumed_rows > 0


def test_full_disk_is_told_and_nothing_is_lost(tmp_path, local, small_pieces, monkeypatch):
    path = write_table(tmp_path / "in.parquet", make_table())
    whole = digest(score_file(path, tmp_path / "whole.parquet", local).output)
    write, writes = kept_scores.write_scores, []

    def fill(target, scores):
        writes.append(target)
        if len(writes) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(target, scores)

    monkeypatch.setattr(kept_scores, "write_scores", fill)
    with pytest.raises(ServiceError) as info:
        score_file(path, tmp_path / "out.parquet", local)
    assert "stopped after" in info.value.what and "No space left" in info.value.why
    monkeypatch.setattr(kept_scores, "write_scores", write)
    result = score_file(path, tmp_path / "out.parquet", local)
    assert result.resumed_rows == 99 and digest(result.output) == whole


def test_full_disk_for_real(tmp_path, onnx_path):
    """A limit on the size of files is as near to a full disk as a test can come."""
    path = write_table(tmp_path / "in.parquet", make_table(make_rows(3000)))
    code = f"""
import resource, signal
from fraud_demo import batch
from fraud_demo.core import ServiceError
from fraud_demo.serving import LocalScorer
batch.ROWS_PER_PIECE = 200
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
try:
    batch.score_file({str(path)!r}, {str(tmp_path / "out.parquet")!r}, LocalScorer({str(onnx_path)!r}))
except ServiceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Scoring in.parquet stopped after" in done.stdout and "Nothing more can be written" in done.stdout
    assert list_names(tmp_path) == [".out.parquet.scores", "in.parquet"]


def test_interrupt_keeps_what_is_done(tmp_path, local, small_pieces):
    path = write_table(tmp_path / "in.csv", make_table())

    def interrupt(rows, share):
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_file(path, tmp_path / "out.csv", local, interrupt)
    assert list_names(tmp_path) == [".out.csv.scores", "in.csv"]
    kept = [len(np.load(path)) for path in list_kept(tmp_path / "out.csv")]
    assert score_file(path, tmp_path / "out.csv", local).resumed_rows == sum(kept) > 0


def test_csv_pieces_are_the_file(tmp_path, small_pieces):
    path = write_table(tmp_path / "in.csv", make_table(card=[f"x\n{i}" for i in range(200)]))
    reader = CsvReader(path)
    pieces = list(reader.cut())
    assert b"".join(piece.content for piece in pieces) == path.read_bytes()[reader.start :]
    ends = reader.start + np.cumsum([len(piece.content) for piece in pieces])
    assert [piece.end for piece in pieces] == ends.tolist() and len(ends) > 5


@pytest.mark.parametrize("content", ["[]", "null", "3", '"file"', "{}", ""])
def test_an_identity_that_was_spoiled_is_none(tmp_path, local, content):
    source, output = write_table(tmp_path / "in.parquet", make_table()), tmp_path / "out.parquet"
    folder = output.with_name(".out.parquet.scores")
    folder.mkdir()
    (folder / "identity.json").write_text(content)
    (folder / "000000.npy").write_text("something else")
    assert score_file(source, output, local).rows == 200
    assert list_names(tmp_path) == ["in.parquet", "out.parquet"]
