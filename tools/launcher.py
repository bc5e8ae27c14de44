"""Write the command `naru` of a virtual environment so that it starts quickly, and `narud`.

    .venv/bin/python tools/launcher.py .venv/bin/naru

A launcher that pip writes runs `site`, which costs as much as a whole `naru ps`. This one starts
Python isolated (-I: no environment variables, no user packages) and without `site` (-S); the
client half of Naru needs nothing but the standard library. The engine needs its packages.
"""

import os
import stat
import sys
from pathlib import Path

SHEBANG_LIMIT = 127
CLIENT = ("-IS", "naru.cli.main")
ENGINE = ("-I", "naru.engine.main")


def launcher_text(python: str, source: str, program: tuple[str, str]) -> str:
    """The script that runs `program` (options, module) with the package found below `source`."""
    options, module = program
    shebang = f"#!{python} {options}"
    if " " in python or len(shebang) > SHEBANG_LIMIT:
        shebang = f"#!/bin/sh\n'''exec' \"{python}\" {options} \"$0\" \"$@\"\n' '''"
    return (
        f"{shebang}\n"
        "import sys\n\n"
        f"sys.path.insert(0, {source!r})\n"
        f"from {module} import run\n\n"
        "run()\n"
    )


def write(target: Path, python: str, source: str, program: tuple[str, str] = CLIENT) -> None:
    """Replace `target` by the launcher, whole or not at all."""
    partial = target.with_name(f".{target.name}.new")
    partial.write_text(launcher_text(python, source, program))
    partial.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    os.replace(partial, target)


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.executable, str(Path(__file__).resolve().parent.parent))
