"""Records survive crashes, damage and a full disk."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from naru.base.errors import Internal
from naru.storage import metadata
from naru.storage.metadata import Database, Delete, Put


def with_database(path: Path, use: Callable[[Database], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        database = Database.open(str(path))
        try:
            return await use(database)
        finally:
            await database.close()

    return asyncio.run(main())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "metadata.db"


def test_put_get_delete(path: Path) -> None:
    async def use(database: Database) -> None:
        await database.put("a", "1", b"one")
        await database.put("a", "2", b"two", durable=False)
        await database.put("b", "1", b"other")
        assert database.get("a", "1") == b"one"
        assert database.get("a", "9") is None
        assert database.all("a") == [("1", b"one"), ("2", b"two")]
        await database.put("a", "1", b"\0new")
        await database.delete("a", "2")
        await database.delete("a", "missing")
        assert database.all("a") == [("1", b"\0new")]

    with_database(path, use)

    async def again(database: Database) -> list[tuple[str, bytes]]:
        return database.all("a") + database.all("b")

    assert with_database(path, again) == [("1", b"\0new"), ("1", b"other")]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_nobody_else_reads_the_records(path: Path) -> None:
    """Environments of containers hold secrets, in the log beside the database too."""

    async def use(database: Database) -> None:
        await database.put("a", "1", b"secret")
        modes = {item.name: item.stat().st_mode & 0o777 for item in path.parent.iterdir()}
        assert {mode for name, mode in modes.items() if name.startswith(path.name)} == {0o600}
        assert {f"{path.name}-wal", f"{path.name}-shm"} <= modes.keys()

    with_database(path, use)
    os.chmod(path, 0o644)
    with_database(path, use)


def test_batch_is_whole(path: Path) -> None:
    async def use(database: Database) -> None:
        await database.batch([Put("a", "1", b"x"), Put("a", "2", b"y"), Delete("a", "1")])
        assert database.all("a") == [("2", b"y")]
        broken: Any = Put("a", "4", None)  # type: ignore[arg-type]  # what must be refused
        with pytest.raises(Internal):
            await database.batch([Put("a", "3", b"z"), broken])
        assert database.all("a") == [("2", b"y")]

    with_database(path, use)


def test_many_writers_share_transactions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    transact = metadata._transact

    def counted(writer: Any, batches: Any) -> None:
        groups.append(len(batches))
        transact(writer, batches)

    monkeypatch.setattr(metadata, "_transact", counted)

    async def use(database: Database) -> None:
        await asyncio.gather(*(database.put("a", str(n), b"x") for n in range(200)))
        assert len(database.all("a")) == 200

    with_database(path, use)
    assert sum(groups) == 200
    assert len(groups) < 100


def test_a_bad_batch_leaves_its_group_alone(path: Path) -> None:
    async def use(database: Database) -> None:
        broken: Any = None
        results = await asyncio.gather(
            database.put("a", "1", b"x"),
            database.put("a", "2", broken),
            database.put("a", "3", b"z"),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), Internal, type(None)]
        assert [key for key, _ in database.all("a")] == ["1", "3"]

    with_database(path, use)


def test_corrupt_row_is_set_aside(path: Path) -> None:
    async def fill(database: Database) -> None:
        await database.put("a", "good", b"fine")
        await database.put("a", "bad", b"fine")

    with_database(path, fill)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE record SET body = ? WHERE id = 'bad'", (b"damaged",))
    connection.close()

    async def use(database: Database) -> None:
        assert database.get("a", "bad") is None
        assert database.all("a") == [("good", b"fine")]
        assert len(database.set_aside) == 1
        assert "a/bad" in database.set_aside[0]
        assert database.all("a") == [("good", b"fine")]
        assert len(database.set_aside) == 1

    with_database(path, use)
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT kind, id, body FROM aside").fetchall()
    connection.close()
    assert rows == [("a", "bad", b"damaged")]


@pytest.mark.parametrize(
    "damage", ["garbage", "empty", "middle", "truncated", "directory-of-pages"]
)
def test_corrupt_file_never_stops_the_start(path: Path, damage: str) -> None:
    async def fill(database: Database) -> None:
        await database.batch([Put("a", f"{n:05}", os.urandom(500)) for n in range(2000)])

    with_database(path, fill)
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data = bytearray(os.urandom(50_000))
    elif damage == "empty":
        data = bytearray()
    elif damage == "middle":
        data[len(data) // 2 : len(data) // 2 + 20_000] = os.urandom(20_000)
    elif damage == "truncated":
        del data[len(data) // 3 :]
    else:
        data[4096:8192] = bytes(4096)
    path.write_bytes(data)

    async def use(database: Database) -> tuple[int, tuple[str, ...]]:
        kept = len(database.all("a"))
        await database.put("a", "new", b"works")
        assert database.get("a", "new") == b"works"
        return kept, database.set_aside

    kept, aside = with_database(path, use)
    if damage != "empty":
        assert aside
        assert list(path.parent.glob("metadata.db.corrupt-*"))
    if damage == "middle":
        assert kept > 100


def test_full_disk_is_told_and_removal_works(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own page limit stands in for the disk."""
    connect = metadata._connect

    def limited(where: str) -> sqlite3.Connection:
        connection = connect(where)
        connection.execute("PRAGMA max_page_count = 40")
        return connection

    monkeypatch.setattr(metadata, "_connect", limited)

    async def use(database: Database) -> None:
        await database.put("a", "kept", b"x" * 1000)
        with pytest.raises(Internal, match="no space left"):
            for n in range(1000):
                await database.put("a", f"more-{n}", b"x" * 4000)
        assert not os.path.exists(f"{path}.ballast")
        assert database.get("a", "kept") == b"x" * 1000
        for key, _ in database.all("a"):
            await database.delete("a", key)
        await database.put("a", "again", b"fits")

    with_database(path, use)


_CHILD = """
import asyncio, sys
from naru.storage.metadata import Database

async def main():
    database = Database.open(sys.argv[1])
    for number in range(100):
        await database.put("a", str(number), b"x", durable=False)
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["metadata.begin", "metadata.written", "metadata.committed"])
def test_killed_at_any_point(path: Path, point: str) -> None:
    """What was acknowledged is there; at most the one write under way may be there too."""
    environment = {**os.environ, "NARU_FAILPOINTS": f"{point}=kill@7"}
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == -9
    acknowledged = [int(line) for line in done.stdout.split()]

    async def use(database: Database) -> set[int]:
        assert database.set_aside == ()
        return {int(key) for key, _ in database.all("a")}

    found = with_database(path, use)
    assert found >= set(acknowledged)
    assert len(found) <= len(acknowledged) + 1


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_failing_at_any_point(path: Path, action: str) -> None:
    for point in ("metadata.begin", "metadata.written"):
        environment = {**os.environ, "NARU_FAILPOINTS": f"{point}={action}@3"}
        script = _CHILD.replace("range(100)", "range(4)")
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if action == "eio":
            assert "cannot write the metadata" in done.stderr
            assert "2" not in done.stdout
        else:  # the ballast gave the room
            assert done.stdout.split() == ["0", "1", "2", "3"]


def test_closed(path: Path) -> None:
    async def use(database: Database) -> None:
        await database.close()
        with pytest.raises(Internal):
            await database.put("a", "1", b"")

    with_database(path, use)
