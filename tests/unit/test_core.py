"""Edges of lesson 00: values, transactions, settings, errors, tables."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.core import (
    FEATURE_NAMES,
    FEATURES,
    FLOAT32_MAX,
    FraudDemoError,
    InputError,
    MissingStepError,
    Table,
    Transaction,
    bypass_proxy,
    check_machine,
    check_value,
    import_extra,
    load_settings,
    make_transaction,
    to_features,
)

AMOUNT, FLAG = FEATURES[0], FEATURES[6]
ROW = [57.9, 0.3, 1.9, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("feature", "value", "reason"),
    [
        (AMOUNT, -1, "negative"),
        (AMOUNT, math.nan, "finite"),
        (AMOUNT, math.inf, "finite"),
        (AMOUNT, FLOAT32_MAX * 2, "32-bit"),
        (AMOUNT, 10**400, "finite"),
        (AMOUNT, "12", "type str"),
        (AMOUNT, None, "type NoneType"),
        (AMOUNT, True, "type bool"),
        (AMOUNT, [1], "type list"),
        (FLAG, 0.5, "two values"),
        (FLAG, 2, "two values"),
        (FLAG, "yes", "type str"),
    ],
)
def test_bad_value_is_explained(feature, value, reason):
    with pytest.raises(InputError, match=feature.name) as caught:
        check_value(feature, value)
    assert reason in caught.value.why
    assert caught.value.fix


@given(st.floats(0, FLOAT32_MAX, allow_nan=False), st.booleans())
def test_good_values_pass_unchanged(amount, flag):
    assert check_value(AMOUNT, amount) == amount
    assert check_value(FLAG, flag) == float(flag)
    assert check_value(AMOUNT, np.float64(amount)) == amount


@given(
    st.lists(st.lists(st.floats(0, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    st.permutations(FEATURE_NAMES),
)
def test_tables_are_read_by_name(amounts, order):
    rows = [[*row, 1.0, 0.0, 0.0, 1.0] for row in amounts]
    frame = pd.DataFrame(rows, columns=list(FEATURE_NAMES))
    expected = np.array(rows, np.float32)
    assert np.array_equal(to_features(frame[list(order)].assign(fraud=0)), expected)
    assert np.array_equal(to_features([dict(zip(FEATURE_NAMES, row, strict=True)) for row in rows]), expected)
    assert np.array_equal(to_features(rows), expected)


@pytest.mark.parametrize(
    "data",
    [[], np.zeros((0, 7)), np.zeros(7), np.zeros((2, 6)), np.zeros((1, 1, 7)), "text", None, [["a"] * 7], {}],
)
def test_other_shapes_are_refused(data):
    with pytest.raises(InputError):
        to_features(data)


def test_first_bad_row_is_named():
    rows = np.array([ROW, ROW, ROW])
    rows[2, 4] = 0.5
    with pytest.raises(InputError, match="Row 2: used_chip cannot be 0.5"):
        to_features(rows)


def test_text_and_huge_integers_are_refused_in_tables():
    for bad in ("1", 10**400):
        with pytest.raises(InputError, match="not numbers"):
            to_features([[bad, *ROW[1:]]])
    with pytest.raises(InputError, match="Row 1: used_chip"):
        good = dict(zip(FEATURE_NAMES, ROW, strict=True))
        to_features([good, {**good, "used_chip": 7}])


def test_this_machine_is_asked_without_a_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "intern.example")
    monkeypatch.delenv("no_proxy", raising=False)
    bypass_proxy()
    bypass_proxy()
    assert os.environ["NO_PROXY"] == "intern.example,127.0.0.1,localhost,::1"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"], "clients read the lower-case one first"


@pytest.mark.parametrize(("upper", "lower", "expected"), [
    ("*", "", "*"), ("", "a.example", "a.example,127.0.0.1,localhost,::1"),
    ("b.example", "a.example", "a.example,127.0.0.1,localhost,::1"), ("", "", "127.0.0.1,localhost,::1"),
])  # fmt: skip
def test_what_needs_no_proxy_stays_so(monkeypatch, upper, lower, expected):
    monkeypatch.setenv("NO_PROXY", upper)
    monkeypatch.setenv("no_proxy", lower)
    bypass_proxy()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == expected


def test_missing_extra_is_named():
    with pytest.raises(MissingStepError, match=r"fraud-demo\[app\]"):
        import_extra("no_such_package", "app")


def test_a_package_that_is_there_and_broken_says_so(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text(
        "raise ImportError('libfoo.so.1: cannot open shared object file')"
    )
    (tmp_path / "wants_more.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    for module, words in (("half_there", "libfoo.so.1"), ("wants_more", "no_such_package_at_all")):
        with pytest.raises(MissingStepError, match=words) as told:
            import_extra(module, "app")
        assert "is not installed" not in told.value.what and "pip install" not in told.value.fix


@pytest.mark.parametrize(
    "content", ["[" * 200_000, '{"services": null}', '{"services": []}', "null", '{"a": 1}']
)
def test_state_files_that_were_spoiled_are_as_good_as_none(tmp_path, content):
    for name in ("stack.json", "object_store.json"):
        (tmp_path / name).write_text(content)
    settings = load_settings({"FRAUD_DEMO_HOME": str(tmp_path)})
    assert settings.object_store is None and settings.endpoint is None and not settings.stack


@pytest.mark.parametrize("name", ["FRAUD_DEMO_HOME", "FRAUD_DEMO_DATA"])
@pytest.mark.parametrize("path", ["~nobody-here/x", "x" * 300])
def test_paths_that_are_none_are_named(name, path):
    with pytest.raises(InputError, match=f"{name} is no path"):
        load_settings({name: path})


def test_numbers_that_python_cannot_write_are_refused():
    with pytest.raises(InputError, match="thousands of digits"):
        check_value(FEATURES[0], 10**5000)
    with pytest.raises(InputError, match="not numbers"):
        to_features(np.array([ROW], dtype=complex))


def test_missing_and_unknown_names_are_refused():
    values = dict(zip(FEATURE_NAMES, ROW, strict=True))
    with pytest.raises(InputError, match="no used_chip"):
        make_transaction({name: value for name, value in values.items() if name != "used_chip"})
    with pytest.raises(InputError, match="amount is not a feature"):
        make_transaction({**values, "amount": 1})
    assert make_transaction(values) == Transaction(*ROW)


def test_settings_come_from_the_environment(tmp_path):
    settings = load_settings({
        "FRAUD_DEMO_HOME": str(tmp_path), "FRAUD_DEMO_SEAT": "07", "MLFLOW_ROUTE": " http://mlflow.test ",
        "AWS_S3_ENDPOINT": "http://s3.test", "AWS_ACCESS_KEY_ID": "marked-id", "AWS_SECRET_ACCESS_KEY": "marked-secret",
        "INFERENCE_ENDPOINT": "http://models.test", "FRAUD_DEMO_TOKEN": "marked-token",
    })  # fmt: skip
    assert (
        settings.registered_name == "DNN-credit-card-fraud-07"
        and settings.served_name == "credit-card-fraud-07"
    )
    assert settings.mlflow_route == "http://mlflow.test" and settings.endpoint == "http://models.test"
    assert settings.object_store.bucket == "mlflow" and settings.object_store.secret_key == "marked-secret"
    assert "marked" not in repr(settings)


def test_settings_fall_back_to_the_local_stack(tmp_path):
    (tmp_path / "stack.json").write_text(json.dumps({"services": {"model_server": "http://127.0.0.1:8080"}}))
    (tmp_path / "object_store.json").write_text(json.dumps(
        {"AWS_S3_ENDPOINT": "http://127.0.0.1:8333", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}))  # fmt: skip
    settings = load_settings({"FRAUD_DEMO_HOME": str(tmp_path)})
    assert (
        settings.endpoint == "http://127.0.0.1:8080"
        and settings.object_store.endpoint == "http://127.0.0.1:8333"
    )
    (tmp_path / "stack.json").write_text("{ cut off")
    assert load_settings({"FRAUD_DEMO_HOME": str(tmp_path)}).endpoint is None
    (tmp_path / "object_store.json").write_text("null")
    assert load_settings({"FRAUD_DEMO_HOME": str(tmp_path)}).object_store is None


@pytest.mark.parametrize(
    "environ",
    [
        {"FRAUD_DEMO_SEAT": "seat 7"},
        {"FRAUD_DEMO_SEAT": "../x"},
        {"FRAUD_DEMO_SEAT": "A"},
    ],
)
def test_impossible_settings_are_refused(environ, tmp_path):
    with pytest.raises(InputError):
        load_settings({"FRAUD_DEMO_HOME": str(tmp_path), **environ})


def test_data_file_may_be_named_relative_to_the_folder_one_is_in(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert (
        load_settings({"FRAUD_DEMO_DATA": "rows.csv", "FRAUD_DEMO_HOME": "here"}).data_file
        == tmp_path / "rows.csv"
    )


def test_error_shows_three_sentences_in_a_notebook():
    error = MissingStepError("What.", "Why.", "Fix.")
    assert isinstance(error, FraudDemoError)
    assert error._render_traceback_() == ["MissingStepError", "  What: What.", "  Why:  Why.", "  Do:   Fix."]
    assert str(error) == "What. Why. Fix."


def test_table_escapes_what_it_shows():
    table = Table(("a",), (("<script>",),))
    assert "<script>" not in table._repr_html_() and "&lt;script&gt;" in table._repr_html_()
    assert str(Table(("long heading", "b"), (("x", 1),))).splitlines()[1] == "x             1"


def test_machine_check_says_what_is_missing(tmp_path):
    table = check_machine(load_settings({"FRAUD_DEMO_HOME": str(tmp_path / "not" / "there")}))
    assert {row[0]: row[2] for row in table.rows}["packages"] == "ok"
