"""Images through their whole life, on real layers."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from image_lab import Lab, chunked, members, run_lab, tar_of

from naru.base.errors import Conflict, Internal, InvalidParameter, NotFound
from naru.images.create import CommitRequest
from naru.images.model import ImageUse
from naru.spec.engine.container_config import ContainerConfig

pytestmark = pytest.mark.root

ROOT_TAR = tar_of({"etc/name": b"naru", "bin/tool": b"x" * 5000, "empty": b""})


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


async def two_layers(lab: Lab) -> str:
    """`base:1`, and `top:1` with a changed file on it; the id of the latter."""
    await lab.import_(ROOT_TAR, repository="base", tag="1", changes=["CMD sh", "LABEL a=b"])
    base = lab.images.resolve("base:1")
    await lab.snapshots.create("box", base.top_chain)
    upper = Path(lab.snapshots.upper_dir("box"))
    (upper / "etc").mkdir()
    (upper / "etc/name").write_text("changed")
    return await lab.commit("box", "base:1", repository="top", tag="1")


def test_import_keeps_the_tar_and_applies_changes(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        image_id = await lab.import_(
            ROOT_TAR, repository="base", tag="1", message="why", changes=["CMD a", "ENV B=c"]
        )
        shown = lab.images.inspect("base:1")
        assert shown["Id"] == image_id
        assert shown["RootFS"]["Layers"] == [digest(ROOT_TAR)]
        assert (shown["Comment"], shown["Size"]) == ("why", 5004)
        assert shown["Config"]["Cmd"] == ["/bin/sh", "-c", "a"]
        assert lab.events[-1] == ("image", "import", image_id, {"name": "base:1"})
        saved = members(await lab.save("base:1"))
        assert saved["blobs/sha256/" + digest(ROOT_TAR)[7:]] == ROOT_TAR

    run_lab(tmp_path, work)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_compressed_import_has_the_digest_of_the_plain_tar(tmp_path: Path, form: str) -> None:
    packed = gzip.compress(ROOT_TAR) if form == "gzip" else zstandard.compress(ROOT_TAR)

    async def work(lab: Lab) -> None:
        image = lab.images.resolve(await lab.import_(packed))
        assert image.config.rootfs.diff_ids == [digest(ROOT_TAR)]

    run_lab(tmp_path, work)


def test_bad_imports_leave_nothing(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        for body, options in (
            (b"nonsense" * 200, {}),
            (ROOT_TAR[:700], {}),
            (gzip.compress(ROOT_TAR)[:-20], {}),
            (ROOT_TAR, {"changes": ["RUN x"]}),
            (ROOT_TAR, {"repository": "UP"}),
        ):
            with pytest.raises(InvalidParameter):
                await lab.import_(body, **options)
        assert lab.images.list({}) == []
        assert lab.snapshots.layers() == []

    run_lab(tmp_path, work)


def test_saved_archive_is_an_oci_layout_and_loads_again(tmp_path: Path) -> None:
    async def save(lab: Lab) -> tuple[str, bytes]:
        return await two_layers(lab), await lab.save("top:1", "base:1")

    top_id, archive = run_lab(tmp_path / "one", save)
    files = members(archive)
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name.rpartition("/")[2] == hashlib.sha256(data).hexdigest()
    manifest: list[dict[str, Any]] = json.loads(files["manifest.json"])
    assert [item["RepoTags"] for item in manifest] == [["top:1"], ["base:1"]]
    assert len(manifest[0]["Layers"]) == 2
    index = json.loads(files["index.json"])
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == (
        "docker.io/library/top:1"
    )
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    async def load(lab: Lab) -> None:
        messages = await lab.load(gzip.compress(archive))
        assert [m["stream"] for m in messages if "stream" in m] == [
            "Loaded image: top:1\n",
            "Loaded image: base:1\n",
        ]
        assert sum(m.get("status") == "Loading layer" for m in messages) == 2
        assert lab.images.resolve("top:1").id == top_id
        assert await lab.save("top:1", "base:1") == archive
        assert len(lab.snapshots.layers()) == 2
        assert [m["stream"] for m in await lab.load(archive, quiet=True)][:1] == [
            "Loaded image: top:1\n"
        ]

    run_lab(tmp_path / "two", load)


def test_oci_layout_without_manifest_json_loads(tmp_path: Path) -> None:
    packed = gzip.compress(ROOT_TAR)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(ROOT_TAR)]},
        }
    ).encode()
    blobs = {digest(packed): packed, digest(config): config}

    def describe(data: bytes, kind: str) -> dict[str, Any]:
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    manifest = json.dumps(
        {"schemaVersion": 2, "config": describe(config, "c"), "layers": [describe(packed, "l")]}
    ).encode()
    blobs[digest(manifest)] = manifest
    entry = describe(manifest, "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "oci:1"}
    index = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()

    def archive(changed: dict[str, bytes]) -> bytes:
        named = {"blobs/sha256/" + name[7:]: data for name, data in {**blobs, **changed}.items()}
        return tar_of({**named, "index.json": index})

    async def work(lab: Lab) -> None:
        other = gzip.compress(ROOT_TAR + bytes(512))
        with pytest.raises(InvalidParameter, match="has digest"):
            await lab.load(archive({digest(packed): other}))
        assert lab.names() == set()
        await lab.load(archive({}))
        assert lab.names() == {"oci:1"}
        assert lab.images.resolve("oci:1").id == digest(config)

    run_lab(tmp_path, work)


def test_hostile_and_broken_archives_are_refused_whole(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
            }
        ).encode()
        item = {"Config": "c.json", "RepoTags": ["evil:1"], "Layers": ["l.tar"]}
        wrong_diff = {"manifest.json": json.dumps([item]).encode(), "c.json": config}
        for body in (
            b"",
            b"nonsense",
            b"nonsense" * 1000,
            tar_of({"etc/passwd": b"x"}),
            tar_of(wrong_diff),
            tar_of({**wrong_diff, "l.tar": ROOT_TAR}),
            tar_of({**wrong_diff, "l.tar": tar_of({"../../escape": b"x"})}),
            tar_of({**wrong_diff, "l.tar": ROOT_TAR})[:3000],
            gzip.compress(tar_of(wrong_diff))[:100],
        ):
            with pytest.raises(InvalidParameter):
                await lab.load(body)
        assert lab.images.list({}) == []
        assert lab.snapshots.layers() == []

    run_lab(tmp_path, work)


def test_commit_adds_a_layer_and_history(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        top_id = await two_layers(lab)
        base, top = lab.images.resolve("base:1"), lab.images.resolve("top:1")
        assert top.parent == base.id
        assert top.chain[:1] == base.chain
        steps = lab.images.history("top:1")
        assert [step["Id"] for step in steps] == [top_id, base.id]
        assert [event[1] for event in lab.events[-2:]] == ["create", "tag"]
        await lab.snapshots.create("same", base.top_chain)
        await lab.commit("same", "base:1", repository="same", tag="1")
        same = lab.images.resolve("same:1")
        assert same.chain == base.chain
        assert lab.images.history("same:1")[0]["Size"] == 0

    run_lab(tmp_path, work)


def test_removal_follows_docker(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        top_id = await two_layers(lab)
        base = lab.images.resolve("base:1")
        await lab.images.tag("base:1", "other", "")
        assert await lab.images.remove("other") == [{"Untagged": "other:latest"}]
        with pytest.raises(Conflict, match="image has dependent child images"):
            await lab.images.remove(base.id, force=True)
        lab.users[top_id] = [ImageUse("c" * 64, False)]
        with pytest.raises(Conflict, match=r"must force.*container cccccccccccc"):
            await lab.images.remove("top:1")
        lab.users.clear()
        await lab.snapshots.remove("box")
        top_chain = lab.images.resolve("top:1").top_chain
        assert await lab.images.remove(top_id[7:19]) == [
            {"Untagged": "top:1"},
            {"Deleted": top_id},
            {"Deleted": top_chain},
        ]
        assert await lab.images.remove("base:1") == [
            {"Untagged": "base:1"},
            {"Deleted": base.id},
            {"Deleted": base.top_chain},
        ]
        assert lab.snapshots.layers() == []
        with pytest.raises(NotFound, match="No such image: base:1"):
            await lab.images.remove("base:1")

    run_lab(tmp_path, work)


def test_untagged_parents_go_with_their_last_child(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await two_layers(lab)
        base_id = lab.images.resolve("base:1").id
        await lab.images.remove("base:1")
        assert lab.images.resolve(base_id).repo_tags == []
        await lab.snapshots.remove("box")
        done = await lab.images.remove("top:1", prune=True)
        assert {"Deleted": base_id} in done
        assert lab.images.list({}, everything=True) == []

    run_lab(tmp_path, work)


def test_forced_removal_keeps_the_layers_of_a_container(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        image_id = await lab.import_(ROOT_TAR, repository="base", tag="1")
        chain = lab.images.resolve("base:1").top_chain
        await lab.snapshots.create("box", chain)
        lab.users[image_id] = [ImageUse("box", False)]
        done = await lab.images.remove("base:1", force=True)
        assert {"Deleted": chain} not in done
        assert lab.snapshots.layers() == [chain]
        await lab.images.collect_garbage(["box"])
        assert lab.snapshots.layers() == [chain]
        await lab.images.collect_garbage([])
        assert lab.snapshots.layers() == []

    run_lab(tmp_path, work)


def test_prune_removes_what_nothing_needs(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        image_id = await lab.import_(ROOT_TAR)
        await lab.import_(tar_of({"other": b"123"}), repository="kept", tag="1")
        done, freed = await lab.images.prune({})
        assert {"Deleted": image_id} in done
        assert freed == 5004
        assert lab.names() == {"kept:1"}
        lab.users[lab.images.resolve("kept:1").id] = [ImageUse("c" * 64, False)]
        assert await lab.images.prune({"dangling": ("false",)}) == ([], 0)
        lab.users.clear()
        _, freed = await lab.images.prune({"dangling": ("false",)})
        assert (freed, lab.names()) == (3, set())
        assert lab.events[-1] == ("image", "prune", "", {"reclaimed": "3"})

    run_lab(tmp_path, work)


def test_a_name_may_move_from_one_image_to_another(tmp_path: Path) -> None:
    async def make(lab: Lab) -> bytes:
        await lab.import_(tar_of({"new": b"1"}), repository="base", tag="1")
        return await lab.save("base:1")

    archive = run_lab(tmp_path / "one", make)

    async def work(lab: Lab) -> None:
        old = await lab.import_(ROOT_TAR, repository="base", tag="1")
        messages = await lab.load(archive, quiet=True)
        assert messages[0]["stream"] == (
            f"The image base:1 already exists, renaming the old one with ID {old} to empty string\n"
        )
        assert lab.images.resolve(old).repo_tags == []

    run_lab(tmp_path / "two", work)


def test_records_survive_a_restart(tmp_path: Path) -> None:
    async def make(lab: Lab) -> list[dict[str, Any]]:
        await two_layers(lab)
        return lab.images.list({}, everything=True)

    async def again(lab: Lab) -> list[dict[str, Any]]:
        await lab.images.collect_garbage(["box"])
        return lab.images.list({}, everything=True)

    assert run_lab(tmp_path, make) == run_lab(tmp_path, again)


def test_a_layer_changed_on_disk_is_not_passed_on(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await lab.import_(ROOT_TAR, repository="base", tag="1")
        upper = lab.images.inspect("base:1")["GraphDriver"]["Data"]["UpperDir"]
        Path(upper, "bin/tool").write_bytes(b"y" * 5000)
        with pytest.raises(Internal, match="damaged"):
            await lab.save("base:1")

    run_lab(tmp_path, work)


def test_layers_are_pinned_while_they_are_saved(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await lab.import_(ROOT_TAR, repository="base", tag="1")
        pieces = lab.images.save(["base:1"])
        parts = [await anext(pieces)]
        await lab.images.remove("base:1")
        parts += [piece async for piece in pieces]
        assert members(b"".join(parts))["blobs/sha256/" + digest(ROOT_TAR)[7:]] == ROOT_TAR

    run_lab(tmp_path, work)


def test_the_same_archive_may_be_loaded_twice_at_once(tmp_path: Path) -> None:
    async def make(lab: Lab) -> bytes:
        await two_layers(lab)
        return await lab.save("top:1")

    archive = run_lab(tmp_path / "one", make)

    async def work(lab: Lab) -> None:
        first, second = lab.images.load(chunked(archive)), lab.images.load(chunked(archive))
        await anext(first)
        async for _ in second:
            pass
        async for _ in first:
            pass
        assert lab.names() == {"top:1"}
        assert len(lab.snapshots.layers()) == 2

    run_lab(tmp_path / "two", work)


def test_a_repository_alone_is_saved_with_all_its_tags(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        image_id = await lab.import_(ROOT_TAR, repository="base", tag="1")
        await lab.import_(tar_of({"a": b"1"}), repository="base", tag="2")
        await lab.images.tag("base:1", "other", "")
        items = json.loads(members(await lab.save("base"))["manifest.json"])
        assert sorted(item["RepoTags"] for item in items) == [["base:1"], ["base:2"]]
        for name in (image_id, image_id[7:], image_id[7:20]):
            (item,) = json.loads(members(await lab.save(name))["manifest.json"])
            assert item["RepoTags"] is None
        with pytest.raises(NotFound, match="No such image: base:3"):
            lab.images.save(["base:3"])

    run_lab(tmp_path, work)


def test_a_commit_says_more_than_the_container(tmp_path: Path) -> None:
    async def work(lab: Lab) -> None:
        await lab.import_(ROOT_TAR, repository="base", tag="1")
        image = lab.images.resolve("base:1")
        await lab.snapshots.create("box", image.top_chain)
        request = CommitRequest(
            container_id="box",
            image=image,
            config=ContainerConfig(env=["A=request"], labels={"l": "request"}),
            container_config=ContainerConfig(
                env=["A=box", "B=box"], labels={"l": "box", "m": "box"}, cmd=["sh"], user="bob"
            ),
            command=("sh", "-c", "x"),
            author="me",
            comment="why",
            changes=["ENV C=change"],
        )
        shown = lab.images.inspect(await lab.images.commit(request, "made", "1"))
        assert shown["Config"]["Env"] == ["A=request", "C=change", "B=box"]
        assert shown["Config"]["Labels"] == {"l": "request", "m": "box"}
        assert (shown["Config"]["Cmd"], shown["Config"]["User"]) == (["sh"], "bob")
        assert (shown["Author"], shown["Comment"]) == ("me", "why")
        assert lab.images.history("made:1")[0]["CreatedBy"] == "sh -c x"

    run_lab(tmp_path, work)
