"""aiodocker, the asyncio SDK, against a narud of our own."""

import asyncio
import contextlib
import gc
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from engine_lab import EngineLab, engine_lab

aiodocker = pytest.importorskip("aiodocker", reason="the SDK is not installed: make setup-dev")

# The SDK leaves half-read streams to the collector.
pytestmark = [
    pytest.mark.root,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEADLINE_S = 30
Session = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture(scope="module")
def lab() -> Iterator[EngineLab]:
    with engine_lab(11) as engine:
        engine.start()
        engine.make_busybox()
        yield engine


@pytest.fixture
def session(lab: EngineLab) -> Iterator[Session]:
    """Runs a dialogue with a client of its own, within the deadline."""

    def run(dialogue: Callable[[Any], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(DEADLINE_S), client_of(lab) as sdk:
                await dialogue(sdk)

        asyncio.run(main())

    yield run
    lab.remove_all()
    gc.collect()


@contextlib.asynccontextmanager
async def client_of(lab: EngineLab) -> AsyncIterator[Any]:
    sdk = aiodocker.Docker(url=lab.host)
    try:
        yield sdk
    finally:
        await sdk.close()


def command(*words: str, **fields: Any) -> dict[str, Any]:
    return {"Image": "busybox", "Cmd": list(words), **fields}


def test_run_wait_log(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        config = command("sh", "-c", "echo out; echo err >&2; exit 3")
        container = await sdk.containers.run(config=config, name="aio")
        assert await container.wait() == {"StatusCode": 3}
        assert await container.log(stdout=True) == ["out\n"]
        assert await container.log(stderr=True) == ["err\n"]
        shown = await container.show()
        assert shown["Name"] == "/aio" and shown["State"]["ExitCode"] == 3
        await container.delete()
        assert await sdk.containers.list(all=True) == []

    session(dialogue)


def test_follow_logs(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        config = command("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
        container = await sdk.containers.run(config=config)
        assert [line async for line in container.log(stdout=True, follow=True)] == [
            "1\n",
            "2\n",
            "3\n",
        ]

    session(dialogue)


def test_attach_speaks_and_listens(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        config = command("sh", "-c", "read x; echo got $x; echo no >&2", OpenStdin=True)
        container = await sdk.containers.create(config=config)
        async with container.attach(stdin=True, stdout=True, stderr=True) as stream:
            await container.start()
            await stream.write_in(b"word\n")
            said: dict[int, bytes] = {1: b"", 2: b""}
            while (message := await stream.read_out()) is not None:
                said[message.stream] += message.data
        assert said == {1: b"got word\n", 2: b"no\n"}
        await container.wait()

    session(dialogue)


def test_attach_to_a_terminal(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        config = command("sh", Tty=True, OpenStdin=True)
        container = await sdk.containers.create(config=config)
        async with container.attach(stdin=True, stdout=True, stderr=True) as stream:
            await container.start()
            await container.resize(h=33, w=77)
            await stream.write_in(b"stty size; exit\n")
            said = b""
            while (message := await stream.read_out()) is not None:
                said += message.data
        assert b"33 77\r\n" in said

    session(dialogue)


def test_exec(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        container = await sdk.containers.run(config=command("top"))
        execution = await container.exec(
            ["sh", "-c", "cat; echo $V >&2; exit 6"], stdin=True, environment={"V": "w"}
        )
        async with execution.start(detach=False) as stream:
            await stream.write_in(b"in\n")
            assert stream._resp is not None
            transport = stream._resp.connection.transport
            transport.write_eof()
            said: dict[int, bytes] = {1: b"", 2: b""}
            while (message := await stream.read_out()) is not None:
                said[message.stream] += message.data
        assert said == {1: b"in\n", 2: b"w\n"}
        shown = await execution.inspect()
        assert shown["ExitCode"] == 6 and shown["Running"] is False

    session(dialogue)


def test_errors_carry_status_and_text(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        with pytest.raises(aiodocker.DockerError) as missing:
            await sdk.containers.get("nobody")
        assert missing.value.status == 404
        assert missing.value.message == "No such container: nobody"
        with pytest.raises(aiodocker.DockerError) as unknown:
            await sdk.images.inspect("nothing")
        assert unknown.value.status == 404
        container = await sdk.containers.create(config=command("true"), name="once")
        with pytest.raises(aiodocker.DockerError) as taken:
            await sdk.containers.create(config=command("true"), name="once")
        assert taken.value.status == 409 and "already in use" in taken.value.message
        with pytest.raises(aiodocker.DockerError) as stopped:
            await container.kill()
        assert stopped.value.status == 409

    session(dialogue)


def test_lifecycle(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        container = await sdk.containers.run(config=command("top"))
        await container.pause()
        assert (await container.show())["State"]["Paused"] is True
        await container.unpause()
        await container.rename("other")
        await container.restart(t=0)
        shown = await container.show()
        assert shown["Name"] == "/other" and shown["State"]["Running"] is True
        await container.stop(t=0)
        await container.start()
        await container.delete(force=True)

    session(dialogue)


def test_archives(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        container = await sdk.containers.create(config=command("true"))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            entry = tarfile.TarInfo("note")
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"text"))
        await container.put_archive("/tmp", out.getvalue())
        archive = await container.get_archive("/tmp/note")
        member = archive.extractfile("note")
        assert member is not None and member.read() == b"text"

    session(dialogue)


def test_stats(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        container = await sdk.containers.run(config=command("top"))
        once = (await container.stats(stream=False))[0]
        assert once["memory_stats"]["usage"] > 0 and once["pids_stats"]["current"] == 1
        seen = 0
        async for item in container.stats(stream=True):
            assert item["cpu_stats"]["online_cpus"] >= 1
            seen += 1
            if seen == 2:
                break

    session(dialogue)


async def listening(sdk: Any, subscriber: Any) -> None:
    """Return once events arrive: the SDK connects some time after `subscribe`."""
    while True:
        await (await sdk.volumes.create({})).delete()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await subscriber.get()
                return


def test_events(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        subscriber = sdk.events.subscribe()
        await listening(sdk, subscriber)
        container = await sdk.containers.run(config=command("true"))
        await container.wait()
        await container.delete()
        actions = []
        while "destroy" not in actions:
            event = await subscriber.get()
            if event["Type"] == "container":
                actions.append(event["Action"])
        assert actions == ["create", "start", "die", "destroy"]

    session(dialogue)


def test_images(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        container = await sdk.containers.run(config=command("touch", "/made"))
        await container.wait()
        made = await container.commit(repository="aio", tag="1")
        await sdk.images.tag("aio:1", repo="aio", tag="2")
        async with sdk.images.export_image("aio:1") as exported:
            saved = await exported.read()
        await sdk.images.delete("aio:1")
        await sdk.images.delete("aio:2")
        loaded = [part async for part in sdk.images.import_image(saved, stream=True)]
        assert {"stream": "Loaded image: aio:1\n"} in loaded
        assert (await sdk.images.inspect("aio:1"))["Id"] == made["Id"]
        assert len(await sdk.images.history("aio:1")) == 2
        await sdk.images.delete("aio:1")

    session(dialogue)


def test_volumes_and_the_engine(session: Session) -> None:
    async def dialogue(sdk: Any) -> None:
        volume = await sdk.volumes.create({"Name": "aio", "Labels": {"a": "b"}})
        assert (await volume.show())["Labels"] == {"a": "b"}
        assert [item["Name"] for item in (await sdk.volumes.list())["Volumes"]] == ["aio"]
        await volume.delete()
        names = {item["Name"] for item in await sdk.networks.list()}
        assert names == {"bridge", "host", "none"}
        assert (await sdk.version())["ApiVersion"] == "1.51"
        assert (await sdk.system.info())["OSType"] == "linux"

    session(dialogue)
