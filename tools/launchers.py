"""Write .venv/bin/naru and .venv/bin/narud, and put this checkout on the environment's path.

A launcher that names its one module starts several times faster than a generated entry point:
`-I` keeps the user's environment out, and nothing is looked up that is not needed. The client half
needs no installed package at all: its launcher leaves out `site` too (see launcher.py).
"""

import sys
import sysconfig
from pathlib import Path

import launcher

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"


def main() -> None:
    site = Path(sysconfig.get_path("purelib"))
    (site / "naru-checkout.pth").write_text(f"{ROOT}\n")
    launcher.write(BIN / "naru", f"{BIN}/python", str(ROOT))
    launcher.write(BIN / "narud", f"{BIN}/python", str(ROOT), launcher.ENGINE)


if __name__ == "__main__":
    sys.exit(main())
