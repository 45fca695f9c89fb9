"""compose.yaml as Compose reads it: variables filled in, and for each service what it runs with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class MissingVariableError(LookupError):
    """A variable that the file insists on is not set."""


def load(variables: Mapping[str, str], path: Path = COMPOSE) -> dict[str, Any]:
    """The file with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in from `variables`."""

    def fill(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if variables.get(name):
            return variables[name]
        if kind == "?":
            raise MissingVariableError(f"{name}: {text}")
        return text or ""

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(fill, value)
        if isinstance(value, list):
            return [filled(item) for item in value]
        return {name: filled(item) for name, item in value.items()} if isinstance(value, dict) else value

    document = filled(yaml.safe_load(path.read_text()))
    assert isinstance(document, dict)
    return document


@dataclass(frozen=True)
class Mount:
    """A path in the container and what is there: ("volume" | "config" | "secret" | "bind", its name or path)."""

    target: str
    kind: str
    source: str


def mounts(service: Mapping[str, Any]) -> list[Mount]:
    found = []
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        found.append(Mount(target, "bind" if source.startswith(("/", ".")) else "volume", source))
    found += [Mount(config["target"], "config", config["source"]) for config in service.get("configs", [])]
    found += [Mount(f"/run/secrets/{secret}", "secret", secret) for secret in service.get("secrets", [])]
    return found


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """Of the environment files first, then of the service itself, which goes before them."""
    found: dict[str, str] = {}
    for name in service.get("env_file", []):
        lines = (line.strip() for line in (ROOT / name).read_text().splitlines())
        found |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {**found, **service.get("environment", {})}


def image_environment(dockerfile: Path = ROOT / "Dockerfile") -> dict[str, str]:
    """What the last stage of a Dockerfile sets."""
    last = dockerfile.read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    return {
        name: value
        for line in re.findall(r"^ENV (.+)$", last, re.MULTILINE)
        for name, value in (pair.split("=", 1) for pair in line.split())
    }
