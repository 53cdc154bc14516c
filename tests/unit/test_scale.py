"""Edges of fraud_demo.scale: what is done again and what is not, runs that are killed, disks that are full."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fraud_demo import batch, scale
from fraud_demo.core import FEATURE_NAMES, InputError, MissingStepError, ServiceError
from fraud_demo.details import kept_scores
from fraud_demo.details.folders import Folder
from fraud_demo.scale import Model, ShardTask, find_slice, load_model, score_dataset
from fraud_demo.workshop.cli import make_cli
from tests.conftest import ROOT

from .v2_double import make_rows, run_model

SHARDS = [f"part-{number}.parquet" for number in range(8)]


def write_shard(path: Path, rows=5_000, seed=0):
    """Write generated transactions as one shard."""
    values = make_rows(rows, seed).astype(np.float64)
    pq.write_table(pa.table({name: values[:, i] for i, name in enumerate(FEATURE_NAMES)}), path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Eight shards that no test changes."""
    folder = tmp_path_factory.mktemp("source")
    for seed, name in enumerate(SHARDS):
        write_shard(folder / name, seed=seed)
    return folder


@pytest.fixture
def own_source(source, tmp_path):
    """The same shards for a test that changes them."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in SHARDS:
        (folder / name).write_bytes((source / name).read_bytes())
        stat = (source / name).stat()
        os.utime(folder / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return folder


@pytest.fixture(scope="module")
def model(onnx_path):
    return load_model(onnx_path, "1")


@pytest.fixture(scope="module")
def expected(source, model, tmp_path_factory):
    """The bytes of the parts, and the manifest, of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("expected")
    done = score_dataset(source, folder, model)
    assert (done.done, done.skipped, done.failed) == (8, 0, ())
    return read_parts(folder), done.manifest


def read_parts(folder: Path) -> dict[str, bytes]:
    """Read what a reader of the folder would take for parts."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def start_driver(source, target, onnx_path, engine, body="") -> subprocess.Popen:
    """Score in a process of its own, which waits after each shard so that there is time to kill it."""
    code = f"""
import sys, time
from pathlib import Path
from fraud_demo import batch, scale
{body}
if __name__ == "__main__":
    model = scale.load_model(sys.argv[3], "1")
    scale.score_dataset(sys.argv[1], sys.argv[2], model, sys.argv[4], 2, progress=lambda *_: time.sleep(1))
"""
    command = [sys.executable, "-c", code, *map(str, (source, target, onnx_path, engine))]
    return subprocess.Popen(command, cwd=ROOT)


def wait_for(is_true, seconds=60):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def count_records(target: Path) -> int:
    """Count the shards that somebody vouches for."""
    return len(list(target.glob("_records/*.json")))


# --- parts, records and the manifest


def test_scores_and_records(source, expected, model):
    parts, manifest = expected
    table = pq.read_table(pa.BufferReader(parts[SHARDS[3]]))
    outputs = run_model(make_rows(5_000, 3))
    assert np.allclose(table["fraud_probability"], outputs["fraud_probability"].ravel(), atol=1e-6)
    assert table.column_names == [*FEATURE_NAMES, "fraud_probability", "is_fraud"]
    record = manifest["shards"][3]
    assert record["shard"] == SHARDS[3] and record["rows"] == 5_000 and record["rejected"] == 0
    assert record["frauds"] == table["is_fraud"].to_numpy().sum() and record["bytes"] == len(parts[SHARDS[3]])
    assert manifest["rows"] == 40_000 and manifest["missing"] == manifest["stale"] == []
    assert manifest["model"] == model.identity and manifest["model"][1] == "1"


def test_other_readers_see_the_parts_alone(source, model, tmp_path):
    score_dataset(source, tmp_path, model)
    assert ds.dataset(tmp_path).count_rows() == 40_000
    assert not list((tmp_path / "_work").iterdir())


def test_second_call_does_nothing(source, model, tmp_path, monkeypatch):
    score_dataset(source, tmp_path, model)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    monkeypatch.setattr(scale, "score_file", None)  # whoever calls it fails
    again = score_dataset(source, tmp_path, model)
    assert (again.done, again.skipped, again.failed, again.rows) == (0, 8, (), 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")} == before


@pytest.mark.parametrize(
    "damage", ["part gone", "part cut", "record gone", "record cut", "record of another layout"]
)
def test_damaged_part_is_made_again(source, model, expected, tmp_path, damage):
    score_dataset(source, tmp_path, model)
    part, record = tmp_path / SHARDS[2], tmp_path / "_records" / f"{SHARDS[2]}.json"
    if damage.endswith("gone"):
        (part if "part" in damage else record).unlink()
    elif damage.endswith("cut"):
        path = part if "part" in damage else record
        path.write_bytes(path.read_bytes()[:-9])
    else:
        record.write_text(json.dumps(json.loads(record.read_text()) | {"layout": 0}))
    again = score_dataset(source, tmp_path, model)
    assert (again.done, again.skipped) == (1, 7)
    assert (read_parts(tmp_path), again.manifest) == expected


def test_changed_shard_is_scored_again(own_source, model, tmp_path):
    target = tmp_path / "out"
    score_dataset(own_source, target, model)
    write_shard(own_source / SHARDS[5], rows=100, seed=99)
    again = score_dataset(own_source, target, model)
    assert (again.done, again.skipped, again.rows) == (1, 7, 100)
    assert pq.read_metadata(target / SHARDS[5]).num_rows == 100


@pytest.mark.parametrize("change", [{"version": "2"}, {"threshold": 0.9}, {"content": None}])
def test_another_model_scores_all_again(source, model, tmp_path, change):
    if "content" in change:  # bytes that ONNX does not read: another file of the same model
        change = {"content": model.content + b"\x72\x04\x0a\x00\x12\x00"}
    score_dataset(source, tmp_path, model)
    other = Model(**{"content": model.content, "version": model.version, **change})
    again = score_dataset(source, tmp_path, other)
    assert (again.done, again.skipped) == (8, 0)
    assert again.manifest["model"] == other.identity != model.identity


def test_part_of_a_shard_that_went_is_called_stale(own_source, model, tmp_path):
    target = tmp_path / "out"
    score_dataset(own_source, target, model)
    (own_source / SHARDS[0]).unlink()
    assert score_dataset(own_source, target, model).manifest["stale"] == [SHARDS[0]]


def test_rejected_rows_are_listed_apart_and_forgotten_when_mended(own_source, model, tmp_path):
    target, path = tmp_path / "out", own_source / SHARDS[1]
    good = pq.read_table(path)
    values = good["used_chip"].to_numpy().copy()
    values[7] = 2
    pq.write_table(good.set_column(good.column_names.index("used_chip"), "used_chip", pa.array(values)), path)
    scored = score_dataset(own_source, target, model)
    assert scored.failed == () and scored.manifest["shards"][1]["rejected"] == 1
    listed = target / "_rejected" / "part-1.csv"
    assert "used_chip" in listed.read_text() and ds.dataset(target).count_rows() == 40_000
    pq.write_table(good, path)
    assert score_dataset(own_source, target, model).done == 1 and not listed.exists()


def test_slices_are_apart_and_make_the_same_whole(source, model, expected, tmp_path):
    done = [score_dataset(source, tmp_path, model, own_slice=(index, 3)) for index in range(3)]
    assert [d.done for d in done] == [3, 3, 2]
    assert [len(d.manifest["missing"]) for d in done] == [5, 2, 0]
    assert (read_parts(tmp_path), done[-1].manifest) == expected


def test_manifest_sees_who_ended_meanwhile(source, model, expected, tmp_path, monkeypatch):
    """Another run ends between our look at the records and our writing of the manifest."""
    tasks = [ShardTask(name, Folder(str(source)), Folder(str(tmp_path)), model) for name in SHARDS]
    score_dataset(source, tmp_path, model, own_slice=(0, 2))
    collect, late = scale.collect_manifest, [1]

    def collect_and_be_late(tasks):
        found = collect(tasks)
        if late and late.pop():
            score_slice()
        return found

    def score_slice():
        monkeypatch.setattr(scale, "collect_manifest", collect)
        score_dataset(source, tmp_path, model, own_slice=(1, 2))
        monkeypatch.setattr(scale, "collect_manifest", collect_and_be_late)

    monkeypatch.setattr(scale, "collect_manifest", collect_and_be_late)
    scale.write_manifest(tasks)
    assert json.loads((tmp_path / "_manifest.json").read_text()) == expected[1]


# --- what fails


def test_bad_shards_do_not_stop_the_rest(own_source, model, expected, tmp_path):
    target = tmp_path / "out"
    (own_source / "broken.parquet").write_text("not a table")
    pq.write_table(pa.table({"amount": [1.0]}), own_source / "columns.parquet")
    scored = score_dataset(own_source, target, model)
    assert [outcome.shard for outcome in scored.failed] == ["broken.parquet", "columns.parquet"]
    assert "cannot be read" in scored.failed[0].error[0] and "distance_from_home" in scored.failed[1].error[0]
    assert scored.done == 8 and "2 FAILED" in str(scored)
    assert scored.manifest["missing"] == ["broken.parquet", "columns.parquet"]
    assert read_parts(target) == expected[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"engine": "dask"}, "no engine dask"),
        ({"own_slice": (2, 2)}, "no slice 2 of 2"),
        ({"own_slice": (-1, 2)}, "no slice -1 of 2"),
        ({"source": "nothing"}, "no shards"),
        ({"source": "ftp://host/x"}, "is no folder"),
        ({"source": "s3:///x"}, "is no folder"),
        ({"target": "same"}, "one folder"),
    ],
)
def test_wrong_calls(source, model, tmp_path, call, words):
    given = {"source": source, "target": tmp_path / "out", "model": model} | call
    given["source"] = tmp_path / "nothing" if given["source"] == "nothing" else given["source"]
    given["target"] = source if given["target"] == "same" else given["target"]
    with pytest.raises(InputError, match=words):
        score_dataset(**given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spelling", ["link", "dots", "slash"])
def test_one_folder_under_two_names_is_refused(own_source, model, tmp_path, spelling):
    (tmp_path / "link").symlink_to(own_source)
    before = read_parts(own_source)
    target = {"link": tmp_path / "link", "dots": f"{own_source}/../own", "slash": f"{own_source}/"}[spelling]
    for pair in ((own_source, target), (target, own_source)):
        with pytest.raises(InputError, match="one folder"):
            score_dataset(*pair, model)
    assert read_parts(own_source) == before and sorted(os.listdir(own_source)) == SHARDS


def test_shard_without_rows_is_an_empty_part(own_source, model, tmp_path):
    """Other engines write such parts: a Job must not fail for them again and again."""
    table = pq.read_table(own_source / SHARDS[0])
    pq.write_table(table.slice(0, 0), own_source / "part-8.parquet")
    scored = score_dataset(own_source, tmp_path / "out", model)
    assert (scored.done, scored.failed, scored.manifest["missing"]) == (9, (), [])
    part = pq.read_table(tmp_path / "out" / "part-8.parquet")
    assert part.num_rows == 0 and part.column_names == [*FEATURE_NAMES, "fraud_probability", "is_fraud"]
    assert part.schema == pq.read_schema(tmp_path / "out" / SHARDS[0])
    assert scored.manifest["rows"] == 40_000
    assert score_dataset(own_source, tmp_path / "out", model).skipped == 9


def test_shard_that_cannot_be_read_any_more_does_not_stop_the_rest(own_source, model, tmp_path, monkeypatch):
    score_dataset(own_source, tmp_path / "out", model)
    write_shard(own_source / "part-8.parquet", seed=8)
    opened = Path.open

    def refuse(path, *given, **options):
        if Path(path).name == SHARDS[1]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *given, **options)

    with monkeypatch.context() as patch:  # root may read everything, so a mode would not do
        patch.setattr(Path, "open", refuse)
        scored = score_dataset(own_source, tmp_path / "out", model)
    assert (scored.done, scored.skipped) == (1, 7)
    assert [outcome.shard for outcome in scored.failed] == [SHARDS[1]]
    assert "Permission denied" in " ".join(scored.failed[0].error)
    assert scored.manifest["missing"] == [SHARDS[1]]


def test_kept_scores_of_another_model_are_not_taken_over(own_source, onnx_path, tmp_path, monkeypatch):
    """The two models differ for payments with a PIN alone, which no probe has; both call themselves version 1."""
    other = change_weight(onnx_path, tmp_path / "other.onnx", place=5, weight=2.0)
    first, second = load_model(onnx_path, "1"), load_model(other, "1")
    monkeypatch.setattr(batch, "ROWS_PER_PIECE", 1000)
    write, calls = kept_scores.write_scores, []

    def stop(*given):
        calls.append(1)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(kept_scores, "write_scores", stop)
        assert len(score_dataset(own_source, tmp_path / "out", first).failed) == 8
    assert score_dataset(own_source, tmp_path / "out", second).done == 8
    assert score_dataset(own_source, tmp_path / "clean", second).done == 8
    assert read_parts(tmp_path / "out") == read_parts(tmp_path / "clean")


def change_weight(path: Path, target: Path, place: int, weight: float) -> Path:
    """Write a model that differs in one weight."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    (found,) = (item for item in model.graph.initializer if item.name == "w")
    weights = numpy_helper.to_array(found).copy()
    weights[place] = weight
    found.CopyFrom(numpy_helper.from_array(weights, "w"))
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("content", [b"[]", b'{"layout": 1}', b"null", b"\xff"])
def test_record_that_was_spoiled_is_made_again(own_source, model, expected, tmp_path, content):
    score_dataset(own_source, tmp_path, model)
    record = tmp_path / scale.name_record(SHARDS[2])
    spoiled = json.loads(record.read_text())
    record.write_bytes(content)
    again = score_dataset(own_source, tmp_path, model)
    assert (again.done, again.skipped) == (1, 7)
    del spoiled["rows"]
    record.write_text(json.dumps(spoiled))
    assert score_dataset(own_source, tmp_path, model).done == 1
    assert read_parts(tmp_path) == expected[0]


def test_models_that_are_not_there(tmp_path, onnx_path):
    for place in (tmp_path, tmp_path / "no.onnx", tmp_path / "no"):
        with pytest.raises(MissingStepError, match="no model file"):
            load_model(place)
    (tmp_path / "a" / "1").mkdir(parents=True)
    (tmp_path / "a" / "1" / "model.onnx").write_bytes(onnx_path.read_bytes())
    assert load_model(tmp_path / "a") == load_model(onnx_path)
    (tmp_path / "bad.onnx").write_text("nothing")
    write_shard(tmp_path / "one.parquet")
    with pytest.raises(InputError, match="cannot be read"):
        score_dataset(tmp_path, tmp_path / "out", tmp_path / "bad.onnx")


def test_bucket_without_a_key(monkeypatch, tmp_path, model):
    monkeypatch.setenv("FRAUD_DEMO_HOME", str(tmp_path))
    with pytest.raises(MissingStepError, match="no key"):
        score_dataset("s3://bucket/in", tmp_path / "out", model)


def test_keys_are_not_shown(tmp_path):
    from fraud_demo.core import ObjectStore

    folder = Folder(
        "s3://bucket/in", ObjectStore("http://127.0.0.1:9", "bucket", "here", "my-key", "my-secret")
    )
    assert "my-" not in repr(folder) and "my-" not in repr(ShardTask("a", folder, folder, Model(b"x")))
    with pytest.raises(ServiceError, match="cannot be read") as told:
        score_dataset(folder, tmp_path / "out", Model(b"x"))
    assert "my-" not in str(told.value)


def test_full_disk_in_the_middle(source, model, expected, tmp_path, monkeypatch):
    """The fourth shard finds no room for its scores, the sixth none for its record."""
    keep, write, calls = kept_scores.write_scores, Folder.write, {"scores": 0, "records": 0}

    def stop(kind, number, real, *given):
        calls[kind] += 1
        if calls[kind] == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(kept_scores, "write_scores", lambda *given: stop("scores", 4, keep, *given))
        patch.setattr(Folder, "write", lambda *given: stop("records", 5, write, *given))
        full = score_dataset(source, tmp_path, model)
    assert [outcome.shard for outcome in full.failed] == [SHARDS[3], SHARDS[5]]
    assert all("No space left" in " ".join(outcome.error) for outcome in full.failed)
    assert full.manifest["missing"] == [SHARDS[3], SHARDS[5]]
    rest = score_dataset(source, tmp_path, model)
    assert (rest.done, rest.skipped) == (2, 6)
    assert (read_parts(tmp_path), rest.manifest) == expected


def test_disk_that_takes_small_files_alone(own_source, onnx_path, tmp_path):
    """The kernel refuses to write; the small shard gets through, and the exit code says that others did not."""
    write_shard(own_source / "small.parquet", rows=50)
    code = (
        "import resource, sys; from fraud_demo.scale import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.exit(main())"
    )
    environ = {**os.environ, "SCORE_SOURCE": str(own_source), "SCORE_TARGET": str(tmp_path / "out"),
               "SCORE_MODEL": str(onnx_path), "SCORE_MODEL_VERSION": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=ROOT, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("Nothing more can be written") == 8
    assert list(read_parts(tmp_path / "out")) == ["small.parquet"]
    rest = score_dataset(own_source, tmp_path / "out", load_model(onnx_path, "1"))
    assert (rest.done, rest.skipped, rest.failed) == (8, 1, ())


# --- processes that are killed


@dataclass(frozen=True)
class Poison(Folder):
    """A source with a shard that kills whoever looks at it, outside of the process of the test."""

    def identify(self, name):
        """Describe a shard, or die."""
        if name == SHARDS[4] and multiprocessing.parent_process():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().identify(name)


def test_pool_gives_the_same_bytes_and_outlives_a_deadly_shard(source, model, expected, tmp_path):
    scored = score_dataset(Poison(str(source)), tmp_path, model, "pool", 2)
    [failed] = scored.failed
    assert failed.shard == SHARDS[4] and "killed more than once" in failed.error[0]
    assert scored.done == 7 and scored.manifest["missing"] == [SHARDS[4]]
    rest = score_dataset(source, tmp_path, model)
    assert (rest.done, rest.skipped) == (1, 7)
    assert (read_parts(tmp_path), rest.manifest) == expected


def test_script_without_a_guard_is_told(source, onnx_path, tmp_path):
    """Each process of a pool imports the script that calls, and would score the folder itself."""
    call = f"score_dataset({str(source)!r}, {str(tmp_path / 'out')!r}, {str(onnx_path)!r}, 'pool', 2)"
    script = tmp_path / "script.py"
    script.write_text(f"from fraud_demo.scale import score_dataset\n{call}\n")
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert done.returncode == 1 and "cannot start" in done.stderr and "__name__" in done.stderr
    script.write_text(
        f"from fraud_demo.scale import score_dataset\nif __name__ == '__main__':\n    print({call})\n"
    )
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert "8 of 8 shards scored" in done.stdout, done.stderr


def test_killed_worker_of_the_pool(source, model, expected, tmp_path):
    """One process of the pool dies by SIGKILL, as from want of memory; its shard is scored by another."""
    killed = []

    def kill(done, total):
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    scored = score_dataset(source, tmp_path, model, "pool", 2, progress=kill)
    assert killed and (scored.done, scored.failed) == (8, ())
    assert (read_parts(tmp_path), scored.manifest) == expected
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("engine", ["process", "pool"])
def test_killed_driver(source, model, onnx_path, expected, tmp_path, engine):
    process = start_driver(source, tmp_path, onnx_path, engine)
    try:
        wait_for(lambda: count_records(tmp_path) or process.poll() is not None)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not psutil.wait_procs(children, timeout=0.1)[1], 20)  # they end with their parent
    before = count_records(tmp_path)
    rest = score_dataset(source, tmp_path, model)
    assert 1 <= rest.skipped == before < 8 and rest.done == 8 - before
    assert (read_parts(tmp_path), rest.manifest) == expected
    assert len(children) == (0 if engine == "process" else 3)  # two workers, and what watches their files


# --- the Job, the command, and what is not imported


@pytest.mark.parametrize(
    ("index", "completions", "expected"),
    [("", "", (0, 1)), ("0", "1", (0, 1)), ("3", "4", (3, 4)), (" 1 ", "2", (1, 2))],
)
def test_find_slice(index, completions, expected):
    assert find_slice({"JOB_COMPLETION_INDEX": index, "JOB_COMPLETIONS": completions}) == expected


@pytest.mark.parametrize(
    ("index", "completions"), [("0", ""), ("", "4"), ("4", "4"), ("-1", "4"), ("a", "4"), ("0", "0")]
)
def test_wrong_slice(index, completions):
    with pytest.raises(InputError, match="no slice"):
        find_slice({"JOB_COMPLETION_INDEX": index, "JOB_COMPLETIONS": completions})


def test_main_tells_what_is_not_set(monkeypatch, caplog):
    for name in ("SCORE_SOURCE", "SCORE_TARGET", "SCORE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    assert scale.main() == 1
    assert "SCORE_SOURCE, SCORE_TARGET, SCORE_MODEL is not set" in caplog.text


def test_command(own_source, onnx_path, tmp_path):
    run, target = CliRunner(), tmp_path / "out"
    line = [
        "score-dataset",
        str(own_source),
        "--output",
        str(target),
        "--model",
        str(onnx_path),
        "--engine",
        "process",
    ]
    told = json.loads(run.invoke(make_cli(), [*line, "--json"]).stdout)
    assert (told["done"], told["skipped"], told["failed"], told["missing"]) == (8, 0, [], [])
    again = run.invoke(make_cli(), line)
    assert again.exit_code == 0 and "8 were done before" in again.stdout
    (own_source / "broken.parquet").write_text("not a table")
    bad = run.invoke(make_cli(), line)
    assert bad.exit_code == 1 and "broken.parquet cannot be read" in bad.stdout
    bad = run.invoke(make_cli(), [*line, "--json"])
    assert bad.exit_code == 1 and json.loads(bad.stdout)["failed"][0]["shard"] == "broken.parquet"
    slices = run.invoke(make_cli(), line, env={"JOB_COMPLETION_INDEX": "1", "JOB_COMPLETIONS": "4"})
    assert slices.exit_code == 0 and "2 were done before" in slices.stdout


def test_ray_and_spark_are_imported_by_nobody(source, onnx_path, tmp_path):
    code = (
        "import sys; from fraud_demo.scale import score_dataset; score_dataset(*sys.argv[1:]);"
        "print([name for name in ('ray', 'pyspark', 'mlflow', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, source, tmp_path, onnx_path], cwd=ROOT, capture_output=True,
                          text=True, timeout=120, check=True)  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_arrow_scorer_gives_the_same_scores(source, model, expected):
    batches = pq.read_table(source / SHARDS[0]).to_batches(max_chunksize=777)
    found = pa.Table.from_batches(scale.make_arrow_scorer(model)(batches))
    assert found.equals(pq.read_table(pa.BufferReader(expected[0][SHARDS[0]])))
    assert list(scale.make_arrow_scorer(model)([])) == []
