"""Print the sizes that STYLE budgets, and fail past the maxima.

Module: median ≤ 160 lines, 95th percentile ≤ 450, none over 600. Function: median ≤ 8, 95th
percentile ≤ 40, none over 70. At most 15 public methods on a class.
"""

import ast
import sys
from pathlib import Path

MODULE_MAX, FUNCTION_MAX, METHODS_MAX = 600, 70, 15
ROOT = Path(__file__).resolve().parent.parent


def percentile(values: list[int], share: float) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def measure(path: Path) -> tuple[int, list[tuple[str, int]], list[tuple[str, int]]]:
    text = path.read_text()
    functions, classes = [], []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append((node.name, (node.end_lineno or 0) - node.lineno + 1))
        elif isinstance(node, ast.ClassDef):
            public = [
                item
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                and not item.name.startswith("_")
            ]
            classes.append((node.name, len(public)))
    return text.count("\n"), functions, classes


def main() -> int:
    complaints, modules, functions = [], [], []
    for path in sorted((ROOT / "naru").rglob("*.py")):
        if path.name == "__init__.py":
            if path.stat().st_size:
                complaints.append(f"{path.relative_to(ROOT)}: not empty")
            continue
        name = path.relative_to(ROOT)
        lines, functions_here, classes = measure(path)
        modules.append(lines)
        functions += [size for _, size in functions_here]
        if lines > MODULE_MAX:
            complaints.append(f"{name}: {lines} lines, {MODULE_MAX} at most")
        complaints += [
            f"{name}: function {function} has {size} lines, {FUNCTION_MAX} at most"
            for function, size in functions_here
            if size > FUNCTION_MAX
        ]
        complaints += [
            f"{name}: class {cls} has {count} public methods, {METHODS_MAX} at most"
            for cls, count in classes
            if count > METHODS_MAX
        ]
    for label, values in (("modules", modules), ("functions", functions)):
        print(
            f"{label}: {len(values)}, lines median {percentile(values, 0.5)}, "
            f"95th percentile {percentile(values, 0.95)}, longest {max(values, default=0)}"
        )
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
