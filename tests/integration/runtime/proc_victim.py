"""An engine's runtime that a failpoint kills: `proc_victim.py FOLDER PREFIX`."""

import asyncio
import os
import sys
from pathlib import Path

from naru.runtime.logs.service import LogLimits, LogService

sys.path.insert(0, os.path.dirname(__file__))

from proc_harness import read_until, rig  # noqa: E402 - found beside this file


async def main(folder: Path, prefix: str) -> None:
    async with rig(folder, prefix=prefix) as r:
        log = str(folder / "log")
        service = LogService()
        session = r.runtime.attach("c", stdin=True)
        script = "for n in 1 2 3 4 5 6; do seq 1 300; sleep 0.03; done; read x"
        fields = {"stdin": True, "stdin_once": True, "log_path": log}
        launched = await r.started("c", "sh", "-c", script, **fields)
        service.track(r.runtime.bundle("c"), log, LogLimits(20_000, 3))
        await read_until(session, b"300\n" * 1)
        assert await (await r.exec("c", "true")).wait() == 0
        await asyncio.sleep(0.3)
        session.close_stdin()
        await r.runtime.wait_exit("c", launched.monitor, launched.process)
        service.ended("c")
        await r.runtime.delete("c")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
