"""What is fuzzed: one module per reader, each with seeds and a `check(data)` that raises when a promise is broken.

The one idea: a target is a plain function of bytes, so that atheris, hypothesis and a replay of one file all run it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tests.fuzz.fuzz_targets import (
    injections,
    landing_files,
    landing_rows,
    parquet_files,
    replies,
    rubrics,
    sql_headers,
    taxonomies,
)


@dataclass(frozen=True)
class Target:
    """One reader: `check` raises AssertionError, or what the reader should have caught, on a finding."""

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        module.__name__.rpartition(".")[2]: Target(module.check, module.SEEDS)
        for module in (
            injections,
            landing_files,
            landing_rows,
            parquet_files,
            replies,
            rubrics,
            sql_headers,
            taxonomies,
        )
    }
)
