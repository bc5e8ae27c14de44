"""The same with runc, which is driven by its commands alone."""

import asyncio
from pathlib import Path

import pytest
from proc_harness import rig

from naru.base.errors import StartFailed
from naru.kernel.spawn import Spawner
from naru.runtime.crun import RuntimeBinary, detect_binary

PATH = "/usr/sbin/runc"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not Path(PATH).exists(), reason="runc is not installed"),
]


def binary() -> RuntimeBinary:
    return asyncio.run(detect_binary(Spawner(), PATH))


def test_its_version_is_known_and_has_no_shortcuts() -> None:
    found = binary()
    assert found.version.startswith("runc 1.")
    assert not found.has_shortcuts


def test_life_and_exec(tmp_path: Path) -> None:
    async def scenario(found: RuntimeBinary) -> None:
        async with rig(tmp_path, crun=found) as r:
            launched = await r.started("c", "sh", "-c", "exit 3")
            assert await r.finished("c", launched) == 3
            with pytest.raises(StartFailed, match='exec: "nope": executable file not found'):
                await r.runtime.create(r.launch("c", "nope"))
            await r.started("c", "sleep", "100")
            script = "echo out; echo err >&2; exit 4"
            assert await r.exec_output("c", "sh", "-c", script) == (4, "out\nerr\n")
            fields = {"tty": True, "console_size": (20, 30)}
            code, output = await r.exec_output("c", "stty", "size", **fields)
            # runc may be late with telling the inner terminal that the outer one adds the CR.
            assert (code, output.replace("\r\r", "\r")) == (0, "20 30\r\n")
            for command, code in (("nope", 127), ("/nope", 127), ("/etc", 126)):
                with pytest.raises(StartFailed) as caught:
                    await r.exec("c", command)
                assert caught.value.exit_code == code
            script = "for n in $(seq 3 40); do [ -L /proc/$$/fd/$n ] && echo $n; done; true"
            assert await r.exec_output("c", "sh", "-c", script) == (0, "")
            await r.runtime.delete("c")
            assert r.leftovers() == []

    asyncio.run(scenario(binary()))
