"""Which images an archive holds."""

import json

import pytest

from naru.base.errors import InvalidParameter
from naru.images.layout import ImageSource, read_layout
from naru.spec.oci.digest import digest_of
from naru.spec.oci.image import OCI_INDEX, OCI_MANIFEST, Platform

CONFIG = "sha256:" + "0c" * 32
LAYER = "sha256:" + "0a" * 32
AMD64 = Platform(os="linux", architecture="amd64")


def read(members: dict[str, bytes], platform: Platform | None = None) -> list[ImageSource]:
    return read_layout(lambda name: name in members, lambda name, limit: members[name], platform)


def put(members: dict[str, bytes], document: object) -> dict[str, object]:
    raw = json.dumps(document).encode()
    digest = digest_of(raw)
    members["blobs/sha256/" + digest[7:]] = raw
    media_type = document["mediaType"] if isinstance(document, dict) else ""
    return {"mediaType": media_type, "digest": digest, "size": len(raw)}


def manifest() -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "c", "digest": CONFIG, "size": 1},
        "layers": [{"mediaType": "l", "digest": LAYER, "size": 1}],
    }


def index(*entries: object) -> dict[str, object]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}


def test_docker_archive() -> None:
    item = {"Config": f"{CONFIG[7:]}.json", "RepoTags": ["a:1"], "Layers": ["x/layer.tar"]}
    (source,) = read({"manifest.json": json.dumps([item]).encode(), "index.json": b"{}"})
    assert source.config_digest == CONFIG
    assert source.layers == ("x/layer.tar",)
    assert source.layer_digests == (None,)
    assert [ref.familiar for ref in source.references] == ["a:1"]


def test_oci_layout_with_names() -> None:
    members: dict[str, bytes] = {}
    entry = put(members, manifest())
    name = {"io.containerd.image.name": "docker.io/library/a:1"}
    bare = {"org.opencontainers.image.ref.name": "latest"}
    members["index.json"] = json.dumps(
        index({**entry, "annotations": name}, {**entry, "annotations": bare})
    ).encode()
    first, second = read(members)
    assert first.config == "blobs/sha256/" + CONFIG[7:]
    assert first.layer_digests == (LAYER,)
    assert [ref.familiar for ref in first.references] == ["a:1"]
    assert second.references == ()


def test_other_platforms_and_attestations_are_left_out() -> None:
    members: dict[str, bytes] = {}
    entry = put(members, manifest())
    inner = index(
        {**entry, "platform": {"os": "linux", "architecture": "amd64"}},
        {**entry, "platform": {"os": "linux", "architecture": "arm64"}},
        {**entry, "platform": {"os": "unknown", "architecture": "unknown"}},
    )
    members["index.json"] = json.dumps(index(put(members, inner))).encode()
    assert len(read(members, AMD64)) == 1
    assert len(read(members)) == 2


def test_a_document_that_is_index_and_manifest_is_refused() -> None:
    members: dict[str, bytes] = {}
    both = {**manifest(), "manifests": []}
    members["index.json"] = json.dumps(index(put(members, both))).encode()
    with pytest.raises(InvalidParameter, match="also an index"):
        read(members)
    members = {}
    both = {**index(), "layers": [], "config": {}}
    members["index.json"] = json.dumps(index(put(members, both))).encode()
    with pytest.raises(InvalidParameter, match="also a manifest"):
        read(members)


def test_wrong_digest_is_refused() -> None:
    members: dict[str, bytes] = {}
    entry = put(members, manifest())
    members["blobs/sha256/" + str(entry["digest"])[7:]] += b" "
    members["index.json"] = json.dumps(index(entry)).encode()
    with pytest.raises(InvalidParameter, match="another digest"):
        read(members)


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"[1]", b'[{"Config":1}]', b"[" * 200000, b'[{"Config":"a","RepoTags":["UP:1"]}]'],
)
def test_broken_manifest_json(document: bytes) -> None:
    with pytest.raises(InvalidParameter):
        read({"manifest.json": document})


@pytest.mark.parametrize("digest", ["sha256:../../etc/passwd", "md5:00", "sha256:" + "g" * 64])
def test_malformed_digest_never_becomes_a_name(digest: str) -> None:
    members = {"index.json": json.dumps(index({"mediaType": "x", "digest": digest, "size": 1}))}
    with pytest.raises(InvalidParameter, match="invalid digest"):
        read({name: text.encode() for name, text in members.items()})


def test_an_archive_of_something_else() -> None:
    with pytest.raises(InvalidParameter, match=r"neither manifest\.json"):
        read({"etc/passwd": b""})


def test_indexes_within_indexes_end() -> None:
    members: dict[str, bytes] = {}
    entry = put(members, manifest())
    for _ in range(10):
        entry = put(members, index(entry))
    members["index.json"] = json.dumps(index(entry)).encode()
    with pytest.raises(InvalidParameter, match="without end"):
        read(members)
