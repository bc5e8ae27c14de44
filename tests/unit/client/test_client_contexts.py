"""Contexts in docker's own form."""

import hashlib
import json
from pathlib import Path

import pytest

from naru.base.errors import InvalidParameter, NotFound
from naru.client.contexts import Context, ContextEndpoint, ContextStore, check_name, write_current
from naru.client.endpoint import TlsFiles, dialer, split_address


def test_a_context_is_kept_as_docker_keeps_it(tmp_path: Path) -> None:
    store = ContextStore(str(tmp_path))
    endpoint = ContextEndpoint("tcp://h:2376", True)
    store.save(Context("prod", endpoint, "the real one", {"other": 1}), {"ca.pem": b"CA"})
    digest = hashlib.sha256(b"prod").hexdigest()
    document = json.loads((tmp_path / "contexts/meta" / digest / "meta.json").read_text())
    assert document == {
        "Name": "prod",
        "Metadata": {"other": 1, "Description": "the real one"},
        "Endpoints": {"docker": {"Host": "tcp://h:2376", "SkipTLSVerify": True}},
    }
    ca = tmp_path / "contexts/tls" / digest / "docker/ca.pem"
    assert ca.read_bytes() == b"CA"
    assert ca.stat().st_mode & 0o777 == 0o600
    loaded = store.load("prod")
    assert loaded.endpoint == ContextEndpoint(
        "tcp://h:2376", True, TlsFiles(str(ca), "", "", False)
    )
    assert (loaded.description, store.names()) == ("the real one", ["prod"])
    store.remove("prod")
    assert store.names() == []
    with pytest.raises(NotFound, match='context "prod": context not found'):
        store.load("prod")


def test_a_broken_context_is_named_and_left_out_of_the_list(tmp_path: Path) -> None:
    folder = tmp_path / "contexts/meta" / hashlib.sha256(b"bad").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{")
    store = ContextStore(str(tmp_path))
    assert store.names() == []
    with pytest.raises(InvalidParameter, match='context "bad" is broken'):
        store.load("bad")


@pytest.mark.parametrize("name", ["default", "", "a", "-ab", "a b", "../x"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidParameter):
        check_name(name)


def test_the_current_context_leaves_the_rest_of_the_configuration(tmp_path: Path) -> None:
    write_current(str(tmp_path), {"psFormat": "x"}, "prod")
    path = tmp_path / "config.json"
    assert json.loads(path.read_text()) == {"psFormat": "x", "currentContext": "prod"}
    write_current(str(tmp_path), json.loads(path.read_text()), "default")
    assert json.loads(path.read_text()) == {"psFormat": "x"}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("h:1", ("h", 1)), ("h", ("h", 2375)), (":5", ("127.0.0.1", 5)), ("[::1]:6", ("::1", 6)),
        ("[::1]", ("::1", 2375)),
    ],
)  # fmt: skip
def test_addresses(address: str, found: tuple[str, int]) -> None:
    assert split_address(address, 2375) == found


@pytest.mark.parametrize("host", ["ssh://x", "npipe://x", "tcp://h:port"])
def test_hosts_that_cannot_be(host: str) -> None:
    with pytest.raises(InvalidParameter):
        dialer(host, None)
