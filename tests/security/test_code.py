"""What the code may not do, whoever writes it next: unpickle, run remote code, call a shell, build SQL from texts."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import dagster as dg
import pytest

import pollux_dagster
from pollux_dagster.definitions import build_defs
from pollux_dagster.judge.server import ServerSpec, cpu_vllm_spec
from pollux_dagster.settings import Settings

PACKAGE = Path(pollux_dagster.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "torch.load"}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def calls(tree: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN_IMPORTS
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in FORBIDDEN_IMPORTS
    for call in calls(tree_of(path)):
        assert ast.unparse(call.func) not in FORBIDDEN_CALLS, call.lineno
        for keyword in call.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            assert not (keyword.arg == "shell" and value is True), call.lineno
            assert not (keyword.arg in {"trust_remote_code", "allow_pickle"} and value is True), call.lineno


def test_the_only_io_manager_is_the_one_that_stores_nothing() -> None:
    named = set()
    for path in MODULES:
        tree = tree_of(path)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {keyword.arg for call in calls(tree) for keyword in call.keywords if keyword.arg}
        if any("io_manager" in name.lower() or "IOManager" in name for name in names):
            named.add(path.relative_to(PACKAGE).as_posix())
    assert named == {"definitions.py", "defs/resource_definitions.py"}
    nothing = build_defs(Settings.from_environment({})).resolve_job_def("evaluate").resource_defs["io_manager"](None)
    with pytest.raises(TypeError, match="returned a list"):
        nothing.handle_output(dg.build_output_context(asset_key=dg.AssetKey("a")), [1])
    with pytest.raises(TypeError, match="expected it to read the warehouse"):
        nothing.load_input(dg.build_input_context(asset_key=dg.AssetKey("a")))


def test_remote_code_is_trusted_only_where_the_user_wrote_so() -> None:
    for spec in (ServerSpec(model="org/model"), cpu_vllm_spec("org/model", max_model_len=1024)):
        assert not spec.trust_remote_code
    with pytest.raises(ValueError, match="trust_remote_code"):
        ServerSpec(model="org/model", arguments=("--trust-remote-code",))
    for path in MODULES:
        if path.parent.name != "server":  # nothing above the server's own settings ever mentions it
            assert "trust_remote_code" not in ast.unparse(tree_of(path)), path


def test_the_key_of_an_attached_server_is_named_and_never_configured() -> None:
    settings = ast.unparse(tree_of(PACKAGE / "settings.py"))
    assert "api_key_variable" in settings
    commands = [tree_of(path) for path in MODULES if path.parent == PACKAGE / "cli"]
    assert commands
    assert not any("POLLUX_JUDGE_API_KEY'" in ast.unparse(tree) for tree in commands)
