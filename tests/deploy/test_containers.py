"""What can be said of the container files without a container engine: they are well-formed and keep their promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pollux_dagster.runs.instance import DAGSTER_YAML
from pollux_dagster.ui.services import DAEMON_PACE, LOCATION
from tests.deploy.compose_file import COMPOSE, ROOT, MissingVariableError, environment, load, mounts

DEPLOY = ROOT / "deploy"
SET = {"POSTGRES_PASSWORD": "secret"}
OURS = ("code-server", "webserver", "daemon")


def program(name: str) -> str:
    """A program of the development environment, else of the machine."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (requirements/dev.in)")
    return found


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_hadolint_finds_nothing(name: str) -> None:
    ran = subprocess.run([program("hadolint"), ROOT / name], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", [COMPOSE, DEPLOY / "compose.gpu.yaml"], ids=lambda path: path.name)
def test_compose_files_follow_the_specification(path: Path) -> None:
    command: list[str | Path] = [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_reference_of_compose_leads_somewhere() -> None:
    compose = load(SET)
    services = compose["services"]
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, (name, other)
            assert "healthcheck" in services[other], (name, other)
        assert set(service["networks"]) <= set(compose["networks"]), name
        for mount in mounts(service):
            if mount.kind != "bind":
                assert mount.source in compose[f"{mount.kind}s"], (name, mount)
        assert all((ROOT / file).is_file() for file in service.get("env_file", [])), name
    used = {(mount.kind, mount.source) for service in services.values() for mount in mounts(service)}
    for kind in ("volume", "config", "secret"):
        assert {(kind, name) for name in compose[f"{kind}s"]} == {pair for pair in used if pair[0] == kind}
    for config in compose["configs"].values():
        assert (ROOT / config["file"]).is_file()


def test_a_password_is_asked_for_and_none_is_in_a_file() -> None:
    with pytest.raises(MissingVariableError, match="POSTGRES_PASSWORD"):
        load({})
    kept = subprocess.run(
        ["git", "check-ignore", ".env", "deploy/secrets/judge_api_key"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert kept.stdout.split() == [".env", "deploy/secrets/judge_api_key"]


def test_the_judges_key_results_and_answers_reach_the_code_server_only() -> None:
    services = load(SET)["services"]
    for name, service in services.items():
        has = {mount.target for mount in mounts(service)}
        private = {"/run/secrets/judge_api_key", "/data/home", "/data/landing"}
        assert has & private == (private if name == "code-server" else set()), name
        assert not any(variable.endswith("API_KEY") for variable in environment(service)), name
    assert environment(services["code-server"])["POLLUX_JUDGE_API_KEY_FILE"] in {
        mount.target for mount in mounts(services["code-server"])
    }


def test_nobody_is_root_and_only_this_machine_can_reach_the_ui() -> None:
    services = load(SET)["services"]
    for name in ("Dockerfile", "Dockerfile.gpu"):
        last = (ROOT / name).read_text().rpartition("\nFROM ")[2]
        (user,) = re.findall(r"^USER (\d+):\d+$", last, re.MULTILINE)
        assert int(user) > 0, name
    assert services["postgres"]["user"] == "postgres"
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert name == "postgres" or "user" not in service, name
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"webserver": ["127.0.0.1:3000:3000"]}
    assert services["webserver"]["command"][:3] == ["python", "-m", "pollux_dagster.ui.webserver"]  # with the guard
    assert load(SET)["networks"]["database"] == {"internal": True}
    assert services["postgres"]["networks"] == services["daemon"]["networks"] == ["database"]


def test_only_what_the_wheel_needs_goes_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source.split("/")[0]
        for name in ("Dockerfile", "Dockerfile.gpu")
        for words in re.findall(r"^COPY (?!--from)(.+)$", (ROOT / name).read_text(), re.MULTILINE)
        for source in words.split()[:-1]
        if source != "."
    }
    assert copied | {"pyproject.toml", "pollux_dagster", "README.md", "LICENSE"} <= sent
    assert all((ROOT / name).exists() for name in sent)


def test_dagsters_settings_are_those_of_a_new_home_but_for_the_storage() -> None:
    (deployed, written) = (
        yaml.safe_load(text) for text in ((DEPLOY / "dagster.yaml").read_text(), DAGSTER_YAML)
    )  # fmt: skip
    del written["instance_class"]  # a storage in SQLite files
    assert deployed == {**written, "storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}}


def test_schedules_keep_their_names_and_the_daemon_its_pace() -> None:
    ((location,),) = (entry.values() for entry in yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"])
    services = load(SET)["services"]
    assert location["location_name"] == LOCATION
    assert location["socket"] in services["code-server"]["command"]
    assert location["socket"] in services["webserver"]["command"]
    assert DAEMON_PACE.items() <= services["daemon"]["environment"].items()


def test_both_images_are_looked_at_as_compose_looks_at_the_web_server() -> None:
    wanted = load(SET)["services"]["webserver"]["healthcheck"]["test"]
    for name in ("Dockerfile", "Dockerfile.gpu"):
        (check,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.+\])$", (ROOT / name).read_text(), re.MULTILINE)
        assert ["CMD", *json.loads(check)] == wanted, name
