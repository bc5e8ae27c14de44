"""Hostile archives through load, import and PUT archive: a clear 400, and an untouched host."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from attacks import DIR, FIFO, LNK, REG, SYM, Canary, Member, archive
from engine_lab import ApiError, EngineLab, engine_lab

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(39) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture(autouse=True)
def canary(lab: EngineLab, tmp_path: Path) -> Iterator[Canary]:
    host = Canary(tmp_path / "canary")
    kept = blobs(lab)
    yield host
    host.check()
    lab.remove_all()
    for image in lab.json("GET", "/images/json?all=1"):
        if "busybox:latest" not in image["RepoTags"]:
            lab.call("DELETE", f"/images/{image['Id']}?force=1")
    assert blobs(lab) == kept, "a refused archive left blobs, layers or temporary files"
    assert b"Traceback" not in lab.log.read_bytes()


def blobs(lab: EngineLab) -> set[str]:
    """Files of the content store and layers, by path."""
    found = set()
    for folder in ("content", "snapshots/layers", "snapshots/tmp", "spill"):
        for root, names, files in os.walk(lab.data_root / folder):
            found.update(os.path.join(root, name) for name in files)
            if root.endswith("layers"):
                found.update(os.path.join(root, name) for name in names)
                names.clear()
    return found


def refused(lab: EngineLab, url: str, data: bytes) -> str:
    """The message of the 400 that `data` must get (an error in load's progress is as good)."""
    try:
        said = lab.call("POST" if "archive?" not in url else "PUT", url, raw=data)
    except ApiError as error:
        assert error.status in (400, 404, 409), error
        assert 10 < len(error.message) < 1000 and error.message.isprintable(), error.message
        return error.message
    lines = [json.loads(line) for line in said.splitlines() if line]
    errors = [line["error"] for line in lines if "error" in line]
    assert errors, said[:300]
    assert not errors[0].startswith("internal error"), errors
    return str(errors[0])


def escapes(canary: str) -> dict[str, bytes]:
    up = "../" * 14
    return {
        "absolute": archive((f"{canary}/file", REG, b"dead")),
        "dots": archive((f"{up}{canary[1:]}/file", REG, b"dead")),
        "symlink": archive(("l", SYM, canary), ("l/file", REG, b"dead")),
        "relative symlink": archive(("l", SYM, up + canary[1:]), ("l/file", REG, b"dead")),
        "chain": archive(
            ("a", SYM, "."), ("a/b", SYM, ".."), ("b/b/c", SYM, "../.."), ("a/b/c/x", REG, b"d")
        ),
        "hard link": archive(("h", LNK, f"{canary}/file")),
        "hard link up": archive(("h", LNK, f"{up}{canary[1:]}/file")),
        "hard link by link": archive(("l", SYM, canary), ("h", LNK, "l/file"), ("h", REG, b"d")),
        "chmod": archive(("l", SYM, canary), ("l/", DIR, "")),
        "file as parent": archive(("f", REG, b"1"), ("f/x", REG, b"dead")),
        "nul": archive(("x", REG, b""), headers={"path": "a\0b"}),
        "long": archive(("n" * 300, REG, b"")),
        "no tar": b"\x01" * 4096,
        "cut": archive(("x", REG, b"1" * 50000))[:3000],
        "cut gzip": gzip.compress(os.urandom(100_000))[:5000],
        "bad gzip": b"\x1f\x8b" + os.urandom(100),
        "bad zstd": b"\x28\xb5\x2f\xfd" + os.urandom(500),
        "bad xz": b"\xfd7zXZ\0" + os.urandom(500),
    }


WHITEOUTS = {
    "whiteout up": archive((".wh...", REG, b"")),
    "whiteout self": archive((".wh..", REG, b"")),
    "whiteout none": archive(("a/.wh.", REG, b"")),
}
NAMES = sorted(escapes("/c"))
# What a layer may hold all the same: it lands inside.
INSIDE = {"chmod", "absolute"}


@pytest.mark.parametrize("name", NAMES)
def test_put_archive(lab: EngineLab, canary: Canary, name: str) -> None:
    for box in (lab.create("true"), lab.run("sleep", "1000")):
        data = escapes(str(canary))[name]
        if name == "chmod":
            lab.call("PUT", f"/containers/{box}/archive?path=/tmp", raw=data)
        else:
            refused(lab, f"/containers/{box}/archive?path=/tmp", data)
    lab.remove_all()


@pytest.mark.parametrize("name", [*NAMES, *WHITEOUTS])
def test_import(lab: EngineLab, canary: Canary, name: str) -> None:
    data = {**escapes(str(canary)), **WHITEOUTS}[name]
    if name in ("chmod", *WHITEOUTS):
        try:
            lab.call("POST", "/images/create?fromSrc=-&repo=inside&tag=x", raw=data)
        except ApiError as error:
            assert error.status == 400
        else:
            lab.call("DELETE", "/images/inside:x?force=1")
    else:
        refused(lab, "/images/create?fromSrc=-&repo=evil&tag=x", data)


# -- load


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_of(*layers: bytes, **fields: Any) -> bytes:
    return json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}, **fields,
    }).encode()  # fmt: skip


def saved(*members: Member, manifest: Any = None, config: bytes | None = None) -> bytes:
    """docker save's format with one good layer, and whatever else is to go wrong."""
    config = config_of(LAYER) if config is None else config
    manifest = manifest if manifest is not None else _manifest()
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return archive(
        ("manifest.json", REG, text), ("c.json", REG, config), ("l/layer.tar", REG, LAYER), *members
    )


def _manifest(**fields: Any) -> list[dict[str, Any]]:
    entry = {"Config": "c.json", "RepoTags": ["evil:x"], "Layers": ["l/layer.tar"]}
    return [{**entry, **fields}]


LAYER = archive(("x", REG, b"layer"))


def layout(index: Any, *contents: bytes, names: dict[str, bytes] | None = None) -> bytes:
    """An OCI layout; `contents` by their true digests, `names` under any other."""
    files = {digest(content).replace("sha256:", "blobs/sha256/"): content for content in contents}
    files.update(names or {})
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    return archive(
        ("oci-layout", REG, b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", REG, text),
        *[(name, REG, content) for name, content in files.items()],
    )  # fmt: skip


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def point(data: bytes, kind: str = MANIFEST, **fields: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **fields}


def oci_manifest(**fields: Any) -> bytes:
    config = config_of(LAYER)
    return json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": point(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [point(LAYER, "application/vnd.oci.image.layer.v1.tar")], **fields,
    }).encode()  # fmt: skip


def index_of(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}


def fan_out() -> bytes:
    """Five small documents that name each other nine hundred times each."""
    documents = [oci_manifest()]
    for depth in range(4):
        entry = point(documents[-1], INDEX if depth else MANIFEST)
        documents.append(json.dumps(index_of(*[entry] * 900)).encode())
    return layout(index_of(*[point(documents[-1], INDEX)] * 900), *documents)


def layouts(canary: str) -> dict[str, bytes]:
    config = config_of(LAYER)
    good = oci_manifest()
    deep = b"[" * 100_000 + b"]" * 100_000
    both = oci_manifest(manifests=[point(good)], mediaType=None)
    traversal = "sha256:../../../../" + canary[1:] + "/file"
    loop = json.dumps(index_of(point(b"x", INDEX))).encode()
    bare = oci_manifest(config=point(b"[]"))
    return {
        "digest is a path": layout(index_of(point(good, digest=traversal)), good, config, LAYER),
        "digest of another kind": layout(
            index_of(point(good, digest="md5:" + "0" * 32)), good, config, LAYER
        ),
        "digest with capitals": layout(
            index_of(point(good, digest=digest(good).upper())), good, config, LAYER
        ),
        "digest is no text": layout(index_of(point(good, digest=7)), good, config, LAYER),
        "wrong size": layout(index_of(point(good, size=1)), good, config, LAYER),
        "negative size": layout(index_of(point(good, size=-1)), good, config, LAYER),
        "giant size": layout(index_of(point(good, size=1 << 80)), good, config, LAYER),
        "wrong content": layout(
            index_of(point(good)), config, LAYER,
            names={digest(good).replace("sha256:", "blobs/sha256/"): good + b" "},
        ),
        "wrong layer": layout(
            index_of(point(good)), good, config,
            names={digest(LAYER).replace("sha256:", "blobs/sha256/"): LAYER + bytes(512)},
        ),
        "missing layer": layout(index_of(point(good)), good, config),
        "layers and manifests": layout(index_of(point(both)), both, good, config, LAYER),
        "manifest called index": layout(index_of(point(good, INDEX)), good, config, LAYER),
        "index in itself": layout(loop, loop),
        "deep index": layout(deep),
        "giant index": layout(b'{"manifests":[' + b" " * (20 << 20) + b"]}"),
        "index of indexes of indexes": fan_out(),
        "manifest is a list": layout(index_of(point(b"[]")), b"[]"),
        "manifest is a number": layout(index_of(point(b"7", INDEX)), b"7"),
        "manifest is broken": layout(index_of(point(b"{")), b"{"),
        "manifest is deep": layout(index_of(point(deep)), deep),
        "config is a list": layout(index_of(point(bare)), bare, b"[]", LAYER),
        "index is a list": layout([]),
        "no manifests": layout({"schemaVersion": 2}),
        "two thousand manifests": layout(
            index_of(*[point(good, digest=digest(b"%d" % n)) for n in range(2000)])
        ),
        "layout is a link": archive(
            ("oci-layout", REG, b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", SYM, f"{canary}/file"),
        ),
        "layout of the future": archive(
            ("oci-layout", REG, b'{"imageLayoutVersion":"9.0.0"}'), ("index.json", REG, b"{}")
        ),
    }  # fmt: skip


def saves(canary: str) -> dict[str, bytes]:
    up = "../" * 14 + canary[1:] + "/file"
    many = {"Layers": ["l/layer.tar"] * 5000}
    escape = archive(("l", SYM, canary), ("l/file", REG, b"dead"))
    bomb = gzip.compress(bytes(64 << 20))
    return {
        "config is a path": saved(manifest=_manifest(Config=f"{canary}/file")),
        "config goes up": saved(manifest=_manifest(Config=up)),
        "config is a link": saved(("k", SYM, f"{canary}/file"), manifest=_manifest(Config="k")),
        "config is a hard link": archive(
            ("manifest.json", REG, json.dumps(_manifest(Config="k")).encode()),
            ("k", LNK, f"{canary}/file"), ("l/layer.tar", REG, LAYER),
        ),
        "layer is a path": saved(manifest=_manifest(Layers=[f"{canary}/file"])),
        "layer goes up": saved(manifest=_manifest(Layers=[up])),
        "layer is a link": saved(
            ("k", SYM, f"{canary}/file"), manifest=_manifest(Layers=["k"])
        ),
        "layer is a link up": saved(
            ("k/layer.tar", SYM, up), manifest=_manifest(Layers=["k/layer.tar"])
        ),
        "layer is a fifo": saved(("k", FIFO, ""), manifest=_manifest(Layers=["k"])),
        "layer is a directory": saved(("k", DIR, ""), manifest=_manifest(Layers=["k"])),
        "layer links in a loop": saved(
            ("k", SYM, "j"), ("j", SYM, "k"), manifest=_manifest(Layers=["k"])
        ),
        "folder is a link": archive(
            ("manifest.json", REG, json.dumps(_manifest()).encode()),
            ("c.json", REG, config_of(LAYER)), ("l", SYM, canary),
            ("l/layer.tar", REG, LAYER), ("l/new", REG, b"dead"),
        ),
        "escape in a layer": saved(
            ("e.tar", REG, escape), manifest=_manifest(Layers=["e.tar"]), config=config_of(escape)
        ),
        "manifest is a link": archive(("manifest.json", SYM, f"{canary}/file")),
        "manifest is a directory": archive(("manifest.json", DIR, "")),
        "manifest is deep": saved(manifest=b"[" * 200_000),
        "manifest is giant": saved(manifest=b"[" + b" " * (40 << 20) + b"]"),
        "manifest is text": saved(manifest=["x"]),
        "config is deep": saved(config=b'{"config":' * 100_000),
        "config is giant": saved(config=config_of(LAYER, comment="x" * (20 << 20))),
        "config has other layers": saved(config=config_of(LAYER, LAYER)),
        "config has no layers": saved(config=config_of()),
        "config has a wrong layer": saved(config=config_of(b"x")),
        "config has a path as layer": saved(config=config_of(LAYER).replace(
            digest(LAYER).encode(), b"sha256:../../../" + canary.encode())),
        "five thousand layers": saved(
            manifest=_manifest(**many), config=config_of(*[LAYER] * 5000)
        ),
        "tag is a path": saved(manifest=_manifest(RepoTags=["../../evil:x"])),
        "tag is no tag": saved(manifest=_manifest(RepoTags=["evil:\x1b[2J"])),
        "tag is an id": saved(manifest=_manifest(RepoTags=["sha256:" + "a" * 64])),
        "layer is a bomb": saved(("b", REG, bomb), manifest=_manifest(Layers=["b"])),
        "empty": archive(),
        "no manifest": archive(("x", REG, b"x")),
        "twice": saved(("manifest.json", SYM, f"{canary}/file")),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(layouts("/c")))
def test_load_of_a_layout(lab: EngineLab, canary: Canary, name: str) -> None:
    message = refused(lab, "/images/load", layouts(str(canary))[name])
    assert Canary.SECRET.decode() not in message


@pytest.mark.parametrize("name", sorted(saves("/c")))
def test_load_of_a_save(lab: EngineLab, canary: Canary, name: str) -> None:
    data = saves(str(canary))[name]
    if name in ("folder is a link", "twice"):
        lab.call("POST", "/images/load", raw=data)
        return
    message = refused(lab, "/images/load", data)
    assert Canary.SECRET.decode() not in message


def test_good_ones_are_loaded(lab: EngineLab) -> None:
    """The two forms that the attacks are made of are fine without their attack."""
    lab.call("POST", "/images/load", raw=saved())
    assert lab.inspect(lab.create("sh", Image="evil:x"))["Config"]["Image"] == "evil:x"
    lab.remove_all()
    lab.call("DELETE", "/images/evil:x?force=1")
    good = oci_manifest()
    name = {"annotations": {"org.opencontainers.image.ref.name": "evil:y"}}
    data = layout(index_of(point(good, **name)), good, config_of(LAYER), LAYER)
    assert b"error" not in lab.call("POST", "/images/load", raw=data)
    for image in lab.json("GET", "/images/json"):
        if "busybox:latest" not in image["RepoTags"]:
            lab.call("DELETE", f"/images/{image['Id']}?force=1")


def bomb() -> bytes:
    """Some kilobytes that become gigabytes."""
    header = tarfile.TarInfo("zeros")
    header.size = 1 << 40
    maker = zstandard.ZstdCompressor(level=3).compressobj()
    parts = [maker.compress(header.tobuf(tarfile.GNU_FORMAT))]
    block = bytes(1 << 24)
    parts += [maker.compress(block) for _ in range(220)]
    return b"".join((*parts, maker.flush()))


@pytest.mark.parametrize("way", ["import", "load", "put"])
def test_bombs(lab: EngineLab, canary: Canary, way: str) -> None:
    data = bomb()
    url = "/images/create?fromSrc=-&repo=evil"
    if way == "load":
        url = "/images/load"
    elif way == "put":
        url = f"/containers/{lab.create('true')}/archive?path=/tmp"
    begun = time.monotonic()
    refused(lab, url, data)
    assert time.monotonic() - begun < 20
    assert lab.call("GET", "/_ping") == b"OK"
    lab.remove_all()


def test_an_endless_upload_that_stops(lab: EngineLab, canary: Canary) -> None:
    """Half of an archive, then the client is gone: nothing is kept of it."""
    whole = saved(("filler", REG, os.urandom(1 << 20)))
    for data in (whole[: len(whole) // 2], gzip.compress(whole)[:10_000]):
        refused(lab, "/images/load", data)


def test_names_in_other_encodings_survive(lab: EngineLab, canary: Canary) -> None:
    """Bytes that are no text are a file name as good as any, in and out."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo(os.fsdecode(b"tmp/\xff\xfe\x1b[2J"))
        tar.addfile(info)
    box = lab.create("true")
    lab.call("PUT", f"/containers/{box}/archive?path=/", raw=out.getvalue())
    data = lab.call("GET", f"/containers/{box}/archive?path=/tmp")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert os.fsdecode(b"tmp/\xff\xfe\x1b[2J") in tar.getnames()
    assert lab.json("GET", f"/containers/{box}/changes")
    lab.remove_all()
