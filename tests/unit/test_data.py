"""Lesson 02: generating, loading, checking, keeping and splitting the transactions."""

import dataclasses
import hashlib
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from fraud_demo import data
from fraud_demo.core import FEATURE_NAMES, FEATURES, InputError, load_settings
from fraud_demo.data import (
    COLUMN_NAMES,
    compute_digest,
    describe_transactions,
    find_bad_rows,
    generate_transactions,
    label_transactions,
    load_transactions,
    plot_features,
    prepare_transactions,
    save_transactions,
    split_transactions,
    validate_transactions,
)

ROOT = Path(__file__).resolve().parents[2]
AMOUNTS = [feature.name for feature in FEATURES if feature.kind == "amount"]
FLAGS = [feature.name for feature in FEATURES if feature.kind == "flag"]


@pytest.fixture(scope="module")
def table():
    return generate_transactions(20_000, seed=3)


@pytest.fixture(scope="module")
def published():
    path = os.environ.get("FRAUD_DEMO_REAL_CSV")
    if not path:
        pytest.skip("FRAUD_DEMO_REAL_CSV does not name a file of published rows")
    return load_transactions(path)


@pytest.fixture
def home(tmp_path):
    return load_settings({"FRAUD_DEMO_HOME": str(tmp_path / "home")})


def refuse(path):
    "Return the error that loading the file raises."
    with pytest.raises(InputError) as caught:
        load_transactions(path)
    assert all(
        part.strip().endswith((".", ")")) for part in (caught.value.what, caught.value.why, caught.value.fix)
    )
    return caught.value


# Generating


def test_columns_and_types(table):
    assert tuple(table.columns) == COLUMN_NAMES == (*FEATURE_NAMES, "fraud")
    assert all(table[name].dtype == np.float32 for name in FEATURE_NAMES)
    assert table["fraud"].dtype == np.int8


def test_generation_is_determined_by_the_seed(table):
    pd.testing.assert_frame_equal(table, generate_transactions(20_000, seed=3))
    assert not table.equals(generate_transactions(20_000, seed=4))


def test_long_tables_are_drawn_in_pieces(monkeypatch, home):
    monkeypatch.setattr(data, "PIECE_ROWS", 300)
    pieces = list(data.generate_pieces(1_000, seed=4))
    assert [len(piece) for piece in pieces] == [300, 300, 300, 100]
    whole = generate_transactions(1_000, seed=4)
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)
    assert len(whole.drop_duplicates(AMOUNTS)) == 1_000  # no piece repeats another
    pd.testing.assert_frame_equal(prepare_transactions(home, 1_000, 4), whole)


def test_laws_of_the_columns(table):
    logs = np.log(table[AMOUNTS].to_numpy(np.float64))
    assert np.allclose(logs.mean(axis=0), [np.log(10), 0, 0], atol=0.05)
    assert np.allclose(logs.std(axis=0), [1.4, 1.8, 1.1], rtol=0.03)
    shares = table[["used_chip", "used_pin_number", "online_order"]].mean()
    assert np.allclose(shares, [0.35, 0.10, 0.65], atol=0.02)


def test_known_retailer_follows_distance_in_float32(table):
    assert ((table["distance_from_home"] > np.float32(1.9)) == (table["repeat_retailer"] == 1)).all()


def test_base_rate_of_a_million_rows():
    fraud = generate_transactions(1_000_000, seed=0)["fraud"]
    assert fraud.mean() == pytest.approx(0.088096, abs=4 * 0.00028)  # the exact sum over the process


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ((57.87785658389723, 0.3111400080477545, 1.9459399775518593, 1, 1, 0, 0), 0),
        ((15.694985541059943, 175.98918151972342, 0.8556228290724207, 1, 0, 0, 1), 1),
        ((10.664473716016785, 1.5657690862016613, 4.886520843107555, 1, 0, 0, 1), 1),
        ((10, 1, 4, 1, 0, 0, 1), 0),  # on the edge is not over it
        ((100, 1, 1, 1, 0, 0, 1), 0),
        ((101, 1, 1, 1, 0, 0, 1), 1),
        ((10, 50, 1, 1, 0, 0, 1), 0),
        ((101, 51, 5, 0, 0, 1, 1), 1),
        ((10, 1, 5, 1, 0, 1, 1), 0),
        ((1, 1, 5, 0, 0, 0, 0), 1),
        ((1, 1, 5, 0, 1, 0, 0), 0),
    ],
)
def test_label_of_known_rows(row, label):
    assert label_transactions(pd.DataFrame([row], columns=FEATURE_NAMES))[0] == label


@pytest.mark.parametrize("n_rows", [0, -5])
def test_no_rows_cannot_be_generated(n_rows):
    with pytest.raises(InputError, match="Cannot generate"):
        generate_transactions(n_rows)


# Published rows


def test_label_rule_holds_on_published_rows(published):
    assert (label_transactions(published) == published["fraud"]).all()


def test_known_retailer_rule_holds_on_published_rows(published):
    assert ((published["distance_from_home"] > 1.9) == (published["repeat_retailer"] == 1)).all()


@pytest.mark.parametrize("name", AMOUNTS)
def test_generated_amounts_are_distributed_as_published(published, name):
    from scipy.stats import ks_2samp

    generated = generate_transactions(200_000, seed=0)
    assert ks_2samp(published[name], generated[name]).pvalue > 0.01


def test_a_slightly_different_process_would_be_noticed(published):
    """The comparison above can fail: a law moved by a few percent does not pass it."""
    from scipy.stats import ks_2samp

    drawn = generate_transactions(1_000_000, seed=0)
    for name, shift in (
        ("distance_from_home", lambda x: x * 1.05),
        ("distance_from_home", lambda x: 10 * (x / 10) ** 1.06),
        ("distance_from_last_transaction", lambda x: x**1.06),
        ("ratio_to_median_purchase_price", lambda x: x * 1.04),
    ):
        assert ks_2samp(published[name], shift(drawn[name])).pvalue < 0.01, name


@pytest.mark.parametrize("name", [*FLAGS, "fraud"])
def test_generated_flags_are_as_frequent_as_published(published, name):
    share = generate_transactions(1_000_000, seed=0)[name].mean()
    assert abs(published[name].mean() - share) < 4 * np.sqrt(share * (1 - share) / len(published))


def test_published_rows_pass_the_check_and_the_split(published):
    split = split_transactions(validate_transactions(published))
    assert len(split.train) == round(0.64 * len(published))


# Loading


@pytest.fixture
def few(table):
    return table.head(50)


def write(table, path):
    "Write a table in the form that the file's name says."
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("__MACOSX/._card.csv", b"\0\0")
            archive.writestr("card.csv", table.to_csv(index=False))
    else:
        table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.csv.gz", "t.zip", "t.parquet"])
def test_every_form_gives_the_same_values(few, tmp_path, name):
    loaded = load_transactions(write(few, tmp_path / name))
    pd.testing.assert_frame_equal(loaded, few.astype(np.float32))
    assert compute_digest(loaded) == compute_digest(few)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_columns_are_found_by_name(few, tmp_path, name):
    shuffled = few[[*reversed(few.columns)]].assign(card="A-1", time=pd.Timestamp("2026-01-01"))
    pd.testing.assert_frame_equal(load_transactions(write(shuffled, tmp_path / name)), few.astype(np.float32))


def test_published_layout_of_floats_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "﻿" + ",".join(COLUMN_NAMES) + "\r\n57.87785658389723,0.31,1.94,1.0,1.0,0.0,0.0,0.0\r\n", "utf-8"
    )
    assert load_transactions(path).iloc[0, 0] == np.float32(57.87785658389723)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("column", ["fraud", "used_chip"])
def test_missing_column_is_named(few, tmp_path, name, column):
    error = refuse(write(few.drop(columns=column), tmp_path / name))
    assert f"t{Path(name).suffix} does not have {column} once" in error.what


def test_column_there_twice_is_named(few, tmp_path):
    path = tmp_path / "t.csv"
    pd.concat([few, few[["used_chip"]]], axis=1).to_csv(path, index=False)
    assert "used_chip" in refuse(path).what


def test_other_names_show_what_was_found(few, tmp_path):
    error = refuse(write(few.rename(columns=lambda name: name.replace("_", "")), tmp_path / "t.csv"))
    assert "distancefromhome" in error.why and "distance_from_home" in error.fix


def test_file_without_header(few, tmp_path):
    path = tmp_path / "t.csv"
    few.to_csv(path, index=False, header=False)
    assert "header" in refuse(path).fix


@pytest.mark.parametrize("name", ["t.csv", "t.zip", "t.parquet"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert "empty" in refuse(tmp_path / name).why


def test_file_of_blank_lines(tmp_path):
    (tmp_path / "t.csv").write_text("\n\n\n")
    refuse(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.csv", "t.zip", "t.parquet"])
def test_header_only(few, tmp_path, name):
    assert "no rows" in refuse(write(few.head(0), tmp_path / name)).what


def test_missing_file_and_folder(tmp_path):
    assert "nothing.csv cannot be read" in refuse(tmp_path / "nothing.csv").what
    refuse(tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.zip", "t.parquet"])
def test_text_in_a_number_column(few, tmp_path, name):
    wrong = few.astype({"used_chip": str, "distance_from_home": str})
    wrong.loc[7, "used_chip"] = "yes"
    wrong.loc[9, "used_chip"] = "no"
    error = refuse(write(wrong, tmp_path / name))
    assert error.what == (
        f"2 of 50 rows of {name} cannot be right: row 7, used_chip = 'yes' (not a number), "
        "row 9, used_chip = 'no' (not a number)."
    )
    assert error.table.rows == (
        (7, "used_chip", "yes", "not a number"),
        (9, "used_chip", "no", "not a number"),
    )


@pytest.mark.parametrize("name", ["t.csv", "t.zip", "t.parquet"])
def test_empty_cells_are_missing_and_not_text(few, tmp_path, name):
    wrong = few.astype({"used_chip": object})
    wrong.loc[3, "used_chip"] = None
    assert find_bad_rows(load_transactions(write(wrong, tmp_path / name))).rows[0][::3] == (3, "missing")
    wrong = wrong.astype({"used_chip": "string"})
    wrong.loc[7, "used_chip"] = "yes"
    assert "row 7, used_chip = 'yes' (not a number)" in refuse(write(wrong, tmp_path / name)).what


def test_dates_are_not_numbers(few, tmp_path):
    wrong = few.assign(distance_from_home=pd.Timestamp("2026-01-01"))
    assert (
        "row 0, distance_from_home = '2026-01-01' (not a number)"
        in refuse(write(wrong, tmp_path / "t.parquet")).what
    )


def test_numbers_kept_as_text_are_read(few, tmp_path):
    kept = few.astype({"used_chip": str})
    pd.testing.assert_frame_equal(
        load_transactions(write(kept, tmp_path / "t.parquet")), few.astype(np.float32)
    )


def test_line_that_breaks_off(few, tmp_path):
    path = write(few, tmp_path / "t.csv")
    path.write_text("\n".join(path.read_text().splitlines()[:20]) + "\n1.0,2.0,3")
    assert "Row #21" in refuse(path).why  # the reader counts the header as row 1


@pytest.mark.parametrize("name", ["t.zip", "t.parquet", "t.csv.gz"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_truncated_file(table, tmp_path, name, share):
    path = write(table, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert f"{name} cannot be read" in refuse(path).what


@pytest.mark.parametrize("name", ["t.csv", "t.zip", "t.parquet"])
def test_file_of_another_kind(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 20)
    refuse(tmp_path / name)


def test_zip_without_and_with_two_tables(few, tmp_path):
    for names in [(), ("a.csv", "b.csv")]:
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            for name in names:
                archive.writestr(name, few.to_csv(index=False))
        assert f"{len(names)} CSV files" in refuse(tmp_path / "t.zip").why


# Checking


def test_valid_rows_pass_with_their_types(few):
    checked = validate_transactions(few.astype(float).sample(frac=1, random_state=0))
    assert checked["fraud"].dtype == np.int8 and len(checked) == len(few)
    pd.testing.assert_frame_equal(checked.sort_index(), few)
    assert find_bad_rows(few).rows == ()


BAD = {
    "amount": [-1.0, float("nan"), float("inf"), -float("inf"), 1e39],
    "flag": [2.0, -1.0, 0.5, float("nan")],
}
KINDS = {**{feature.name: feature.kind for feature in FEATURES}, "fraud": "flag"}
FAULTS = st.dictionaries(
    st.tuples(st.integers(0, 49), st.sampled_from(COLUMN_NAMES)), st.integers(0, 19), max_size=30
)


@limits(max_examples=60, deadline=None)
@given(FAULTS)
def test_planted_faults_are_found_and_nothing_else(faults):
    table = generate_transactions(50, seed=1).astype(float)
    for (row, column), choice in faults.items():
        table.loc[row, column] = BAD[KINDS[column]][choice % len(BAD[KINDS[column]])]
    found = [(row, column) for row, column, _, _ in find_bad_rows(table).rows]
    assert set(found) <= set(faults) and len(found) == min(20, len(faults)) == len(set(found))
    assert [row for row, _ in found] == sorted(row for row, _ in faults)[:20]
    if faults:
        with pytest.raises(InputError, match=f"^{len({row for row, _ in faults})} of 50 rows"):
            validate_transactions(table)
    else:
        validate_transactions(table)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("distance_from_home", -2.5, "negative"),
        ("distance_from_home", float("inf"), "not a finite number"),
        ("distance_from_home", float("nan"), "missing"),
        ("used_pin_number", 100, "not 0 or 1"),
        ("repeat_retailer", 10, "not 0 or 1"),
        ("fraud", 0.5, "not 0 or 1"),
        ("fraud", float("nan"), "missing"),
    ],
)
def test_reason_of_a_bad_value(few, column, value, reason):
    wrong = few.astype(float)
    wrong.loc[4, column] = value
    ((row, name, shown, why),) = find_bad_rows(wrong).rows
    assert (row, name, why) == (4, column, reason)
    assert np.isnan(shown) if np.isnan(value) else shown == np.float32(value)
    with pytest.raises(InputError) as caught:
        validate_transactions(wrong)
    assert f"row 4, {column} = " in caught.value.what and reason in caught.value.what


def test_rows_are_counted_by_position_not_by_index(few):
    wrong = few.astype(float).set_index(np.arange(1000, 1050))
    wrong.iloc[3, 0] = -1
    assert find_bad_rows(wrong).rows[0][0] == 3


def test_long_lists_are_cut_and_counted(few):
    wrong = few.astype(float).assign(used_chip=7.0)
    assert len(find_bad_rows(wrong).rows) == 20
    with pytest.raises(
        InputError, match=r"50 of 50 rows of the table cannot be right.*row 4, .*, and more\."
    ) as caught:
        validate_transactions(wrong)
    assert len(caught.value.what) < 400 and len(caught.value.table.rows) == 20


def test_zero_is_a_valid_amount(few):
    validate_transactions(few.assign(**dict.fromkeys(AMOUNTS, 0.0)))


def test_check_leaves_its_input_alone(few):
    wrong = few.astype(float)
    copy = wrong.copy()
    validate_transactions(wrong)
    pd.testing.assert_frame_equal(wrong, copy)


def test_table_without_label_or_rows_is_refused(few):
    with pytest.raises(InputError, match="fraud"):
        validate_transactions(few.drop(columns="fraud"))
    with pytest.raises(InputError, match="no rows"):
        validate_transactions(few.head(0))


def test_text_is_listed_across_the_pieces_of_a_long_file(few, tmp_path):
    """A file is read a few megabytes at a time; rows are counted through all of them."""
    lines = few.to_csv(index=False).splitlines()
    long = [lines[0], *lines[1:] * 8_000]
    for row in (5, 399_000):
        long[row + 1] = long[row + 1].replace(",0.0,", ",maybe,", 1).replace(",1.0,", ",maybe,", 1)
    (tmp_path / "long.csv").write_text("\n".join(long))
    assert (tmp_path / "long.csv").stat().st_size > 2 * 2**23
    error = refuse(tmp_path / "long.csv")
    assert error.what.startswith("2 of 400,000 rows") and {row[0] for row in error.table.rows} == {5, 399_000}


def test_ten_gigabytes_of_zeros_are_refused_at_once(few, tmp_path):
    """Zero bytes without and with a header; as a file and as a small archive of them."""
    script = (
        "import pathlib, re, sys, time\n"
        "from fraud_demo.core import InputError\n"
        "from fraud_demo.data import load_transactions\n"
        "began = time.monotonic()\n"
        "try:\n"
        "    load_transactions(sys.argv[1])\n"
        "except InputError as error:\n"
        "    print(error.what)\n"
        "assert time.monotonic() - began < 20\n"
        "status = pathlib.Path('/proc/self/status')\n"  # the peak of this program alone, not of who started it
        "if status.exists():\n"
        "    assert int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) < 600_000, 'kilobytes'\n"
    )
    header = (",".join(COLUMN_NAMES) + "\n").encode()
    for name, start in (("none.csv", b""), ("header.csv", header), ("bomb.zip", header)):
        path = tmp_path / name
        if name.endswith(".zip"):
            with (
                zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open("t.csv", "w") as file,
            ):
                file.write(start)
                for _ in range(120):
                    file.write(bytes(10_000_000))
        else:
            path.write_bytes(start)
            os.truncate(path, 10 * 2**30)
        done = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and f"{name} cannot be read." in done.stdout, done.stdout + done.stderr


# Keeping


def test_generated_table_is_kept_and_read_again(home, monkeypatch):
    first = prepare_transactions(home, rows=500, seed=2)
    pd.testing.assert_frame_equal(first, generate_transactions(500, seed=2))
    monkeypatch.setattr(data, "generate_pieces", None)  # a second call must not need it
    pd.testing.assert_frame_equal(prepare_transactions(home, rows=500, seed=2), first)
    assert [path.suffix for path in (home.home / "data").iterdir()] == [".parquet"]


def test_rows_seed_and_file_have_caches_of_their_own(home, few, tmp_path):
    tables = [prepare_transactions(home, rows, seed) for rows, seed in [(100, 0), (100, 1), (200, 0)]]
    own = dataclasses.replace(home, data_file=write(few, tmp_path / "own.csv"))
    tables.append(prepare_transactions(own, rows=100, seed=0))
    write(few.iloc[::-1], tmp_path / "own.csv")
    tables.append(prepare_transactions(own, rows=100, seed=0))
    assert len({compute_digest(table) for table in tables}) == 5
    assert len(list((home.home / "data").iterdir())) == 5
    pd.testing.assert_frame_equal(tables[3], few)


def spoil_half(content):
    return content[: len(content) // 2]


def spoil_bits(content):
    return content[:300] + bytes(255 - byte for byte in content[300:400]) + content[400:]


@pytest.mark.parametrize("spoil", [spoil_half, spoil_bits, lambda content: b"", lambda content: b"text"])
def test_broken_cache_is_made_again(home, spoil):
    first = prepare_transactions(home, rows=2_000, seed=2)
    (path,) = (home.home / "data").iterdir()
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    pd.testing.assert_frame_equal(prepare_transactions(home, rows=2_000, seed=2), first)
    assert path.read_bytes() == good


def test_bad_file_is_refused_and_nothing_is_kept(home, few, tmp_path):
    wrong = few.astype(float)
    wrong.loc[4, "used_chip"] = 3
    own = dataclasses.replace(home, data_file=write(wrong, tmp_path / "own.csv"))
    with pytest.raises(InputError, match="row 4, used_chip"):
        prepare_transactions(own)
    assert not (home.home / "data").exists()


def test_folder_that_cannot_be_written(home):
    home.home.parent.mkdir(parents=True, exist_ok=True)
    home.home.write_text("a file in the folder's place")
    with pytest.raises(InputError, match="FRAUD_DEMO_HOME"):
        prepare_transactions(home, rows=10)


def test_a_cache_that_cannot_be_renamed_leaves_nothing(home, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.os, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        prepare_transactions(home, rows=10)
    assert list((home.home / "data").iterdir()) == []


# Splitting


@pytest.fixture(scope="module")
def split(table):
    return split_transactions(table, seed=7)


def test_sets_are_stratified_and_have_their_sizes(table, split):
    sizes = [len(split.train), len(split.validation), len(split.test)]
    assert sizes == [12_800, 3_200, 4_000]
    for part in (split.train, split.validation, split.test):
        assert part.features.shape == (len(part), 7) and part.features.dtype == np.float32
        assert part.features.flags.c_contiguous
        assert part.labels.shape == (len(part),) and part.labels.dtype == np.int8
        assert abs(part.labels.sum() - len(part) * table["fraud"].mean()) <= 1


def test_every_row_is_in_one_set_with_its_label(table, split):
    parts = (split.train, split.validation, split.test)
    rows = np.concatenate([np.column_stack([part.features, part.labels]) for part in parts])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, table.to_numpy(np.float32)))


def test_labels_are_mixed_within_a_set(split):
    halves = np.array_split(split.train.labels, 2)
    assert abs(halves[0].mean() - halves[1].mean()) < 0.02


def test_digest_names_table_and_rows(table, split):
    again, other = split_transactions(table, seed=7), split_transactions(table, seed=8)
    assert again.digest == split.digest != other.digest
    assert np.array_equal(again.test.features, split.test.features)
    assert again.data_digest == other.data_digest == compute_digest(table)
    changed = table.copy()
    changed.loc[5, "online_order"] = 1 - changed.loc[5, "online_order"]
    assert split_transactions(changed, seed=7).data_digest != split.data_digest
    assert split_transactions(changed, seed=7).digest != split.digest


def test_digest_sees_order_and_labels(few):
    assert (
        len({compute_digest(few), compute_digest(few.iloc[::-1]), compute_digest(few.assign(fraud=1))}) == 3
    )
    assert compute_digest(few.astype(float)) == compute_digest(few)


@limits(max_examples=100, deadline=None)
@given(n_fraud=st.integers(0, 40), n_other=st.integers(0, 40), seed=st.integers(0, 5))
def test_a_split_has_both_labels_everywhere_or_is_refused(n_fraud, n_other, seed):
    labels = np.array([1] * n_fraud + [0] * n_other, dtype=np.int8)
    table = pd.DataFrame({name: np.arange(len(labels), dtype=np.float32) for name in FEATURE_NAMES}).assign(
        fraud=labels
    )
    try:
        split = split_transactions(table, seed)
    except InputError as error:
        assert min(n_fraud, n_other) < 5
        assert f"{n_fraud} frauds" in error.what
        return
    parts = (split.train, split.validation, split.test)
    assert sum(map(len, parts)) == len(labels)
    assert all(0 < part.labels.sum() < len(part) for part in parts)


def test_split_names_a_missing_column(few):
    with pytest.raises(InputError, match="fraud"):
        split_transactions(few.drop(columns="fraud"))


def test_split_shows_its_sets(split):
    for text in (str(split), split._repr_html_()):
        assert "12,800" in text and split.digest[:12] in text
    assert "12,800 rows" in repr(split.train)


# Looking


def test_summary_has_medians_for_amounts_and_shares_for_flags(table):
    summary = describe_transactions(table)
    lines = {(row[0], row[1]): row[2:] for row in summary.rows}
    fraud = table[table["fraud"] == 1]
    assert len(lines) == 14
    assert lines["distance_from_home", "fraud"][1] == f"{fraud['distance_from_home'].median():.2f}"
    assert lines["online_order", "fraud"] == (f"{fraud['online_order'].mean():.2f}", "", "")


def test_summary_of_one_label_only(table):
    lines = describe_transactions(table[table["fraud"] == 0]).rows
    assert all(row[2:] == ("", "", "") for row in lines if row[1] == "fraud")


def test_figure_shows_itself_with_its_words(table):
    figure = plot_features(table, max_rows=2_000)
    assert [axis.get_title() for axis in figure.axes[:7]] == [feature.label for feature in FEATURES]
    assert figure.get_suptitle()
    assert all(axis.get_ylabel() for axis in figure.axes[:7])
    shown, metadata = figure._repr_mimebundle_()
    assert shown["text/plain"] == figure.get_label() == metadata["image/png"]["alt"]
    assert 'alt="Seven panels' in shown["text/html"] and "Price against usual price" in shown["text/html"]


def test_figure_of_one_label_and_of_zeros(table):
    plot_features(table[table["fraud"] == 0].assign(distance_from_home=0.0), max_rows=500)


# The folder data/ and the module


def test_sample_is_what_the_generator_draws():
    sample, drawn = load_transactions(ROOT / "data" / "sample.csv"), generate_transactions(200, seed=0)
    np.testing.assert_allclose(sample[AMOUNTS], drawn[AMOUNTS], rtol=1e-6)  # the last bit is the machine's
    assert (sample[[*FLAGS, "fraud"]] == drawn[[*FLAGS, "fraud"]]).all(axis=None)


def test_sample_has_its_checksum():
    digest, name = (ROOT / "data" / "sample.csv.sha256").read_text().split()
    assert name == "sample.csv"
    assert hashlib.sha256((ROOT / "data" / "sample.csv").read_bytes()).hexdigest() == digest


def test_sample_passes_the_check():
    sample = validate_transactions(load_transactions(ROOT / "data" / "sample.csv"))
    assert len(sample) == 200 and 0.02 < sample["fraud"].mean() < 0.2


@pytest.mark.parametrize("module", ["fraud_demo.data", "fraud_demo.evaluation"])
def test_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "pandas",
        "pyarrow",
        "pandera",
        "sklearn",
        "scipy",
        "matplotlib",
        "seaborn",
        "tensorflow",
        "mlflow",
    }
    assert not heavy & set(loaded)
    assert not {"nbdev", "fastcore", "IPython"} & set(loaded)


def test_two_writers_of_one_table_do_not_disturb_each_other(tmp_path):
    """Processes of two containers may have one number, and threads have."""
    table = generate_transactions(200_000, 1)
    left = tmp_path / ".t.parquet.16970"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: save_transactions([table], tmp_path / "t.parquet"), range(8)))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
    assert len(load_transactions(tmp_path / "t.parquet")) == 200_000


def test_ordinary_files_of_other_programs_are_read_or_refused(tmp_path):
    table = generate_transactions(50, 1)
    table.set_index("distance_from_home").to_parquet(tmp_path / "index.parquet")
    assert load_transactions(tmp_path / "index.parquet").equals(table.astype(np.float32))
    table.to_csv(tmp_path / "T.CSV.GZ", index=False, compression="gzip")
    assert len(load_transactions(tmp_path / "T.CSV.GZ")) == 50
    table.assign(Größe=1).to_csv(tmp_path / "latin.csv", index=False, encoding="latin-1")
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("t.csv", table.to_csv(index=False))
    content = bytearray((tmp_path / "t.zip").read_bytes())
    content[60:90] = bytes(30)
    (tmp_path / "t.zip").write_bytes(content)
    for name in ("latin.csv", "t.zip"):
        with pytest.raises(InputError, match="cannot be read"):
            load_transactions(tmp_path / name)
