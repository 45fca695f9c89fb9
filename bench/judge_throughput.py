"""Our judging client beside others, against one server: verdicts a second, CPU a verdict, and their ratios.

The server is one that answers at once, in a process of its own, so that the clients are what is measured; `--engine`
starts the demo judge on vLLM instead, and `--url` names a server that is there. Every client runs in a process of its
own, without its start. The order changes from round to round, so that a machine that warms up or slows down favours
nobody, and ratios are of the same round. Every pass has a number of its own in front of its instructions: none profits
from the prefixes that another one left in the server's cache, while requests of one answer share theirs as they do in
real work. A machine that is shared disturbs verdicts a second more than CPU a verdict.

    python -m bench.judge_throughput                                  # about ten minutes; inspect_ai is installed once
    python -m bench.judge_throughput --clients ours aiohttp-256
    POLLUX_JUDGE_API_KEY=… python -m bench.judge_throughput --url http://127.0.0.1:8000/v1
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clients import CLIENTS, KEY_VARIABLE, PACKAGE, Figures, read_criteria, write_work
from pollux_dagster.core.profile_files import packaged_profile, packaged_profiles
from pollux_dagster.core.work import Answer
from pollux_dagster.judge.endpoint import Endpoint
from pollux_dagster.judge.server import ServerHandle, ServerSpec, attached_server, cpu_vllm_spec, managed_server

ROOT = PACKAGE.parent
INSPECT = "inspect_ai-256"
INSPECT_VERSIONS = ("inspect_ai==0.3.285", "openai==3.54.0")
INSPECT_FOLDER = ROOT / ".pollux" / "bench" / "inspect_ai"
ANSWER_CHARS = 1_500  # about what models write; the demo judge knows short ones


def make_answers(pass_number: int, verdicts: int, chars: int = 0) -> Iterator[Answer]:
    """Distinct answers for one pass, of the demo data's texts and so many characters, with all criteria of each."""
    criteria = read_criteria()
    lines = (PACKAGE / "demo" / "data" / "instructions.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    for number in range(verdicts // len(criteria)):
        item = items[number % len(items)]
        reference = item.get("reference_answer")
        answer = f"Ответ: {reference or 'не знаю'}. Это ответ на вопрос номер {number}."
        while len(answer) < chars:
            other = items[(number + len(answer)) % len(items)]
            answer += f" {other['instruction']} {other.get('reference_answer') or 'Об этом мнения расходятся.'}"
        instruction = f"{pass_number:03}-{number:05}. {item['instruction']}"
        yield Answer(instruction, reference, answer, [(f"{pass_number}-{number}-{key}", key) for key in criteria])


def run_client(name: str, folder: Path, endpoint: Endpoint, profile: str) -> Figures:
    """One pass of one client. Raises RuntimeError with the end of what it said when it fails."""
    program = (
        [str(INSPECT_FOLDER / "bin" / "python"), str(ROOT / "bench" / "inspect_client.py")]
        if name == INSPECT
        else [sys.executable, "-m", "bench.clients", name, "--profile", profile]
    )
    done = subprocess.run(
        [*program, "--url", endpoint.base_url, "--model", endpoint.model, "--folder", str(folder)],
        cwd=ROOT,
        env={**os.environ, KEY_VARIABLE: endpoint.api_key, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:  # negative: the number of the signal, such as 4 for an instruction the processor lacks
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{(done.stderr or done.stdout)[-3000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def install_inspect() -> None:
    """An environment with inspect_ai, unless it is there. Takes some minutes."""
    mark = INSPECT_FOLDER / "installed"
    if mark.exists() and mark.read_text() == str(INSPECT_VERSIONS):
        return
    print(f"Installing {INSPECT_VERSIONS[0]} into {INSPECT_FOLDER}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(INSPECT_FOLDER)], check=True)
    pip = [str(INSPECT_FOLDER / "bin" / "python"), "-m", "pip", "install", "-qqq", "--disable-pip-version-check"]
    subprocess.run([*pip, *INSPECT_VERSIONS], check=True)
    mark.write_text(str(INSPECT_VERSIONS))


@contextmanager
def judge_server(
    options: argparse.Namespace, changed: Callable[[ServerSpec], ServerSpec] = lambda spec: spec
) -> Iterator[ServerHandle]:
    """The server at `--url`, the demo judge under our supervision (its spec `changed`), or one that answers at once."""
    if options.url:
        with attached_server(options.url, os.environ.get(KEY_VARIABLE, "")) as server:
            yield server
    elif options.engine:
        profile = packaged_profile(options.profile)
        spec = cpu_vllm_spec(profile.served_model, max_model_len=profile.max_model_len, idle_shutdown_s=1.0)
        with (
            TemporaryDirectory(prefix="pollux-bench-server-") as state,
            managed_server(changed(spec), Path(state), lambda line: print(line, file=sys.stderr)) as server,
        ):
            yield server
    else:
        command = [sys.executable, "-m", "bench.instant_server"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                with attached_server(f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", "") as server:
                    yield server
            finally:
                process.kill()


def compare(options: argparse.Namespace) -> dict[str, list[Figures]]:
    """The figures of every round of every client."""
    found: dict[str, list[Figures]] = {name: [] for name in options.clients}
    with judge_server(options) as server:
        for number in range(options.rounds):
            shift = number % len(options.clients)
            for place, name in enumerate([*options.clients[shift:], *options.clients[:shift]]):
                with TemporaryDirectory(prefix="pollux-bench-") as made:
                    folder = Path(made)
                    chars = 0 if options.engine else ANSWER_CHARS
                    answers = make_answers(number * len(options.clients) + place, options.verdicts, chars)
                    write_work(folder, answers, packaged_profile(options.profile))
                    found[name].append(run_client(name, folder, server.endpoint, options.profile))
            shown = ", ".join(f"{name} {_shown(rounds[-1]['per_s'], 0)}/s" for name, rounds in found.items())
            print(f"round {number + 1}: {shown}", file=sys.stderr)
    return found


def table(found: dict[str, list[Figures]]) -> str:
    """Medians over the rounds, and of the ratios in each of them: above 1, ours is faster or needs less."""
    lines = ["| client | CPU ms a verdict | ours needs less | verdicts/s | ours is faster |", "|---|---|---|---|---|"]
    ours = found["ours"]
    for name, rounds in found.items():
        faster = [mine["per_s"] / theirs["per_s"] for mine, theirs in zip(ours, rounds, strict=True)]  # type: ignore[operator]
        used = [each["cpu_ms"] for each in rounds if each["cpu_ms"] is not None]
        less = [cpu_ms / (mine["cpu_ms"] or 0.0) for cpu_ms, mine in zip(used, ours, strict=False)]
        cells = (
            name,
            _shown(statistics.median(used) if used else None, 2),
            f"{_shown(statistics.median(less), 2)} ×" if less else "",
            _shown(statistics.median(each["per_s"] or 0.0 for each in rounds), 0),
            f"{_shown(statistics.median(faster), 2)} ×",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="an OpenAI-compatible server to attach to")
    parser.add_argument("--engine", action="store_true", help="start the demo judge on vLLM")
    parser.add_argument("--profile", default=None, choices=packaged_profiles())
    parser.add_argument("--clients", nargs="+", default=[*CLIENTS, INSPECT], choices=[*CLIENTS, INSPECT])
    parser.add_argument("--verdicts", type=int, default=None, help="requests in a pass, a multiple of five")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--minimum", type=float, default=None, help="exit with 1 when ours makes fewer verdicts a second"
    )
    options = parser.parse_args(arguments)
    options.profile = options.profile or ("demo" if options.engine else "pollux-4b")
    options.verdicts = options.verdicts or (1_000 if options.engine else 5_000)
    options.clients = ["ours", *(name for name in options.clients if name != "ours")]
    return options


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    if INSPECT in options.clients:
        install_inspect()
    found = compare(options)
    print(table(found))
    if (
        options.minimum is not None
        and statistics.median(each["per_s"] or 0.0 for each in found["ours"]) < options.minimum
    ):
        sys.exit(1)
