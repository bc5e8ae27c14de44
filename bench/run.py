"""`make bench`: every figure of the engine, beside the reference's in one interleaved run.

    REFERENCE_DOCKER_HOST=unix:///path/docker.sock make bench         both, with ratios
    make bench                                                        ours alone
    .venv/bin/python bench/run.py --only exec,ps --rounds 9           some of it

Medians of `--rounds` rounds; within a round the engines take turns. Needs root.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable

import cases
from engines import Engine, naru, reference


def measure(
    engines: list[Engine], case: Callable[[Engine], dict[str, float]], rounds: int, warm: bool
) -> dict[str, dict[str, float]]:
    """figure → engine → median. One round that is not counted goes before; `warm`: and one run of
    the same engine before each counted one, since a processor that idled, or whose caches another
    engine filled, takes milliseconds to come back.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        for engine in engines:
            if warm:
                case(engine)
            for figure, value in case(engine).items():
                if number:
                    found.setdefault(figure, {}).setdefault(engine.name, []).append(value)
    return {
        figure: {name: statistics.median(values) for name, values in by_engine.items()}
        for figure, by_engine in found.items()
    }


def show(results: dict[str, dict[str, float]]) -> None:
    for figure, values in results.items():
        ours, theirs = values.get("naru"), values.get("docker")
        line = f"| {figure} | " + (f"{ours:.4g}" if ours is not None else "-")
        if theirs is not None:
            line += f" | {theirs:.4g}"
        if ours is not None and theirs:
            goal = cases.GOALS.get(figure)
            verdict = (
                "" if goal is None else (" ≤ " if ours / theirs <= goal else " > ") + f"{goal:.3g}"
            )
            line += f" | {ours / theirs:.3f}{verdict}"
        print(line + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="names of cases, separated by commas")
    parser.add_argument("--rounds", type=int, default=0, help="instead of each case's own number")
    parser.add_argument("--cold", action="store_true", help="no warm run before each counted one")
    arguments = parser.parse_args()
    wanted = [name for name in arguments.only.split(",") if name]
    unknown = [name for name in wanted if name not in cases.CASES]
    if unknown:
        print(f"bench: no case {unknown[0]!r}; there are {', '.join(cases.CASES)}", file=sys.stderr)
        return 2
    print(time.strftime("Measured %Y-%m-%d %H:%M UTC, ", time.gmtime()) + cases.machine())
    print("\n| figure | naru | docker | ratio and goal |\n|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(naru())
        other = reference()
        engines = [ours] if other is None else [ours, other]
        for engine in engines:
            cases.make_busybox(engine)
        for name, (case, rounds) in cases.CASES.items():
            if not wanted or name in wanted:
                warm = name in cases.WARM and not arguments.cold
                show(measure(engines, case, arguments.rounds or rounds, warm))
    return 0


if __name__ == "__main__":
    sys.exit(main())
