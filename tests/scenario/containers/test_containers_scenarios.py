"""The golden dialogues beside this file, acted by the pure modules."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from naru.base.errors import Conflict
from naru.containers import state
from naru.containers.model import Container
from naru.containers.restart import after_exit, at_engine_start
from naru.spec.engine.container_config import ContainerConfig, HostConfig, RestartPolicy

HERE = Path(__file__).parent


def scenes(name: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(headline, [(asked, expected)]) of each paragraph; lines with # are remarks."""
    for paragraph in (HERE / name).read_text().split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
        if lines:
            pairs = [tuple(part.strip() for part in line.split("|")) for line in lines[1:]]
            yield lines[0], [(asked, expected) for asked, expected in pairs]


class Player:
    """Plays one container under a restart policy, as the life cycle does with the verdicts."""

    def __init__(self, headline: str) -> None:
        name, _, limit = headline.removeprefix("policy ").partition(":")
        self.policy = RestartPolicy(name=name, maximum_retry_count=int(limit or 0))
        self.count, self.last_wait_s, self.code, self.stopped = 0, 0.0, 0, False

    def play(self, asked: str) -> str:
        if asked == "engine":
            starts = at_engine_start(
                self.policy,
                started_once=True,
                was_running=False,
                exit_code=self.code,
                restart_count=self.count,
                stopped_by_user=self.stopped,
            )
            return "starts" if starts else "stays"
        if asked == "stop":
            self.stopped, self.code, ran_s = True, 137, 1.0
        else:
            _, code, _, seconds = asked.split()
            self.code, ran_s = int(code), float(seconds)
        verdict = after_exit(
            self.policy,
            exit_code=self.code,
            ran_s=ran_s,
            restart_count=self.count,
            last_wait_s=self.last_wait_s,
            stopped_by_user=self.stopped,
        )
        if not verdict.restart:
            return "exited"
        self.count, self.last_wait_s = self.count + 1, verdict.wait_s
        return f"again in {verdict.wait_s:g} s"


@pytest.mark.parametrize(("headline", "dialogue"), list(scenes("restarts.txt")))
def test_restarts(headline: str, dialogue: list[tuple[str, str]]) -> None:
    player = Player(headline)
    assert [(asked, player.play(asked)) for asked, _ in dialogue] == dialogue


@pytest.mark.parametrize(("headline", "dialogue"), list(scenes("lives.txt")))
def test_lives(headline: str, dialogue: list[tuple[str, str]]) -> None:
    container = Container(
        id="c" * 64, name="web", created_ns=1, image_id="sha256:" + "0" * 64,
        config=ContainerConfig(), host_config=HostConfig(), path="sh", args=(),
    )  # fmt: skip
    told = []
    for event, _ in dialogue:
        try:
            container = state.apply(container, event)
            told.append((event, container.state.status))
        except Conflict:
            told.append((event, "refused"))
    assert told == dialogue
