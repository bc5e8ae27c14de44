"""Raw bytes at the API: requests that can be read in two ways, limits, deadlines, odd names."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from attacks import DEADLINE_S, connect, raw, read_all
from engine_lab import ApiError, EngineLab, engine_lab, until

pytestmark = pytest.mark.root

SECOND = b"POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 18\r\n\r\n" + (
    b'{"Name":"smuggled"}'
)


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(30) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def unharmed(lab: EngineLab) -> Iterator[None]:
    """After each attack: it answers others, nothing was smuggled in, nobody saw a traceback."""
    yield
    lab.remove_all()
    assert lab.call("GET", "/_ping") == b"OK"
    names = [volume["Name"] for volume in lab.json("GET", "/volumes")["Volumes"] or []]
    assert "smuggled" not in names
    log = lab.log.read_bytes()
    assert b"Traceback" not in log
    assert b"\x1b" not in log and b"\0" not in log


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/volumes/create") -> bytes:
    return b"\r\n".join((b"POST %b HTTP/1.1" % path, b"Host: d", *lines, b"", body))


AMBIGUOUS = {
    "length-and-chunked": post(
        b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SECOND
    ),
    "chunked-and-length": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 0", body=b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "two-lengths": post(b"Content-Length: 0", b"Content-Length: 200", body=SECOND),
    "same-length-twice": post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "list-of-lengths": post(b"Content-Length: 0, 200", body=SECOND),
    "signed-length": post(b"Content-Length: +2", body=b"{}"),
    "negative-length": post(b"Content-Length: -1", body=SECOND),
    "hex-length": post(b"Content-Length: 0x2", body=b"{}"),
    "huge-length": post(b"Content-Length: 99999999999999999999999", body=b"{}"),
    "folded": post(b"Content-Length: 2", b"X: a", b" Transfer-Encoding: chunked", body=b"{}"),
    "folded-length": post(b"Content-Length:", b"\t200", body=SECOND),
    "space-before-colon": post(b"Content-Length : 200", body=SECOND),
    "bare-lf": b"POST /volumes/create HTTP/1.1\nHost: d\nContent-Length: 0\n\n" + SECOND,
    "bare-lf-header": b"GET /_ping HTTP/1.1\r\nHost: d\nContent-Length: 200\r\n\r\n" + SECOND,
    "bare-cr": b"GET /_ping HTTP/1.1\r\nHost: d\rContent-Length: 200\r\n\r\n" + SECOND,
    "nul-in-value": b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: a\0b\r\n\r\n",
    "two-codings": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "odd-coding": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SECOND),
    "coding-twice": post(
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"
    ),
    "tab-coding": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SECOND),
    "two-hosts": b"GET /_ping HTTP/1.1\r\nHost: d\r\nHost: e\r\n\r\n",
    "chunk-signed": post(b"Transfer-Encoding: chunked", body=b"+2\r\n{}\r\n0\r\n\r\n"),
    "chunk-hex": post(b"Transfer-Encoding: chunked", body=b"0x2\r\n{}\r\n0\r\n\r\n"),
    "chunk-overlong": post(
        b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n"
    ),
    "chunk-bare-lf": post(b"Transfer-Encoding: chunked", body=b"2\n{}\n0\n\n" + SECOND),
    "chunk-no-end": post(b"Transfer-Encoding: chunked", body=b"2\r\n{}X\r\n0\r\n\r\n"),
    "no-version": b"GET /_ping\r\n\r\n",
    "version-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown-method": b"SMUGGLE / HTTP/1.1\r\nHost: d\r\n\r\n",
    "space-in-target": b"GET /_ping x HTTP/1.1\r\nHost: d\r\n\r\n",
    "no-path": b"GET _ping HTTP/1.1\r\nHost: d\r\n\r\n",
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n",
    "header-without-name": b"GET /_ping HTTP/1.1\r\n: x\r\n\r\n",
    "header-without-colon": b"GET /_ping HTTP/1.1\r\nHost: d\r\nnonsense\r\n\r\n",
}


@pytest.mark.parametrize("name", sorted(AMBIGUOUS))
def test_what_can_be_read_in_two_ways_is_refused(lab: EngineLab, name: str) -> None:
    said = raw(lab, AMBIGUOUS[name] + b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")) or not said, said[:200]
    assert said.count(b"HTTP/1.1 ") <= 1, "bytes of a refused request were read as the next one"


def test_the_head_is_bounded(lab: EngineLab) -> None:
    line = b"X-Filler: " + b"a" * 8000 + b"\r\n"
    said = raw(lab, b"GET /_ping HTTP/1.1\r\nHost: d\r\n" + line * 40 + b"\r\n")
    assert b" 431 " in said.partition(b"\r\n")[0]
    assert b" 431 " in raw(lab, b"GET /" + b"a" * 200_000)
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(9000))
    said = raw(lab, b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n" + many + b"\r\n")
    assert said.startswith((b"HTTP/1.1 200", b"HTTP/1.1 4"))


def test_slow_heads_end_within_their_deadline(lab: EngineLab) -> None:
    """A byte a moment does not push the deadline, and the engine answers others meanwhile."""
    begun = time.monotonic()
    slow = [connect(lab, 0.2) for _ in range(20)]
    try:
        for sock in slow:
            sock.sendall(b"GET /_ping HTTP/1.1\r\nX-Slow: ")
        open_ones = list(slow)
        while open_ones and time.monotonic() - begun < DEADLINE_S:
            for sock in list(open_ones):
                with contextlib.suppress(TimeoutError):
                    try:
                        sock.sendall(b"a")
                        said = sock.recv(4096)
                    except ConnectionError:
                        said = b""
                    assert not said or b" 408 " in said
                    open_ones.remove(sock)
                assert lab.call("GET", "/_ping") == b"OK"
        assert not open_ones
        assert 8 < time.monotonic() - begun < 14
    finally:
        for sock in slow:
            sock.close()


def test_bodies_are_bounded(lab: EngineLab) -> None:
    kind = b"Content-Type: application/json"
    said = raw(lab, post(kind, b"Content-Length: 5000000000", body=b"{"))
    assert said.startswith(b"HTTP/1.1 400 ") and b"over its limit" in said
    with connect(lab) as sock:
        with contextlib.suppress(ConnectionError, TimeoutError):
            sock.sendall(post(kind, b"Transfer-Encoding: chunked"))
            for _ in range(80):
                sock.sendall(b"20000\r\n" + b" " * 0x20000 + b"\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


DEEP = 200_000
DEEP_BODIES = {
    "lists": b"[" * DEEP,
    "objects": b'{"a":' * DEEP,
    "closed": b"[" * DEEP + b"]" * DEEP,
    "unknown-field": b'{"Image":"busybox","Nonsense":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "volumes": b'{"Image":"busybox","Volumes":' + b'{"/a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "options": b'{"Image":"busybox","HostConfig":{"StorageOpt":' + b'{"a":' * DEEP,
    "number": b'{"HostConfig":{"Memory":1' + b"0" * 100_000 + b"}}",
    "exponent": b'{"HostConfig":{"Memory":1e999999999}}',
    "nan": b'{"HostConfig":{"Memory":NaN}}',
    "surrogate": b'{"Image":"busybox","Hostname":"\\ud800"}',
    "not-utf8": b'{"Image":"busybox","Hostname":"\xff\xfe"}',
    "nul": b'{"Image":"busybox","Cmd":["a\\u0000b"]}',
    "empty": b"",
    "null": b"null",
    "two": b"{} {}",
}


@pytest.mark.parametrize("name", sorted(DEEP_BODIES))
def test_odd_json_is_the_clients_fault(lab: EngineLab, name: str) -> None:
    body = DEEP_BODIES[name]
    lines = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    for path in (b"/containers/create", b"/volumes/create", b"/containers/nobody/update"):
        if name in ("nul", "surrogate") and path != b"/containers/create":
            continue
        said = raw(lab, post(*lines, body=body, path=path))
        assert said.split(b" ", 2)[1][:1] in (b"4", b"2"), (path, said[:300])
        assert b"\0" not in said


ODD = (
    "../x", "..", ".", "%00", "a%00b", "%2e%2e%2f%2e%2e%2fetc", "..%2f..%2fetc%2fpasswd", "%ff%fe",
    "%ED%A0%80", "a%0d%0aX-Injected:%201", "%1b%5d0;owned%07", "-rf", "--help", "%E2%80%AEtxt",
    "a" * 300, "%C2%B2", "%20", "con:con", "@sha256:", "sha256:" + "g" * 64,
)  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "GET /containers/{}/json", "POST /containers/{}/start", "POST /containers/create?name={}",
        "GET /images/{}/json", "GET /images/{}/get", "DELETE /images/{}", "GET /volumes/{}",
        "DELETE /volumes/{}", "GET /networks/{}", "GET /exec/{}/json", "GET /images/get?names={}",
        "POST /images/busybox/tag?repo={}&tag=x", "POST /images/busybox/tag?repo=x&tag={}",
        "POST /commit?container=nobody&repo={}", "POST /containers/nobody/rename?name={}",
        "GET /containers/json?filters={}", "GET /images/json?filters={}", "GET /events?until={}",
        "GET /containers/json?limit={}", "POST /containers/nobody/stop?t={}",
        "GET /containers/nobody/logs?stdout=1&tail={}", "GET /system/df?type={}",
        "GET /containers/nobody/archive?path={}", "POST /containers/nobody/resize?h={}&w=1",
        "POST /images/create?fromSrc=-&repo={}", "POST /images/create?fromSrc={}",
        "POST /images/create?fromImage={}", "GET /containers/nobody/attach/ws?x={}",
        "POST /containers/nobody/wait?condition={}", "POST /containers/nobody/kill?signal={}",
        "GET /v{}/info", "GET /{}", "GET /plugins/{}",
    ],
)  # fmt: skip
def test_odd_words_are_the_clients_fault(lab: EngineLab, url: str) -> None:
    method, _, path = url.partition(" ")
    for word in ODD:
        body = b'{"Image":"busybox"}' if "create?name" in path else b""
        head = (
            f"{method} {path.format(word)} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        said = raw(lab, head.encode() + body)
        top, _, rest = said.partition(b"\r\n\r\n")
        status = int(top.split(b" ", 2)[1])
        assert status < 500 or status == 501, (word, said[:300])
        assert b"X-Injected" not in top
        if status >= 400 and rest.startswith(b"{"):
            message = json.loads(rest)["message"]
            assert "\x1b" not in message and "\0" not in message, (word, message)


def test_words_of_a_real_container(lab: EngineLab) -> None:
    """The same odd values where a container answers them: no traceback, no 500."""
    container = lab.run("sleep", "1000", name="odd-target")
    for path in (
        "logs?stdout=1&tail={}", "logs?stdout=1&since={}", "logs?stdout=1&until={}",
        "archive?path={}", "archive?path=/proc/{}",
    ):  # fmt: skip
        for word in ODD:
            try:
                lab.call("GET", f"/containers/{container}/{path.format(word)}")
            except ApiError as error:
                assert error.status < 500, (path, word, error)
    for path in ("resize?h={}&w={}", "rename?name={}", "kill?signal={}", "stop?t=0&signal={}"):
        for word in ODD:
            try:
                lab.call("POST", f"/containers/{container}/{path.format(word, word)}")
            except ApiError as error:
                assert error.status < 500, (path, word, error)


def test_names_never_become_paths(lab: EngineLab) -> None:
    """Names, also ones with the shape of an id, in create and in the names of volumes."""
    for name in ("../x", "a/b", "x\0y", "ünïcode", "x y", "", ".hidden", "-x", "x\n", "x\x1b[2J"):
        if name:
            with pytest.raises(ApiError) as caught:
                lab.json("POST", f"/containers/create?name={quote(name)}", {"Image": "busybox"})
            assert caught.value.status == 400, name
            with pytest.raises(ApiError) as caught:
                lab.json("POST", "/volumes/create", {"Name": name})
            assert caught.value.status == 400, name
        with pytest.raises(ApiError) as caught:
            lab.create("true", HostConfig={"Binds": [f"{name}:/x"]})
        assert caught.value.status == 400, name
    first = lab.create("true", name="plain")
    lab.create("true", name=first)
    lab.create("true", name=first[:12])
    assert lab.inspect(first)["Name"] == "/plain", "a name hides no id"
    lab.remove_all()


def test_an_unfinished_upload_does_not_hold_a_container(lab: EngineLab) -> None:
    """An archive that comes by drops: stop and removal do not wait for it."""
    container = lab.run("sleep", "1000")
    with connect(lab) as slow:
        slow.sendall(
            b"PUT /containers/%b/archive?path=/tmp HTTP/1.1\r\nHost: d\r\n"
            b"Content-Length: 1000000\r\n\r\nabc" % container.encode()
        )
        begun = time.monotonic()
        lab.call("POST", f"/containers/{container}/kill")
        assert time.monotonic() - begun < 2
        lab.call("DELETE", f"/containers/{container}?force=1")
        assert time.monotonic() - begun < 10
    until(lambda: not lab.leftovers(), "nothing is left of the container")


FIELDS: dict[str, Any] = {
    "": ["Hostname", "Domainname", "User", "WorkingDir", "StopSignal", "Image", "MacAddress"],
    "[]": ["Env", "Cmd", "Entrypoint", "Shell"],
    "{}": ["ExposedPorts", "Volumes", "Labels"],
    "Host": [
        "NetworkMode", "IpcMode", "PidMode", "UTSMode", "UsernsMode", "CgroupnsMode", "Cgroup",
        "CgroupParent", "CpusetCpus", "CpusetMems", "Runtime", "Isolation", "VolumeDriver",
        "ContainerIDFile",
    ],
    "Host[]": [
        "Binds", "VolumesFrom", "CapAdd", "CapDrop", "Dns", "DnsOptions", "DnsSearch",
        "ExtraHosts", "GroupAdd", "Links", "SecurityOpt", "DeviceCgroupRules", "MaskedPaths",
        "ReadonlyPaths",
    ],
    "Host{}": ["Sysctls", "Tmpfs", "StorageOpt", "Annotations"],
}  # fmt: skip
ODD_VALUES = (
    "../x", "²", "9" * 5000, "-1", "a\0b", "a\nb", "\x1b[2J", "a=b=c", ":", "::::", "/../../etc",
    "x" * 100_000, "/proc/self/fd/9", "٣:٣", "{" * 100, "%s%n", "container:", "host:",
    "8.8.8.8:" + "9" * 5000, "9" * 5000 + "/tcp",
)  # fmt: skip


def _bodies(value: str) -> Iterator[dict[str, Any]]:
    for kind, names in FIELDS.items():
        for name in names:
            inner: Any = value
            if "[]" in kind:
                inner = [value]
            elif "{}" in kind:
                inner = {value: {}} if name in ("ExposedPorts", "Volumes") else {value: value}
            yield {"HostConfig": {name: inner}} if kind.startswith("Host") else {name: inner}
    yield {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": value, "HostIp": value}]}}}
    yield {"HostConfig": {"PortBindings": {value: [{"HostPort": "1"}]}}}
    yield {"HostConfig": {"RestartPolicy": {"Name": value}}}
    yield {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": value}}}}
    yield {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-file": value}}}}
    yield {"HostConfig": {"LogConfig": {"Type": value}}}
    yield {"HostConfig": {"Ulimits": [{"Name": value, "Soft": 1, "Hard": 1}]}}
    yield {"HostConfig": {"Devices": [{"PathOnHost": value, "PathInContainer": value}]}}
    yield {"HostConfig": {"BlkioDeviceReadBps": [{"Path": value, "Rate": 1}]}}
    for kind in ("bind", "volume", "tmpfs", value):
        mount = {"Type": kind, "Source": value, "Target": "/" + value}
        yield {"HostConfig": {"Mounts": [mount]}}
    yield {"HostConfig": {"Mounts": [
        {"Type": "volume", "Target": "/x", "VolumeOptions": {"Subpath": value}}
    ]}}  # fmt: skip
    yield {"Healthcheck": {"Test": [value]}}
    yield {"NetworkingConfig": {"EndpointsConfig": {value: {"IPAMConfig": {"IPv4Address": value}}}}}


@pytest.mark.parametrize("number", range(len(ODD_VALUES)))
def test_odd_fields_are_the_clients_fault(lab: EngineLab, number: int) -> None:
    """Whatever string stands in whatever field of create: taken or refused, never a 500."""
    sent = [{"Image": "busybox", **body} for body in _bodies(ODD_VALUES[number])]
    with connect(lab) as sock:
        stream = sock.makefile("rb")
        for body in sent:
            data = json.dumps(body).encode()
            lines = (b"Content-Type: application/json", b"Content-Length: %d" % len(data))
            sock.sendall(post(*lines, body=data, path=b"/containers/create"))
            status = int(stream.readline().split()[1])
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            said = stream.read(length)
            assert status < 500 or status == 501, (str(body)[:200], said[:300])
