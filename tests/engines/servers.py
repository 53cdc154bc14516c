"""Real servers from Debian packages: PostgreSQL behind MLflow, and the Ceph RADOS Gateway as its object store.

Every server listens on loopback, keeps its state in a folder of its own and is ended by the pid it was started with.
`packages.txt` beside this file lists the Debian packages; `.ci/packages` installs them.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import requests

from fraud_demo.core import ObjectStore, ServiceError, Settings, load_settings
from fraud_demo.registry import open_bucket
from fraud_demo.workshop.stack import POOL, call_supervisor, start_stack, stop_stack


def find_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs, which Debian keeps off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def list_missing() -> list[str]:
    """Name what is missing on this machine to start these servers."""
    missing = [
        name for name in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin") if not shutil.which(name)
    ]
    missing += [] if importlib.util.find_spec("psycopg2") else ["psycopg2"]
    return missing if find_postgres() else ["postgres", *missing]


class Server:
    """A process in a session of its own, with a log, that can be killed and started again."""

    command: Sequence[str | Path] = ()
    environ: dict[str, str] | None = None
    user: str | None = None

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def is_ready(self) -> bool:
        """Tell whether it does its work, not whether it lives."""
        raise NotImplementedError

    def start(self, timeout_s: float = 120.0) -> None:
        """Start it, and wait until it works."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                list(map(str, self.command)), env=self.environ, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, user=self.user, group=self.user,
            )  # fmt: skip
        wait_for(self.is_ready, timeout_s, self.folder / "log", self.process)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; after a while, end it."""
        try:
            self.end(signal.SIGTERM, timeout_s=15)
        except subprocess.TimeoutExpired:
            self.kill()

    def end(self, number: int, timeout_s: float = 20.0) -> None:
        """Send a signal to the process and its children, and wait for the process."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait(timeout_s)


def wait_for(
    is_ready: Callable[[], bool], timeout_s: float, log: Path, process: subprocess.Popen | None = None
):
    """Wait until something is ready; show the end of a log when it does not become so."""
    end = time.monotonic() + timeout_s
    while not is_ready():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > end:
            raise RuntimeError(f"It {'ended' if ended else 'is not ready'}:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class PostgreSQL(Server):
    """A database cluster that trusts nobody but this machine, by password."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        programs, self.port, self.password = find_postgres(), find_port(), secrets.token_urlsafe(12)
        folder.mkdir(mode=0o755)
        self.user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        owner = self.user or getpass.getuser()
        data, secret = folder / "data", folder / "password"
        data.mkdir(mode=0o700)
        secret.write_text(self.password)
        for path in (folder, data, secret):
            shutil.chown(path, owner)
        self.command = [programs / "postgres", "-D", data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                        "-c", f"unix_socket_directories={folder}", "-c", "max_connections=200"]  # fmt: skip
        make = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "mlflow",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "-E",
            "UTF8",
        ]
        subprocess.run(make, check=True, capture_output=True, user=self.user, group=self.user, cwd=folder)

    def is_ready(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.uri.replace("+psycopg2", ""), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    @property
    def uri(self) -> str:
        """Address for MLflow; it holds the password."""
        return f"postgresql+psycopg2://mlflow:{self.password}@127.0.0.1:{self.port}/postgres"


CEPH = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = {folder}/keyring
run dir = {folder}/run
log file = {folder}/log/$name.log
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon warn on pool no redundancy = false

[mon.a]
mon data = {folder}/mon

[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 10737418240
osd memory target = 939524096

[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {folder}/rgw
"""


class Ceph:
    """The engine of OpenShift Data Foundation on one disk: a monitor, a store and the S3 gateway."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, find_port()
        for name in ("mon", "osd", "run", "log", "rgw"):
            (folder / name).mkdir(parents=True)
        config = CEPH.format(fsid=uuid.uuid4(), v2=find_port(), v1=find_port(), folder=folder, port=self.port)
        (folder / "ceph.conf").write_text(config)
        self.environ = {**os.environ, "CEPH_CONF": str(folder / "ceph.conf")}
        self.programs = [
            self.plan("mon", "ceph-mon", "-f", "-i", "a"),
            self.plan("osd", "ceph-osd", "-f", "-i", "0"),
            self.plan("gateway", "radosgw", "-f", "-n", "client.rgw.a"),
        ]
        key, secret = secrets.token_hex(10), secrets.token_urlsafe(24)
        self.store = ObjectStore(f"http://127.0.0.1:{self.port}", "mlflow", "us-east-1", key, secret)

    def plan(self, name: str, *command: str) -> Server:
        """Describe one of the three programs."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        server = Server(folder)
        server.command, server.environ = command, self.environ
        server.is_ready = {"mon": self.has_monitor, "osd": self.has_disk, "gateway": self.has_gateway}[name]
        return server

    def run(self, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess:
        """Run one of Ceph's commands."""
        return subprocess.run(list(map(str, command)), env=self.environ, check=True, capture_output=True, text=True,
                              timeout=timeout_s, cwd=self.folder)  # fmt: skip

    def has_monitor(self) -> bool:
        try:
            self.run("ceph", "--connect-timeout", "2", "status", timeout_s=5)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
        return True

    def has_disk(self) -> bool:
        return "1 up" in self.run("ceph", "osd", "stat").stdout

    def has_gateway(self) -> bool:
        return listens(self.port)

    def prepare(self) -> None:
        """Make keys, monitor and disk; the first start needs it."""
        keyring, f = self.folder / "keyring", self.folder
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self.run(
            "ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"
        )
        self.run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *everything)
        self.run(
            "ceph-authtool",
            keyring,
            "--gen-key",
            "-n",
            "client.rgw.a",
            "--cap",
            "mon",
            "allow rw",
            "--cap",
            "osd",
            "allow rwx",
        )
        self.run(
            "ceph-authtool",
            keyring,
            "--gen-key",
            "-n",
            "osd.0",
            "--cap",
            "mon",
            "allow profile osd",
            "--cap",
            "osd",
            "allow *",
        )
        settings = dict(
            line.split(" = ") for line in (f / "ceph.conf").read_text().splitlines() if " = " in line
        )
        self.run(
            "monmaptool",
            "--create",
            "--fsid",
            settings["fsid"],
            "--addv",
            "a",
            settings["mon host"],
            f / "monmap",
        )
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", f / "monmap", "--keyring", keyring)
        self.programs[0].start()
        disk = str(uuid.uuid4())
        self.run("ceph", "osd", "new", disk)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)

    def start(self) -> None:
        """Start what does not run, and wait until the gateway answers."""
        if not (self.folder / "keyring").exists():
            self.prepare()
        for program in self.programs:
            if program.process is None or program.process.poll() is not None:
                program.start()

    def make_bucket(self) -> None:
        """Make the user and the bucket."""
        keys = ("--access-key", self.store.access_key, "--secret", self.store.secret_key)
        self.run("radosgw-admin", "user", "create", "--uid", "workbook", "--display-name", "Workbook", *keys)
        open_bucket(self.store, attempts=10).create_bucket(Bucket=self.store.bucket)

    def kill(self) -> None:
        """End all three at once."""
        for program in reversed(self.programs):
            program.kill()

    stop = kill  # nothing is kept, so nothing needs to be closed


class MLflow(Server):
    """An MLflow server on any database and any object store, as the local stack starts it."""

    def __init__(self, folder: Path, database: str, store: ObjectStore):
        super().__init__(folder)
        folder.mkdir()
        self.port = find_port()
        start = "from fraud_demo.workshop.stack import run_mlflow; run_mlflow()"
        self.command = [sys.executable, "-c", start, "server", "--workers=1", "--host=127.0.0.1", f"--port={self.port}",
                        f"--artifacts-destination=s3://{store.bucket}"]  # fmt: skip
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
        self.environ = (
            own
            | POOL
            | {
                "MLFLOW_BACKEND_STORE_URI": database,  # not in the arguments, where every user of the machine reads it
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_S3_ENDPOINT_URL": store.endpoint,
                "AWS_ACCESS_KEY_ID": store.access_key,
                "AWS_SECRET_ACCESS_KEY": store.secret_key,
                "AWS_DEFAULT_REGION": store.region,
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/2.0/mlflow/experiments/search?max_results=1", timeout=5).ok
        except requests.RequestException:
            return False


@dataclass
class Pair:
    """An MLflow server with its database and its object store."""

    name: str
    settings: Settings  # of somebody without a seat
    environ: dict[str, str]  # the same as environment variables, for another process
    kill_mlflow: Callable[[], None]  # kill it and wait until it works again
    kill_store: Callable[[], None]  # the same for the object store


def start_postgres_and_ceph(folder: Path) -> tuple[Pair, Callable[[], None]]:
    """Start MLflow on PostgreSQL and Ceph; return the pair and what ends it."""
    database, ceph = PostgreSQL(folder / "postgres"), Ceph(folder / "ceph")
    started: list = [database, ceph]

    def stop() -> None:
        for server in reversed(started):
            server.stop()

    try:
        database.start()
        ceph.start()
        ceph.make_bucket()
        mlflow = MLflow(folder / "mlflow", database.uri, ceph.store)
        started.append(mlflow)
        mlflow.start()
    except BaseException:
        stop()
        raise

    def restart(server) -> Callable[[], None]:
        def kill() -> None:
            server.kill()
            server.start()

        return kill

    store = ceph.store
    environ = {
        "FRAUD_DEMO_HOME": str(folder / "home"),
        "MLFLOW_TRACKING_URI": mlflow.url,
        "AWS_S3_ENDPOINT": store.endpoint,
        "AWS_S3_BUCKET": store.bucket,
        "AWS_DEFAULT_REGION": store.region,
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
    }
    settings = Settings(home=folder / "home", mlflow_tracking_uri=mlflow.url, object_store=store)
    return Pair("PostgreSQL and Ceph", settings, environ, restart(mlflow), restart(ceph)), stop


def start_local_stack(folder: Path) -> tuple[Pair, Callable[[], None]]:
    """Start what `fraud-demo up` starts, in a folder of its own; return the pair and what ends it."""
    environ = {"FRAUD_DEMO_HOME": str(folder / "home")}
    settings = load_settings(environ)
    stop = partial(stop_stack, settings)
    try:
        start_stack(settings)
    except BaseException:
        stop()
        raise
    return describe_stack(folder / "home"), stop


def describe_stack(home: Path) -> Pair:
    """Return a running local stack as a pair of servers; what is killed starts again."""
    environ = {"FRAUD_DEMO_HOME": str(home)}
    settings = load_settings(environ)

    def kill(service: str) -> None:
        programs = {program["name"]: program for program in call_supervisor(home, "getAllProcessInfo")}
        os.kill(programs[service]["pid"], signal.SIGKILL)
        # The supervisor gives up on what dies three times while it starts; a second call mends that.
        with suppress(ServiceError):
            start_stack(settings)
            return
        start_stack(settings)

    return Pair(
        "SQLite and SeaweedFS", settings, environ, partial(kill, "mlflow"), partial(kill, "object_store")
    )
