"""Filters of the image list and what entries look like."""

import json

import pytest

from naru.base.clock import NS
from naru.base.errors import InvalidParameter, NotFound
from naru.images.inspect import history_of, inspect_image, summarize
from naru.images.listing import glob, select
from naru.images.model import Image, ImageRecord, decode_config
from naru.spec.oci.digest import digest_of
from naru.spec.oci.reference import parse_reference

LAYER = "sha256:" + "01" * 32


def image(
    second: int, *names: str, labels: dict[str, str] | None = None, parent: str = ""
) -> Image:
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": f"2026-01-01T00:00:{second:02d}Z",
            "config": {"Labels": labels, "Cmd": ["sh"], "StopSignal": "SIGINT"},
            "rootfs": {"type": "layers", "diff_ids": [LAYER]},
            "history": [{"comment": "made"}, {"created_by": "x", "empty_layer": True}],
        }
    )
    record = ImageRecord(id=digest_of(config.encode()), config=config, parent=parent)
    return Image(record, [parse_reference(name) for name in names], 10)


BASE = image(1, "base:1", "team/base:2", labels={"a": "1"})
CHILD = image(2, parent=BASE.id)
LEAF = image(3, "leaf:latest", labels={"a": "2"}, parent=CHILD.id)
DANGLING = image(4)
ALL = [BASE, CHILD, LEAF, DANGLING]


def resolve(name: str) -> Image:
    for known in ALL:
        if name in known.repo_tags:
            return known
    raise NotFound(f"No such image: {name}")


def listed(everything: bool = False, **filters: str) -> list[list[str]]:
    chosen = select(
        ALL,
        {name.replace("_not", "!"): (value,) for name, value in filters.items()},
        everything=everything,
        parents={BASE.id, CHILD.id},
        resolve=resolve,
        now_ns=BASE.created_ns + 3600 * NS,
    )
    return [found.repo_tags for found in chosen]


def test_newest_first_and_untagged_parents_hidden() -> None:
    assert listed() == [[], ["leaf:latest"], ["base:1", "team/base:2"]]
    assert len(listed(everything=True)) == 4


def test_filters() -> None:
    assert listed(dangling="true") == [[]]
    assert listed(dangling="false") == [["leaf:latest"], ["base:1", "team/base:2"]]
    assert listed(label="a") == [["leaf:latest"], ["base:1", "team/base:2"]]
    assert listed(label="a=2") == [["leaf:latest"]]
    assert listed(label_not="a") == [[]]
    assert listed(before="leaf:latest") == [["base:1", "team/base:2"]]
    assert listed(since="base:1") == [[], ["leaf:latest"]]
    assert listed(reference="team/*") == [["team/base:2"]]
    assert listed(reference="base") == [["base:1"]]
    assert listed(reference="*:latest") == [["leaf:latest"]]
    assert listed(until="59m58s") == [["base:1", "team/base:2"]]
    with pytest.raises(NotFound):
        listed(before="gone")


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("b*", "busybox", True),
        ("*", "a/b", False),
        ("*/*", "a/b", True),
        ("a?c", "abc", True),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("a\\*", "a*", True),
    ],
)
def test_glob_as_gos_path_match(pattern: str, text: str, matches: bool) -> None:
    assert bool(glob(pattern).match(text)) is matches


def test_broken_glob_is_refused() -> None:
    for pattern in ("[", "[]", "a\\", "[z-a]"):
        with pytest.raises(InvalidParameter):
            glob(pattern)


def test_inspection() -> None:
    found = inspect_image(BASE, {"Name": "overlay2", "Data": None})
    assert found["RepoTags"] == ["base:1", "team/base:2"]
    assert found["Created"] == "2026-01-01T00:00:01Z"
    assert found["RootFS"] == {"Type": "layers", "Layers": [LAYER]}
    assert found["Metadata"] == {"LastTagTime": "0001-01-01T00:00:00Z"}
    assert found["Config"] == {
        "Cmd": ["sh"], "Entrypoint": None, "Env": None, "Labels": {"a": "1"}, "OnBuild": None,
        "StopSignal": "SIGINT", "User": "", "Volumes": None, "WorkingDir": "",
    }  # fmt: skip
    assert "Variant" not in found


def test_summary() -> None:
    assert summarize(DANGLING, 2, -1) == {
        "Containers": 2, "Created": 1767225604, "Id": DANGLING.id, "Labels": None, "ParentId": "",
        "RepoDigests": [], "RepoTags": [], "SharedSize": -1, "Size": 10,
    }  # fmt: skip


def test_history_names_the_parents_that_are_here() -> None:
    known = {known.id: known for known in ALL}
    steps = history_of(CHILD, lambda chain: 7, known.get)
    assert [(step["Id"], step["Size"], step["CreatedBy"]) for step in steps] == [
        (CHILD.id, 0, "x"),
        (BASE.id, 7, ""),
    ]
    assert steps[1]["Tags"] == ["base:1", "team/base:2"]
    assert history_of(DANGLING, lambda chain: 7, known.get)[1]["Id"] == "<missing>"


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{", b'{"os":"linux"}', b'{"architecture":"a","os":1}', b"\xff", b"[" * 100000],
)
def test_configuration_that_is_none(raw: bytes) -> None:
    with pytest.raises(InvalidParameter):
        decode_config(raw)
