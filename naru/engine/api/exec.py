"""Exec sessions: create, start, resize, inspect.

Spec: Engine API 1.51, Exec.
"""

import base64

from naru.base.errors import InvalidParameter
from naru.base.units import is_number
from naru.containers.detach import parse_keys
from naru.containers.execs import ExecConfig
from naru.engine.api.attach import hijack
from naru.engine.api.call import Call, json_answer
from naru.engine.api.router import Route
from naru.http.message import Answer, Response
from naru.spec.engine.exec import ExecCreate, ExecStart, ProcessConfig


def console_size(given: list[int] | None) -> tuple[int, int] | None:
    """(height, width). Raises: InvalidParameter."""
    if given is None or given == [0, 0]:
        return None
    if len(given) != 2 or not all(0 <= side <= 65535 for side in given):
        raise InvalidParameter("ConsoleSize: wanted [height, width]")
    return given[0], given[1]


def resize_query(call: Call) -> tuple[int, int]:
    """Height and width of a resize request. Raises: InvalidParameter, in Docker's words."""
    sides = []
    for name, what in (("h", "height"), ("w", "width")):
        text = call.text(name)
        if not is_number(text) or int(text) > 65535:
            ranged = text.isascii() and text.isdigit()
            why = "value out of range" if ranged else "invalid syntax"
            raise InvalidParameter(f'invalid resize {what} "{text}": {why}')
        sides.append(int(text))
    return sides[0], sides[1]


async def create(call: Call) -> Answer:
    body = await call.decode(ExecCreate)
    cmd = body.cmd.split() if isinstance(body.cmd, str) else (body.cmd or [])
    if call.version < 42:
        body.console_size = None
    config = ExecConfig(
        cmd=tuple(cmd),
        attach_stdin=body.attach_stdin,
        attach_stdout=body.attach_stdout,
        attach_stderr=body.attach_stderr,
        tty=body.tty,
        detach_keys=body.detach_keys,
        env=tuple(body.env or ()),
        working_dir=body.working_dir,
        user=body.user,
        privileged=body.privileged,
        console_size=console_size(body.console_size) if body.tty else None,
    )
    return json_answer({"Id": call.services.containers.execs.create(call.name, config)}, 201)


async def start(call: Call) -> Answer:
    execs = call.services.containers.execs
    body = await call.decode_optional(ExecStart) or ExecStart()
    execs.inspect(call.name)
    if body.console_size is not None and not body.tty:
        size = None
        if any(body.console_size):
            raise InvalidParameter("console size is only supported when TTY is enabled")
    else:
        size = console_size(body.console_size) if call.version >= 42 else None
    stream = await execs.start(call.name, detach=body.detach, console_size=size)
    if stream is None:
        return Response(200)
    return hijack(call.request, call.version, stream, framed=not body.tty)


async def resize(call: Call) -> Answer:
    height, width = resize_query(call)
    call.services.containers.execs.resize(call.name, height, width)
    return Response(200)


async def inspect(call: Call) -> Answer:
    found = call.services.containers.execs.inspect(call.name)
    config = found.config
    keys = parse_keys(config.detach_keys) if config.detach_keys else b""
    return json_answer(
        {
            "ID": found.id,
            "Running": found.running,
            "ExitCode": found.exit_code,
            "ProcessConfig": ProcessConfig(
                tty=config.tty,
                entrypoint=config.cmd[0],
                arguments=list(config.cmd[1:]),
                privileged=config.privileged,
                user=config.user,
            ),
            "OpenStdin": config.attach_stdin,
            "OpenStderr": config.attach_stderr,
            "OpenStdout": config.attach_stdout,
            "CanRemove": False,
            "ContainerID": found.container_id,
            "DetachKeys": base64.b64encode(keys).decode(),
            "Pid": found.pid,
        }
    )


ROUTES = (
    Route("POST", "/containers/{name}/exec", create),
    Route("POST", "/exec/{name}/start", start),
    Route("POST", "/exec/{name}/resize", resize),
    Route("GET", "/exec/{name}/json", inspect),
)
