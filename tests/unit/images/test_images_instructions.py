"""The `changes` of import and commit; what is wanted was read off Docker 28.5."""

import msgspec
import pytest

from naru.base.errors import InvalidParameter
from naru.images.instructions import apply_changes
from naru.spec.engine.container_config import HealthConfig
from naru.spec.oci.image import RunConfig


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("CMD echo hi", {"cmd": ["/bin/sh", "-c", "echo hi"]}),
        ('CMD ["echo", "hi"]', {"cmd": ["echo", "hi"]}),
        ("CMD", {"cmd": ["/bin/sh", "-c"]}),
        ('ENTRYPOINT ["a"]', {"entrypoint": ["a"]}),
        ("ENTRYPOINT", {"entrypoint": None}),
        ("ENV A=b C=d", {"env": ["A=b", "C=d"]}),
        ("ENV A b c", {"env": ["A=b c"]}),
        ('ENV A="b c" D=e\\ f', {"env": ["A=b c", "D=e f"]}),
        ("EXPOSE 80 90/udp", {"exposed_ports": {"80/tcp": {}, "90/udp": {}}}),
        ("EXPOSE 80-82", {"exposed_ports": {"80/tcp": {}, "81/tcp": {}, "82/tcp": {}}}),
        ("LABEL x=y", {"labels": {"x": "y"}}),
        ("USER bob", {"user": "bob"}),
        ("USER a b", {"user": "a b"}),
        ("VOLUME /data /more", {"volumes": {"/data": {}, "/more": {}}}),
        ('VOLUME ["/a b"]', {"volumes": {"/a b": {}}}),
        ("WORKDIR /w", {"working_dir": "/w"}),
        ("WORKDIR w/../x", {"working_dir": "/x"}),
        ("STOPSIGNAL SIGINT", {"stop_signal": "SIGINT"}),
        ("STOPSIGNAL RTMIN+3", {"stop_signal": "RTMIN+3"}),
        ("ONBUILD RUN x", {"on_build": ["RUN x"]}),
        ("HEALTHCHECK NONE", {"healthcheck": HealthConfig(test=["NONE"])}),
        ("cmd echo", {"cmd": ["/bin/sh", "-c", "echo"]}),
    ],
)
def test_change_sets_its_field(change: str, wanted: dict[str, object]) -> None:
    assert apply_changes(RunConfig(), [change]) == msgspec.structs.replace(RunConfig(), **wanted)


def test_healthcheck_flags_are_nanoseconds() -> None:
    config = apply_changes(
        RunConfig(), ["HEALTHCHECK --interval=5s --retries=2 --start-period=1m CMD true"]
    )
    assert config.healthcheck == HealthConfig(
        test=["CMD-SHELL", "true"],
        interval=5_000_000_000,
        retries=2,
        start_period=60_000_000_000,
    )


def test_variables_come_from_the_environment_before_the_line() -> None:
    config = apply_changes(
        RunConfig(env=["A=1"]),
        ["ENV A=2 B=$A", "WORKDIR /${B:-x}/${NONE:-none}", "LABEL a='$A' b=\"$A\" c=\\$A"],
    )
    assert config.env == ["A=2", "B=1"]
    assert config.working_dir == "/1/none"
    assert config.labels == {"a": "$A", "b": "2", "c": "$A"}


def test_entrypoint_forgets_an_older_command_only() -> None:
    base = RunConfig(cmd=["old"])
    assert apply_changes(base, ['ENTRYPOINT ["e"]']).cmd is None
    both = apply_changes(base, ['CMD ["new"]', 'ENTRYPOINT ["e"]'])
    assert (both.cmd, both.entrypoint) == (["new"], ["e"])


def test_lines_may_be_continued() -> None:
    assert apply_changes(RunConfig(), ["ENV A=1 \\\nB=2"]).env == ["A=1", "B=2"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("FOO x", "FOO is not a valid change command"),
        ('SHELL ["a"]', "SHELL is not a valid change command"),
        ("ENV A", "ENV must have two arguments"),
        ("EXPOSE foo", "Invalid containerPort: foo"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("LABEL", "LABEL requires at least one argument"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("HEALTHCHECK x", 'Unknown type "X" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=1ns CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("# a comment", "file with no instructions"),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        (
            "WORKDIR ${A",
            "failed to process \"${A\": syntax error: missing '}' or unsupported modifier",
        ),
        ("WORKDIR ${A:?gone}", 'failed to process "${A:?gone}": A: gone'),
    ],
)
def test_bad_change_is_refused_in_dockers_words(change: str, text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        apply_changes(RunConfig(), [change])
    assert caught.value.message == text
