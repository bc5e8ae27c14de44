"""Clients that do whatever comes to their minds, and remember what they were told.

A container belongs to the client that created it: only that one renames and removes it, so what it
was told of its being there must hold in the end. Everything else anybody does to anybody's.
"""

import contextlib
import io
import random
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine_lab import ApiError, EngineLab
from engine_traffic import follow

WORKLOADS = (
    ("sleep", "600"),
    ("sh", "-c", "exit 3"),
    ("sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; usleep 20000; done"),
    ("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 1; done"),
)
MOST_CONTAINERS = 5
_EXPECTED = frozenset({304, 404, 409})


@dataclass
class Place:
    """One engine, and whether it answers now: one that is killed loses requests under way."""

    lab: EngineLab
    mortal: bool = False
    up: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.up.set()


@dataclass
class Owned:
    """A container as its owner knows it: the names that it may have, and whether it may be gone."""

    place: Place
    identifier: str
    names: set[str]
    may_be_gone: bool = False


class Client:
    """Acts until `end`; `troubles` are answers that nobody should get."""

    def __init__(self, number: int, seed: int, places: list[Place], all_owned: list[Owned]) -> None:
        self._number, self._rng, self._places = number, random.Random(seed), places
        self._everybodys = all_owned
        self._made = 0
        self.owned: list[Owned] = []
        self.gone: list[Owned] = []
        self.images: list[tuple[Place, str]] = []
        self.acts = 0
        self.troubles: list[str] = []

    def act_until(self, end: float) -> None:
        while time.monotonic() < end:
            act = self._rng.choices([one for one, _ in _ACTS], [often for _, often in _ACTS])[0]
            self._tried(act.__name__, lambda act=act: act(self))

    def _tried(self, name: str, act: Callable[[], object]) -> None:
        self.acts += 1
        try:
            act()
        except ApiError as error:
            if error.status not in _EXPECTED:
                self.troubles.append(f"client {self._number}, {name}: {error}")
        except _Lost:
            return
        except Exception as error:
            self.troubles.append(f"client {self._number}, {name}: {error!r}")

    @contextlib.contextmanager
    def _at(self, place: Place):  # type: ignore[no-untyped-def]
        """Requests to an engine that may be killed under them."""
        place.up.wait(30)
        try:
            yield place.lab
        except TimeoutError:
            raise
        except (OSError, AssertionError) as error:
            if not place.mortal:
                raise
            raise _Lost(str(error)) from error

    # -- what owners do

    def create(self) -> None:
        if len(self.owned) >= MOST_CONTAINERS:
            self.remove()
            return
        place = self._rng.choice(self._places)
        self._made += 1
        name = f"storm-{self._number}-{self._made}"
        host: dict[str, Any] = self._rng.choice(
            [
                {},
                {"NetworkMode": "none"},
                {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}},
                {"RestartPolicy": {"Name": "always"}, "Binds": ["/scratch"]},
                {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}},
                {"AutoRemove": True, "IpcMode": "shareable"},
            ]
        )
        owned = Owned(place, "", {name}, may_be_gone=True)
        self.owned.append(owned)
        with self._at(place) as lab:
            owned.identifier = lab.create(
                *self._rng.choice(WORKLOADS), name=name, HostConfig=host,
                ExposedPorts={"80/tcp": {}}, Tty=self._rng.random() < 0.2,
            )  # fmt: skip
            owned.may_be_gone = bool(host.get("AutoRemove"))
            self._everybodys.append(owned)
            if self._rng.random() < 0.8:
                lab.call("POST", f"/containers/{owned.identifier}/start")

    def remove(self) -> None:
        if not self.owned:
            return
        owned = self.owned.pop(self._rng.randrange(len(self.owned)))
        if owned in self._everybodys:
            self._everybodys.remove(owned)
        sure, owned.may_be_gone = owned.may_be_gone, True
        self.gone.append(owned)
        ref = owned.identifier or next(iter(owned.names))
        try:
            with self._at(owned.place) as lab:
                lab.call("DELETE", f"/containers/{ref}?force=1&v=1")
            owned.names = set()
        except ApiError as error:
            if error.status == 404 and sure:
                owned.names = set()
                return
            if error.status != 409:  # 409: its own removal is under way
                raise

    def rename(self) -> None:
        if not (self.owned and (owned := self._rng.choice(self.owned)).identifier):
            return
        self._made += 1
        before, after = set(owned.names), f"storm-{self._number}-{self._made}"
        owned.names.add(after)
        try:
            with self._at(owned.place) as lab:
                lab.call("POST", f"/containers/{owned.identifier}/rename?name={after}")
            owned.names = {after}
        except ApiError:
            owned.names = before
            raise

    def commit(self) -> None:
        if not (self.owned and (owned := self._rng.choice(self.owned)).identifier):
            return
        self._made += 1
        name = f"{self._number}-{self._made}"
        with self._at(owned.place) as lab:
            lab.call("POST", f"/commit?container={owned.identifier}&repo=storm&tag={name}")
            self.images.append((owned.place, f"storm:{name}"))

    # -- what anybody does

    def _somebodys(self) -> Owned | None:
        with contextlib.suppress(IndexError):
            return self._rng.choice(self._everybodys)
        return None

    def _simple(self, method: str, *paths: str) -> None:
        owned = self._somebodys()
        if owned is not None:
            with self._at(owned.place) as lab:
                lab.call(method, f"/containers/{owned.identifier}/{self._rng.choice(paths)}")

    def start(self) -> None:
        self._simple("POST", "start", "start", "restart?t=0")

    def stop(self) -> None:
        self._simple("POST", "stop?t=0", "stop?t=1", "kill", "kill?signal=TERM")

    def pause(self) -> None:
        self._simple("POST", "pause", "unpause", "unpause")

    def look(self) -> None:
        self._simple("GET", "json", "json?size=1", "top", "changes", "stats?stream=0&one-shot=1")

    def list(self) -> None:
        with self._at(self._rng.choice(self._places)) as lab:
            lab.call("GET", "/containers/json?all=1")

    def execute(self) -> None:
        owned = self._somebodys()
        if owned is not None:
            with self._at(owned.place) as lab:
                body = {"Cmd": ["echo", "word"], "AttachStdout": True}
                session = lab.json("POST", f"/containers/{owned.identifier}/exec", body)["Id"]
                with follow(lab, f"/exec/{session}/start", "POST", {}) as stream:
                    assert stream.ended.wait(60), "the exec's output ends"
                if b" 200 " in stream.head and lab.json("GET", f"/exec/{session}/json")["Running"]:
                    raise RuntimeError("an exec runs after its output's end")

    def listen(self) -> None:
        """Follow, attach or wait, and go away in the middle of it."""
        owned = self._somebodys()
        if owned is None:
            return
        method, path, hijack = self._rng.choice(
            [
                ("GET", "logs?follow=1&stdout=1&stderr=1", False),
                ("POST", "attach?stream=1&stdout=1&stderr=1&stdin=1", True),
                ("POST", "wait?condition=next-exit", False),
            ]
        )
        with (
            self._at(owned.place) as lab,
            follow(lab, f"/containers/{owned.identifier}/{path}", method, hijack=hijack) as stream,
        ):
            stream.ended.wait(self._rng.random() / 2)

    def copy(self) -> None:
        owned = self._somebodys()
        if owned is None:
            return
        with self._at(owned.place) as lab:
            if self._rng.random() < 0.5:
                lab.call("GET", f"/containers/{owned.identifier}/archive?path=/bin/sh")
            else:
                archive = _archive(self._rng.randbytes(1000))
                lab.call("PUT", f"/containers/{owned.identifier}/archive?path=/", raw=archive)


_ACTS: tuple[tuple[Callable[[Client], None], int], ...] = (
    (Client.create, 5), (Client.remove, 3), (Client.rename, 2), (Client.commit, 1),
    (Client.start, 5), (Client.stop, 4), (Client.pause, 2), (Client.look, 3), (Client.list, 2),
    (Client.execute, 4), (Client.listen, 2), (Client.copy, 2),
)  # fmt: skip


class _Lost(Exception):
    """The engine was killed with the request under way: nothing was told."""


def _archive(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("copied")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()
