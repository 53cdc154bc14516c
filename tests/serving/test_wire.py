"""What happens on the wire itself: pipelining, early ends, slow and broken senders, asked through a bare socket."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from tests.serving.server import NAME, Server, infer, make_body, wait_until

BODY = json.dumps(make_body(id="wire")).encode()
PATH = f"/v2/models/{NAME}/infer"


def write_request(body=BODY, path=PATH, headers=(), length=None, method="POST", version="HTTP/1.1"):
    """Write a request; `length` is what it claims to have."""
    lines = [
        f"{method} {path} {version}",
        "Host: x",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def write_chunks(body, count):
    """Write a request whose body comes in chunks."""
    size = -(-len(body) // count)
    chunks = [body[place : place + size] for place in range(0, len(body), size)]
    head = write_request(b"", headers=["Transfer-Encoding: chunked"]).replace(b"Content-Length: 0\r\n", b"")
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])


@contextlib.contextmanager
def connect(server):
    """Open a connection, and read answers from it."""
    with socket.create_connection(("127.0.0.1", server.http), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client.makefile("rb") as reader:
            yield client, lambda: read_answer(reader)


def read_answer(reader):
    """Read one answer: status, headers, and the parsed body; None when the connection is closed."""
    line = reader.readline()
    if not line:
        return None
    headers = {}
    while header := reader.readline().strip():
        name, _, value = header.decode().partition(": ")
        headers[name.lower()] = value
    return int(line.split()[1]), headers, json.loads(reader.read(int(headers["content-length"])) or "null")


def is_closed(read):
    """Tell whether the server has closed a connection."""
    try:
        return read() is None
    except ConnectionResetError:
        return True


# what is sent, and the statuses that come back
STREAMS = {
    "two at once": (write_request() * 2, [200, 200]),
    "ten at once": (write_request() * 10, [200] * 10),
    "right, wrong, right": (write_request() + write_request(b"{}") + write_request(), [200, 400, 200]),
    "another page in between": (write_request() + write_request(b"", "/v2", method="GET") + write_request(), [200] * 3),
    "chunks": (write_chunks(BODY, 5), [200]),
    "one byte a chunk": (write_chunks(BODY, len(BODY)), [200]),
    "an empty line first": (b"\r\n" + write_request(), [200]),
    "HTTP/1.0": (write_request(version="HTTP/1.0"), [200]),
    "expects to be asked for the body": (write_request(headers=["Expect: 100-continue"]), [100, 200]),
    "offers HTTP/2": (write_request(headers=["Connection: Upgrade", "Upgrade: h2c"]) * 2, [200, 200]),
    "XML": (write_request(headers=["Content-Type: application/xml"]), [200]),
}  # fmt: skip


@pytest.mark.parametrize("case", STREAMS)
def test_streams(server, case):
    sent, statuses = STREAMS[case]
    with connect(server) as (client, read):
        client.sendall(sent)
        found = []
        for status in statuses:
            if status == 100:
                assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
                found.append(100)
            else:
                found.append(read()[0])
    assert found == statuses


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/octet-stream", "application/json; charset=utf-8"]
)
def test_the_body_says_what_it_is_and_not_the_content_type(server, kind):
    with connect(server) as (client, read):
        client.sendall(write_request(headers=[f"Content-Type: {kind}"] if kind else []))
        assert read()[0] == 200


NO_HTTP = {
    "a gRPC client": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS client": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "a proxy's client": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "no method": b"hello\r\n\r\n",
    "a header without a colon": b"GET /v2 HTTP/1.1\r\nnonsense\r\n\r\n",
    "a length that is none": write_request(length="many"),
    "a length below zero": write_request(length=-1),
    "two lengths": write_request(headers=["Content-Length: 3"]),
    "length and chunks": write_request(headers=["Transfer-Encoding: chunked"]),
    "a chunk that is no number": write_chunks(BODY, 1).replace(b"\r\n\r\n", b"\r\n\r\nx", 1),
}


@pytest.mark.parametrize("case", NO_HTTP)
def test_what_is_no_http_is_told_so_and_hung_up(server, case):
    with connect(server) as (client, read):
        client.sendall(NO_HTTP[case])
        status, headers, body = read()
        assert status == 400 and headers["content-type"] == "application/json" and list(body) == ["error"]
        assert is_closed(read)
    assert infer(server, make_body()).status_code == 200


def test_who_has_said_everything_still_gets_the_answer(server):
    with connect(server) as (client, read):
        client.sendall(write_request() * 2)
        client.shutdown(socket.SHUT_WR)
        assert [read()[0], read()[0]] == [200, 200]
        assert is_closed(read)


@pytest.mark.parametrize("sent", [b"", b"POST /v2", write_request(length=len(BODY) + 1)])
def test_who_ends_half_way_is_hung_up(server, sent):
    with connect(server) as (client, read):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert is_closed(read)
    assert infer(server, make_body()).status_code == 200


def test_who_does_not_read_holds_up_nobody(server):
    large = make_body([1.0] * 70_000, [10_000, 7])
    with connect(server) as (client, _):
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.sendall(write_request(json.dumps(large).encode()) * 50)
        for _ in range(20):
            assert infer(server, make_body()).status_code == 200


def test_slow_senders_are_hung_up(folder, tmp_path):
    with Server(tmp_path / "log", "--model-dir", folder, "--body-timeout", "0.5") as server:
        wait_until(server.is_ready)
        with connect(server) as (client, read):
            client.sendall(write_request(BODY[:-1], length=len(BODY)))
            status, headers, body = read()
            assert status == 408 and "The body came too slowly. The server waits 0.5 s." in body["error"]
            assert headers["connection"] == "close" and is_closed(read)
        with connect(server) as (client, read):  # a byte now and then does not help
            client.sendall(write_request(b"", length=len(BODY)))
            with contextlib.suppress(ConnectionError):
                for place in range(len(BODY)):
                    client.sendall(BODY[place : place + 1])
                    time.sleep(0.05)
            assert read()[0] == 408
        assert infer(server, make_body()).status_code == 200


def test_connections_without_a_request_are_hung_up(folder, tmp_path):
    with Server(tmp_path / "log", "--model-dir", folder, "--idle-timeout", "0.6") as server:
        wait_until(server.is_ready)
        with connect(server) as (client, read):  # says nothing, or was answered and says nothing more
            assert is_closed(read)
        with connect(server) as (client, read):
            client.sendall(write_request())
            assert read()[0] == 200 and is_closed(read)
        with connect(server) as (client, read), contextlib.suppress(ConnectionError):
            for place in range(100):  # headers without an end
                client.sendall(b"GET /v2 HTTP/1.1\r\n" if place == 0 else b"X-More: 1\r\n")
                time.sleep(0.05)
            raise AssertionError("five seconds of headers were read")
