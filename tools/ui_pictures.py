"""Pictures of the Dagster UI for the documentation: `python -m tools.ui_pictures [FOLDER [NAME …]]`.

Makes a small home of its own (three models, an instant judge that answers over HTTP, one of them in part with words
instead of scores), serves it with `pollux up`, opens its pages in Debian's Chromium and writes one PNG per page into
FOLDER (default docs). The scores mean nothing. It takes about two minutes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.fakes.instant_judge import MODEL, MUMBLE, InstantJudge
from tests.page.chromium import Tab, browser
from tests.pipeline_world import ANSWERS, write_answers, write_instructions

INSTRUCTIONS = 12
WIDTH, HEIGHT = 1440, 900
PATIENCE_S = 120.0
POLLUX = (sys.executable, "-c", "from pollux_dagster.cli import app; app()")


def land(landing: Path, model_id: str, mumbled: int = 0) -> None:
    def answer(number: int) -> str:
        return f"{ANSWERS[number % 3]} {model_id} {number} {MUMBLE if number < mumbled else ''}"

    write_answers(landing, model_id, INSTRUCTIONS, answer)


def evaluated(environment: dict[str, str]) -> None:
    """A publication of three models, and a run that fails because a fourth has too few scores."""
    landing = Path(environment["POLLUX_LANDING"])
    write_instructions(landing, INSTRUCTIONS)
    for model_id in ("model-a", "model-b", "model-c"):
        land(landing, model_id)
    run(environment)
    land(landing, "model-d", mumbled=4)
    run(environment)


def run(environment: dict[str, str]) -> None:
    subprocess.run([*POLLUX, "run"], env=environment, stdout=subprocess.DEVNULL, check=False)


@contextmanager
def served(environment: dict[str, str]) -> Iterator[str]:
    """The address of the UI of the home."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([*POLLUX, "up", "--port", str(port)], env=environment, start_new_session=True)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_for(port: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def runs(address: str) -> dict[str, str]:
    """Status of a run → id of the newest one that has it."""
    body = json.dumps({"query": "{ runsOrError { ... on Runs { results { runId status } } } }"}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answered:
        found = json.load(answered)["data"]["runsOrError"]["results"]
    return {each["status"]: each["runId"] for each in reversed(found)}


def pages(address: str) -> dict[str, str]:
    """Name of a picture → path of its page."""
    ended = runs(address)
    return {
        "groups": "/asset-groups",
        "leaderboard": "/assets/marts/leaderboard",
        "leaderboard-plots": "/assets/marts/leaderboard?view=plots",
        "leaderboard-checks": "/assets/marts/leaderboard?view=checks",
        "coverage": "/assets/judging/admission?view=checks&checkDetail=coverage_is_sufficient",
        "model": f"/assets/judging/verdicts?view=partitions&partition={quote('model-d')}",
        "model-check": "/assets/judging/verdicts?view=checks&checkDetail=model_is_covered",
        "answers": "/assets/raw/criteria",
        "publication": "/assets/published/tables",
        "run": f"/runs/{ended['SUCCESS']}",
        "failed-run": f"/runs/{ended['FAILURE']}",
        "runs": "/runs",
    }


def picture(tab: Tab, address: str, path: str, file: Path) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
    tab.call("Page.navigate", url=address + path)
    tab.until("document.readyState === 'complete' && document.body.innerText.length > 200")
    settled(tab)
    tab.picture(file)


def settled(tab: Tab) -> None:
    """Wait until the text of the page stays the same for two seconds."""
    end, before, since = time.monotonic() + 15, "", time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < 2:
        now = str(tab.run("document.body.innerText"))
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.3)


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0] if arguments else "docs")
    wanted = arguments[1:]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pollux-ui-") as scratch, InstantJudge() as judge:
        (Path(scratch) / "landing").mkdir()
        environment = {
            **os.environ,
            "POLLUX_HOME": f"{scratch}/home",
            "POLLUX_LANDING": f"{scratch}/landing",
            "POLLUX_JUDGE_URL": judge.url,
            "POLLUX_JUDGE_MODEL": MODEL,
        }
        evaluated(environment)
        with served(environment) as address, browser(Path(scratch) / "browser") as tab:
            for name, path in pages(address).items():
                if not wanted or name in wanted:
                    picture(tab, address, path, folder / f"ui-{name}.png")
                    print(folder / f"ui-{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
