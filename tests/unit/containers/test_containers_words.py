import random

import pytest
from msgspec import UNSET

from naru.base.errors import InvalidParameter
from naru.containers.detach import DetachScanner, parse_keys
from naru.containers.health import Health, ProbeResult, after_probe, plan_of
from naru.containers.merge import command_of, merge_config, merge_env
from naru.containers.names import random_name
from naru.containers.signals import parse_signal
from naru.containers.top import parse
from naru.spec.engine.container_config import ContainerConfig, HealthConfig
from naru.spec.oci.image import RunConfig


@pytest.mark.parametrize(
    ("text", "number"),
    [("15", 15), ("SIGTERM", 15), ("kill", 9), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("HUP", 1)],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIGNOPE", "RTMIN+99", "-9"])
def test_bad_signals(text: str) -> None:
    with pytest.raises(InvalidParameter, match="Invalid signal"):
        parse_signal(text)


def test_detach_keys_are_held_back_until_they_are_certain() -> None:
    scanner = DetachScanner(parse_keys("ctrl-p,ctrl-q"))
    assert scanner.feed(b"ab\x10") == (b"ab", False)
    assert scanner.feed(b"c") == (b"\x10c", False)
    assert scanner.feed(b"x\x10\x10") == (b"x\x10", False)
    assert scanner.feed(b"\x11rest") == (b"", True)


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "abc", "", "a,,b"])
def test_bad_detach_keys(text: str) -> None:
    with pytest.raises(InvalidParameter, match="Invalid escape keys"):
        parse_keys(text)


def test_the_command_comes_from_the_request_or_the_image() -> None:
    image = RunConfig(entrypoint=["/entry"], cmd=["serve"], env=["A=1", "B=2"])
    assert command_of(merge_config(ContainerConfig(), image)) == ("/entry", ("serve",))
    assert command_of(merge_config(ContainerConfig(cmd=["x"]), image)) == ("/entry", ("x",))
    own = ContainerConfig(entrypoint=["/other"])
    assert command_of(merge_config(own, image)) == ("/other", ())
    reset = ContainerConfig(entrypoint=[""], cmd=["ls"])
    assert command_of(merge_config(reset, image)) == ("ls", ())
    assert merge_env(["A=9"], image.env or ()) == ["A=9", "B=2"]
    with pytest.raises(InvalidParameter, match="no command specified"):
        merge_config(ContainerConfig(), RunConfig())


def test_a_health_check_is_merged_and_can_be_switched_off() -> None:
    image = RunConfig(cmd=["x"], healthcheck=HealthConfig(test=["CMD", "probe"], retries=7))
    merged = merge_config(ContainerConfig(healthcheck=HealthConfig(interval=5)), image)
    assert merged.healthcheck == HealthConfig(test=["CMD", "probe"], interval=5, retries=7)
    off = merge_config(ContainerConfig(healthcheck=HealthConfig(test=["NONE"])), image)
    assert off.healthcheck is not UNSET and plan_of(off.healthcheck) is None


def probe(code: int) -> ProbeResult:
    return ProbeResult(1, 2, code, "")


def test_health_follows_the_streak() -> None:
    health = Health()
    for _ in range(2):
        health = after_probe(health, probe(1), 3, starting=False)
        assert health.status == "starting"
    health = after_probe(health, probe(1), 3, starting=False)
    assert (health.status, health.failing_streak) == ("unhealthy", 3)
    health = after_probe(health, probe(0), 3, starting=False)
    assert (health.status, health.failing_streak) == ("healthy", 0)
    for _ in range(9):
        health = after_probe(health, probe(0), 3, starting=False)
    assert len(health.results) == 5


def test_failures_in_the_start_period_do_not_count() -> None:
    health = after_probe(Health(), probe(1), 1, starting=True)
    assert (health.status, health.failing_streak) == ("starting", 0)


def test_names_are_free_ones() -> None:
    rng, taken = random.Random(1), set[str]()
    for _ in range(6000):
        taken.add(random_name(taken.__contains__, rng))
    assert len(taken) == 6000


def test_top_keeps_the_rows_of_the_container() -> None:
    text = "UID  PID PPID CMD\nroot 1 0 init\nroot 22 1 sleep 9 9\nroot 23 1 other\n"
    assert parse(text, {22}) == (["UID", "PID", "PPID", "CMD"], [["root", "22", "1", "sleep 9 9"]])
