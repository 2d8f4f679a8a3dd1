#!/usr/bin/env python3
"""Print how long files and functions are, and the five longest functions: for a reviewer to read, no gate.

Every line counts (blank, comment, docstring); files of three lines or fewer are left out.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Function:
    """A function and how many lines it has."""

    lines: int
    name: str
    place: str


def main() -> int:
    """Measure the folders that are named, or the package and its tests."""
    for name in sys.argv[1:] or ("fhir_dmp", "tests", "scripts"):
        files = {path: path.read_text() for path in sorted((ROOT / name).rglob("*.py"))}
        lengths = [length for length in (text.count("\n") for text in files.values()) if length > 3]
        functions = [found for path, text in files.items() for found in _functions(path, text)]
        print(f"{name}: {sum(lengths)} lines")
        print(f"  files     {_spread(lengths)}")
        print(f"  functions {_spread([each.lines for each in functions])}")
        for each in sorted(functions, key=lambda found: -found.lines)[:5]:
            print(f"    {each.lines:4} {each.name} ({each.place})")
    return 0


def _functions(path: Path, text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(lines, node.name, f"{path.relative_to(ROOT)}:{node.lineno}")


def _spread(lengths: Sequence[int]) -> str:
    if not lengths:
        return "none"
    ninetieth = sorted(lengths)[min(len(lengths) - 1, int(len(lengths) * 0.9))]
    return f"{len(lengths)}: median {statistics.median(lengths):.0f}, p90 {ninetieth}, longest {max(lengths)}"


if __name__ == "__main__":
    sys.exit(main())
