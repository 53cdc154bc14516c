"""The registry and the published files, on SQLite with SeaweedFS and on PostgreSQL with Ceph."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest

from benchmarks.room import log_run, mark_model
from fraud_demo import registry
from fraud_demo.core import InputError, MissingStepError, ServiceError
from fraud_demo.data import generate_transactions, split_transactions
from fraud_demo.details.turns import accept_aliases, list_turns, read_aliases
from fraud_demo.registry import (
    history,
    load_champion,
    load_version,
    promote,
    publish,
    read_object,
    register,
    rollback,
    serve_champion,
    serve_version,
)


def make_version(settings, small, folder, mark, tags=None, metrics=None, change=None):
    """Log and register a marked copy of the small model; `change` edits its graph first."""
    split, trained = small
    marked = mark_model(trained, mark, folder / mark)
    if change:
        model = onnx.load(marked.onnx_path)
        change(model)
        onnx.save(model, marked.onnx_path)
    return register(settings, log_run(settings, split, marked, tags, metrics)), marked.onnx_path.read_bytes()


def set_threshold(model, threshold):
    """Write another threshold into a graph."""
    before = float(next(p.value for p in model.metadata_props if p.key == "threshold"))
    found = [c for c in model.graph.initializer if np.isclose(onnx.numpy_helper.to_array(c), before).all()]
    assert found
    for constant in found:
        shape = onnx.numpy_helper.to_array(constant).shape
        constant.CopyFrom(onnx.numpy_helper.from_array(np.full(shape, threshold, np.float32), constant.name))


def rename_output(model):
    """Give the first output another name, wherever it is used."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        node.input[:] = ["score" if name == old else name for name in node.input]
        node.output[:] = ["score" if name == old else name for name in node.output]
    model.graph.output[0].name = "score"


def read_published(settings, prefix, version):
    return read_object(settings, f"{prefix}/{version}/model.onnx")


def get_aliases(settings):
    import mlflow

    return read_aliases(mlflow.MlflowClient(), settings.registered_name)


def try_promote(settings, version, split):
    """Promote a version; return what came of it, also when somebody else was first."""
    try:
        return promote(settings, version, split)
    except ServiceError as error:
        return error


def promote_together(settings, versions, split):
    """Promote several versions at the same moment, each in a thread of its own."""
    with ThreadPoolExecutor(len(versions)) as pool:
        return dict(
            zip(versions, pool.map(partial(try_promote, settings, split=split), versions), strict=True)
        )


@pytest.fixture
def champion(seat, small, tmp_path):
    """A seat whose first version is the champion: its settings, version and file."""
    version, content = make_version(seat, small, tmp_path, "first")
    assert promote(seat, version, small[0]).promoted
    return seat, version, content


def test_from_run_to_published_file(champion, small):
    seat, version, content = champion
    found = load_champion(seat)
    assert (found.version, found.onnx_path.read_bytes()) == (version, content)
    assert found.threshold == pytest.approx(small[1].threshold) and found.metrics["pr_auc"] > 0.9
    assert found.tags["gate"] == "passed" and json.loads(found.tags["gate.cost"])["passed"] is True
    prefix = publish(seat, version)
    assert prefix == f"models/{seat.served_name}/version-1"
    assert read_published(seat, prefix, version) == content
    assert publish(seat, version) == prefix
    assert get_aliases(seat) == {"challenger": "1", "champion": "1"}
    assert [row[5] for row in history(seat).rows] == ["passed"]
    assert list_turns(seat).rows[0][:5] == (1, "1", "", "promote", seat.seat)


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        ("cost", {"change": lambda model: set_threshold(model, 0.0)}),
        ("signature", {"change": rename_output}),
        ("parity", {"metrics": {"parity_max_abs_error": 0.01}}),
        ("parity", {"metrics": {"parity_changed_decisions": 1}}),
        ("same rows", {"tags": {"split_digest": "of other rows"}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "pair", ["SQLite and SeaweedFS"], indirect=True
)  # the gate knows nothing of the servers
def test_a_bad_model_is_refused_by_the_name_of_the_rule(champion, small, tmp_path, rule, how):
    seat, version, content = champion
    bad, _ = make_version(seat, small, tmp_path, "bad", **how)
    promotion = promote(seat, bad, small[0])
    refused = [
        name for name in promotion.refused if (name, rule) != ("cost", "signature")
    ]  # not run, so no cost
    assert refused == [rule] and not promotion.promoted
    assert f"{rule}: " in str(promotion)
    tags = load_version(seat, bad).tags
    assert tags["gate"] == "refused" and tags["gate.against"] == version and "gate.passed_at" not in tags
    assert json.loads(tags[f"gate.{rule.replace(' ', '_')}"])["passed"] is False
    assert load_champion(seat).version == version and load_champion(seat).onnx_path.read_bytes() == content
    with pytest.raises(MissingStepError, match="The gate has refused it"):
        publish(seat, bad)


def test_other_rows_judge_nobody(champion):
    seat, version, _ = champion
    other = split_transactions(generate_transactions(20_000, seed=5))
    assert promote(seat, version, other).refused == ("same rows",)
    assert load_champion(seat).version == version


def test_of_two_promotions_at_the_same_moment_one_wins(champion, small, tmp_path, monkeypatch):
    """Both are judged against version 1 before either of them writes."""
    seat, _, _ = champion
    versions = [make_version(seat, small, tmp_path, mark)[0] for mark in ("second", "third")]
    both_judged, write = threading.Barrier(2, timeout=60), registry.write_turn

    def wait_and_write(*arguments):
        both_judged.wait()
        write(*arguments)

    monkeypatch.setattr(registry, "write_turn", wait_and_write)
    answers = promote_together(seat, versions, small[0])
    [loser] = [version for version in versions if isinstance(answers[version], ServiceError)]
    [winner] = [version for version in versions if version != loser]
    assert answers[winner].promoted
    assert answers[loser].what == f"Version {loser} did not become the champion of {seat.registered_name}."
    assert answers[loser].why == f"Version {winner} did first."
    assert {k: v for k, v in get_aliases(seat).items() if k != "challenger"} == {
        "champion": winner,
        "previous": "1",
    }
    assert [row[1] for row in list_turns(seat).rows] == [winner, "1"]
    monkeypatch.undo()
    assert promote(seat, loser, small[0]).promoted, "judged again, it may follow"


def test_two_first_promotions_share_one_ledger(seat, small, tmp_path):
    """Nothing was promoted yet, so each of the two would make a run for the turns."""
    versions = [make_version(seat, small, tmp_path, mark)[0] for mark in ("one", "two")]
    answers = promote_together(seat, versions, small[0]).values()
    outcomes = [not isinstance(answer, ServiceError) and answer.promoted for answer in answers]
    assert len(outcomes) == 2 and any(outcomes)
    assert load_champion(seat).version == list_turns(seat).rows[0][1]
    assert len(list_turns(seat).rows) == sum(outcomes)


def test_rollback_brings_back_what_served_byte_for_byte(champion, small, tmp_path):
    """Also when somebody deleted the published file: the registry has it."""
    seat, first, content = champion
    before = serve_champion(seat)
    second, other = make_version(seat, small, tmp_path, "second")
    assert promote(seat, second, small[0]).promoted
    assert read_published(seat, serve_champion(seat), second) == other != content
    key = f"{before}/{first}/model.onnx"
    registry.connect_bucket(seat).delete_object(Bucket=seat.object_store.bucket, Key=key)
    assert read_object(seat, key) is None
    assert rollback(seat) == first
    assert read_object(seat, key) == content
    assert load_champion(seat).onnx_path.read_bytes() == content
    pointer = json.loads(read_object(seat, f"models/{seat.served_name}/serving.json"))
    assert pointer == {"version": first, "prefix": before}
    assert list_turns(seat).rows[0][1:4] == (first, second, "rollback")
    assert rollback(seat) == second, "and forward again"


def test_rollback_without_a_version_before(champion):
    with pytest.raises(MissingStepError, match="There is no version to go back to"):
        rollback(champion[0])
    nobody = replace(champion[0], seat="nobody")
    with pytest.raises(MissingStepError, match="has no version. Nothing was registered"):
        rollback(nobody)


def test_an_alias_moved_by_hand_is_noticed(champion, small, tmp_path):
    import mlflow

    seat, first, _ = champion
    second, _ = make_version(seat, small, tmp_path, "second")
    mlflow.MlflowClient().set_registered_model_alias(seat.registered_name, "champion", second)
    for call in (lambda: promote(seat, second, small[0]), lambda: rollback(seat)):
        with pytest.raises(ServiceError, match="the alias was moved by hand") as caught:
            call()
        assert caught.value.what == f"The champion of {seat.registered_name} is version {second}."
    assert accept_aliases(seat) == second
    assert list_turns(seat).rows[0][1:4] == (second, first, "accept")
    assert promote(seat, second, small[0]).promoted


def test_a_champion_that_was_deleted_does_not_stop_promotion(champion, small, tmp_path):
    """Somebody deletes the version in MLflow's page; the way out that the error names must work."""
    import mlflow

    seat, first, _ = champion
    second, _ = make_version(seat, small, tmp_path, "second")
    third, _ = make_version(seat, small, tmp_path, "third")
    assert promote(seat, second, small[0]).promoted
    mlflow.MlflowClient().delete_model_version(seat.registered_name, second)
    with pytest.raises(ServiceError, match="accept_aliases"):
        promote(seat, third, small[0])
    assert accept_aliases(seat) is None
    assert promote(seat, third, small[0]).promoted and load_champion(seat).version == third
    assert list_turns(seat).rows[0][1] == third


def test_only_a_number_can_serve(champion):
    seat, version, _ = champion
    key = f"models/{seat.served_name}/serving.json"
    before = read_object(seat, key)
    for wrong in ("champion", "02", "0", "-1"):
        with pytest.raises(InputError, match="no version number"):
            serve_version(seat, wrong)
    assert read_object(seat, key) == before


@pytest.mark.parametrize(
    "change", [{"endpoint": "s3.example.com"}, {"endpoint": "http://["}, {"region": "us east"}]
)
def test_a_data_connection_that_cannot_be_is_said(champion, change):
    store = replace(champion[0].object_store, **change)
    with pytest.raises(InputError, match="data connection cannot be used") as told:
        registry.open_bucket(store)
    assert store.secret_key not in str(told.value)


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(champion):
    seat, version, content = champion
    load_champion(seat).onnx_path.write_bytes(b"somebody's own")
    assert load_champion(seat).onnx_path.read_bytes() == content
    prefix = publish(seat, version)
    assert (
        hashlib.sha256(read_published(seat, prefix, version)).hexdigest()
        == load_champion(seat).tags["onnx_digest"]
    )


def test_another_file_under_the_same_number_is_left_alone(champion):
    seat, version, content = champion
    key = f"models/{seat.served_name}/version-{version}/{version}/model.onnx"
    bucket, name = registry.connect_bucket(seat), seat.object_store.bucket
    bucket.put_object(Bucket=name, Key=key, Body=b"of another registry")
    prefix = publish(seat, version)
    assert re.fullmatch(rf"models/{seat.served_name}/version-{version}-[0-9a-f]{{8}}", prefix)
    assert (
        read_object(seat, key) == b"of another registry" and read_published(seat, prefix, version) == content
    )


def test_a_registration_that_was_cut_off_is_completed(seat, small, tmp_path, monkeypatch):
    split, trained = small
    run = log_run(seat, split, mark_model(trained, "cut", tmp_path))

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(registry, "set_alias", die)
        register(seat, run)
    assert register(seat, run) == "1" and len(history(seat).rows) == 1
    assert register(seat, run) == "2", "a finished one is registered anew"


def test_a_run_whose_file_changed_is_not_registered(seat, small):
    run = log_run(seat, *small)
    import mlflow

    mlflow.MlflowClient().set_tag(run.info.run_id, "onnx_digest", "0" * 64)
    with pytest.raises(ServiceError, match="is not the one that was trained"):
        register(seat, mlflow.get_run(run.info.run_id))
    with pytest.raises(MissingStepError):
        load_version(seat, "1")
