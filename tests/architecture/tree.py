"""The project as files: where it is, its modules as syntax trees, what one glance at the text cannot answer."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fhir_dmp"


def modules() -> list[Path]:
    """Return the files of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def suite() -> list[Path]:
    """Return the files that hold tests."""
    return sorted((ROOT / "tests").rglob("test_*.py"))


def name(path: Path) -> str:
    """Return the path below the root, for a parametrised test to be named by."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Return the module's syntax tree."""
    return ast.parse(path.read_text())


def called(path: Path) -> set[str]:
    """Return what the module calls, as it is written: ``datetime.now``, ``os.environ.get``."""
    return {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
