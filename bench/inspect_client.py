"""An evaluation by inspect_ai, for `judge_throughput`; the interpreter is that of an environment made for it.

Nothing of this project is imported. As ours does, it asks every prompt, reads the number at the end of the reply and
keeps a log. Its clock runs from the call of `eval` to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match
from inspect_ai.solver import generate

IN_FLIGHT = 256
MOST_PROMPTS = 500  # it takes so much longer than the others


def run(url: str, model: str, prompts: list[str]) -> dict[str, float]:
    """Requests a second and milliseconds of CPU a request."""
    os.environ["JUDGE_BASE_URL"] = url
    os.environ["JUDGE_API_KEY"] = os.environ.get("POLLUX_JUDGE_API_KEY") or "none"
    samples: list[Any] = [Sample(input=prompt, target="1") for prompt in prompts]
    task = Task(dataset=samples, solver=generate(), scorer=match(numeric=True))
    with TemporaryDirectory(prefix="pollux-bench-") as folder:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        [log] = eval(
            task,
            model=f"openai-api/judge/{model}",
            display="none",
            log_dir=folder,
            max_connections=IN_FLIGHT,
            max_samples=IN_FLIGHT,
            temperature=0.0,
            max_tokens=2_048,
        )
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    if log.status != "success":
        raise RuntimeError(f"inspect_ai ended with {log.status}: {log.error and log.error.message}")
    return {"per_s": len(prompts) / wall_s, "cpu_ms": 1_000 * cpu_s / len(prompts)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options, _ = parser.parse_known_args()
    prompts = json.loads((options.folder / "prompts.json").read_text())[:MOST_PROMPTS]
    print(json.dumps(run(options.url, options.model, prompts)))
