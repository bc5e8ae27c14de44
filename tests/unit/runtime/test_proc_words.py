"""The runtime's complaints in Docker's words, and the process of an exec session."""

import pytest

from naru.runtime.crun import create_failure, exec_failure
from naru.runtime.exec import ExecRequest, process_spec

NOT_FOUND = "executable file `{0}` not found in $PATH: No such file or directory"


@pytest.mark.parametrize(
    ("output", "argv", "text", "code"),
    [
        (
            NOT_FOUND.format("nope"),
            ["nope"],
            'exec: "nope": executable file not found in $PATH',
            127,
        ),
        (NOT_FOUND.format(""), [""], 'exec: "": executable file not found in $PATH', 127),
        (
            NOT_FOUND.format("/nope"),
            ["/nope"],
            'exec: "/nope": stat /nope: no such file or directory',
            127,
        ),
        (
            "open executable: Permission denied",
            ["/etc/passwd"],
            'exec: "/etc/passwd": permission denied',
            126,
        ),
        (
            "open executable: Operation not permitted",
            ["/etc"],
            'exec: "/etc": is a directory: permission denied',
            126,
        ),
        (
            "chdir `/x`: No such file or directory",
            ["true"],
            'chdir to cwd ("/x") set in config.json failed: no such file or directory',
            127,
        ),
    ],
)
def test_exec_failures(output: str, argv: list[str], text: str, code: int) -> None:
    error = exec_failure(output, argv, "/x")
    prefix = "OCI runtime exec failed: exec failed: unable to start container process: "
    assert (error.message, error.exit_code) == (prefix + text, code)


def test_create_failure_names_the_reason_and_the_code() -> None:
    error = create_failure("warning\n" + NOT_FOUND.format("nope") + "\n", ["nope"], "/")
    assert error.exit_code == 127
    assert error.message == (
        "failed to create task for container: failed to create shim task: OCI runtime create "
        "failed: runc create failed: unable to start container process: error during container "
        'init: exec: "nope": executable file not found in $PATH'
    )


def test_an_unknown_failure_keeps_the_runtimes_text() -> None:
    error = create_failure("mount `proc` to `proc`: Operation not permitted", ["sh"], "/")
    assert error.exit_code == 128
    assert error.message.endswith("mount `proc` to `proc`: Operation not permitted")
    assert create_failure("", ["sh"], "/").message.endswith("the runtime gave no reason")


CONTAINER = {
    "terminal": True,
    "consoleSize": {"height": 1, "width": 2},
    "user": {"uid": 5, "gid": 5},
    "args": ["sleep", "1"],
    "env": ["A=b"],
    "cwd": "/srv",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"]},
    "noNewPrivileges": True,
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 5, "soft": 5}],
    "apparmorProfile": "naru",
}


def test_an_exec_inherits_the_confinement_of_its_container() -> None:
    request = ExecRequest("c", ("id",), ("X=y",), "/", uid=7, gid=8, additional_gids=(9,))
    process = process_spec(request, CONTAINER)
    assert process == {
        **{name: CONTAINER[name] for name in CONTAINER if name != "consoleSize"},
        "terminal": False,
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
        "args": ["id"],
        "env": ["X=y"],
        "cwd": "/",
    }


def test_a_privileged_exec_has_its_own_capabilities_and_none_inheritable() -> None:
    request = ExecRequest(
        "c", ("id",), (), "/", tty=True, console_size=(3, 4), capabilities=("CAP_SYS_ADMIN",)
    )
    process = process_spec(request, CONTAINER)
    assert process["consoleSize"] == {"height": 3, "width": 4}
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
