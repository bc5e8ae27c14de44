"""Bodies of the exec endpoints. Spec: Engine API 1.51, Exec."""

from msgspec import Struct


class ExecCreate(Struct, kw_only=True, rename="pascal"):
    """POST /containers/{id}/exec. `console_size`: height, width."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | str | None = None


class ExecStart(Struct, kw_only=True, rename="pascal"):
    """POST /exec/{id}/start."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None


class ProcessConfig(Struct, kw_only=True):
    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str
