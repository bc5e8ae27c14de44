"""`naru update`: change the limits and the restart policy of containers."""

from __future__ import annotations

import sys

from naru.base.errors import NaruError
from naru.cli.command import Command, CommandError
from naru.cli.create_request import limits, read_restart
from naru.cli.create_values import BYTES, CPUS, SWAP_BYTES, UINT16
from naru.cli.flags import INT, STRING, Flag, Flags
from naru.client import containers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from naru.cli.flags import Values
    from naru.cli.session import Session

FLAGS = Flags(
    Flag("blkio-weight", "", UINT16, "Block IO (relative weight), 10 to 1000, or 0 for none", 0),
    Flag("cpu-period", "", INT, "CPU CFS (Completely Fair Scheduler) period, microseconds"),
    Flag("cpu-quota", "", INT, "CPU CFS (Completely Fair Scheduler) quota, microseconds"),
    Flag("cpu-rt-period", "", INT, "Limit the CPU real-time period in microseconds"),
    Flag("cpu-rt-runtime", "", INT, "Limit the CPU real-time runtime in microseconds"),
    Flag("cpu-shares", "c", INT, "CPU shares (relative weight)"),
    Flag("cpus", "", CPUS, "Number of CPUs", 0),
    Flag("cpuset-cpus", "", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag("cpuset-mems", "", STRING, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag("memory", "m", BYTES, "Memory limit", 0),
    Flag("memory-reservation", "", BYTES, "Memory soft limit", 0),
    Flag("memory-swap", "", SWAP_BYTES, "Memory plus swap: -1 to enable unlimited swap", 0),
    Flag("pids-limit", "", INT, "Tune container pids limit (set -1 for unlimited)"),
    Flag("restart", "", STRING, "Restart policy to apply when a container exits"),
)


def run(session: Session, values: Values, arguments: list[str]) -> int:
    if not values.given:
        raise CommandError("you must provide one or more flags when using this command")
    try:
        policy = read_restart(values["restart"])
    except ValueError as error:
        raise CommandError(str(error)) from error
    body = {
        **limits(values), "CgroupParent": "", "BlkioWeightDevice": None,
        "BlkioDeviceReadBps": None, "BlkioDeviceWriteBps": None, "BlkioDeviceReadIOps": None,
        "BlkioDeviceWriteIOps": None, "Devices": None, "DeviceCgroupRules": None,
        "DeviceRequests": None, "MemorySwappiness": None, "OomKillDisable": None,
        "PidsLimit": values["pids-limit"] if "pids-limit" in values.given else None,
        "Ulimits": None, "RestartPolicy": policy,
    }  # fmt: skip
    warnings, failures = list[str](), list[str]()
    for name in arguments:
        try:
            warnings += containers.update(session.engine, name, body)
            sys.stdout.write(name + "\n")
        except NaruError as error:
            failures.append(error.message)
    sys.stdout.write("".join(warning + "\n" for warning in warnings))
    if failures:
        raise CommandError("\n".join(failures))
    return 0


UPDATE = Command(
    run,
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Update configuration of one or more containers",
    FLAGS,
    least=1,
    most=None,
)
