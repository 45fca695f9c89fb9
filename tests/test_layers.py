"""Imports point one way: core ← ingest, judge, warehouse ← defs ← the command line. Dagster stays in defs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pollux_dagster"
MAY_IMPORT = {
    "core": set(),
    "demo": set(),
    "ingest": {"core"},
    "judge": {"core"},
    "warehouse": {"core"},
    "publication_access.py": set(),
    "refusals.py": set(),
    "report.py": {"publication_access"},
    "export.py": {"publication_access"},
    "ui": {"judge"},
    "defs": {"core", "demo", "ingest", "judge", "warehouse", "publication_access", "ui"},
    "definitions.py": {"defs"},
    "cli.py": {
        *("core", "demo", "ingest", "judge", "warehouse", "defs"),
        *("publication_access", "refusals", "report", "export", "ui"),
    },
}
KNOWS_DAGSTER = {"defs", "definitions.py", "cli.py"}
THE_RESOURCE_CLASS = PACKAGE / "warehouse" / "duckdb_resource.py"


def _imports(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import; write the whole path"
            found.add(node.module or "")
            if node.module == "pollux_dagster":
                found.update(f"pollux_dagster.{alias.name}" for alias in node.names if alias.name != "__version__")
    return found


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_a_layer_imports_only_the_layers_below_it(layer: str) -> None:
    root = PACKAGE / layer
    modules = [root] if root.suffix == ".py" else sorted(root.rglob("*.py"))
    assert modules, f"no modules in {root}"
    allowed = MAY_IMPORT[layer] | {layer.removesuffix(".py")}
    for module in modules:
        for name in _imports(module):
            if name.startswith("pollux_dagster."):
                assert name.split(".")[1] in allowed, f"{module.relative_to(PACKAGE)} may not import {name}"
            if name.split(".")[0] in {"dagster", "dagster_duckdb"} and layer not in KNOWS_DAGSTER:
                assert module == THE_RESOURCE_CLASS, f"{module.relative_to(PACKAGE)} may not know Dagster"


def test_every_module_belongs_to_a_layer() -> None:
    loose = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert loose - {"__init__.py"} == set(MAY_IMPORT)
