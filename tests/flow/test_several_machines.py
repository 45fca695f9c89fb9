"""Two workers that share nothing with the home but a location judge for it at once, and one of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import duckdb
import pytest

from pollux_dagster.orders.claims import Board
from pollux_dagster.orders.location import Location
from tests.fakes.instant_judge import InstantJudge
from tests.flow.s3_server import serve
from tests.pipeline_world import ANSWERS, write_answers, write_instructions

POLLUX = [sys.executable, "-m", "pollux_dagster.cli"]
MODELS, INSTRUCTIONS = ("alpha", "beta", "gamma"), 40
REQUESTS = len(MODELS) * INSTRUCTIONS * 2
TABLES = ("staging.scores", "staging.answers", "marts.leaderboard", "marts.model_quality", "marts.criterion_quality")


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A location's address and what its users need in their environment."""
    if request.param == "folder":
        (tmp_path / "shared").mkdir()  # as a home's first run does, and workers that come before it do not
        yield (tmp_path / "shared").as_uri(), {}
    else:
        with serve(tmp_path / "s3") as (url, environment):
            yield url, environment


def answer_of(model: int, instruction: int) -> str:
    return f"{ANSWERS[(instruction + model) % 3]} ({model}, {instruction})"


def tables(home: Path) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(str(home / "published" / "pollux.duckdb"), read_only=True) as con:
        found = {table: con.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES}
        found["verdicts"] = con.execute(
            "SELECT verdict_key, judge_id, status, score, rationale FROM judging.verdicts ORDER BY ALL"
        ).fetchall()
    return found


def shares_being_judged(url: str) -> int:
    location = Location(url)
    boards = [Board.look(location, order_id) for order_id in location.folders("orders")]
    shares = {name.partition("/")[0] for board in boards for name in board.names("claims")}
    return sum(not board.is_done(share) for board in boards for share in shares)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_judge_at_once_one_is_killed_and_the_tables_are_those_of_one_machine(
    tmp_path: Path, location: tuple[str, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, access = location
    landing = tmp_path / "landing"
    write_instructions(landing, INSTRUCTIONS)
    for number, model in enumerate(MODELS):
        write_answers(landing, model, INSTRUCTIONS, partial(answer_of, number))
    for variable, value in access.items():
        monkeypatch.setenv(variable, value)  # of this process too, which looks at the location
    environment = {
        **os.environ,
        "POLLUX_CONFIG": "",
        "POLLUX_LANDING": str(landing),
        "POLLUX_PROFILE": "pollux-4b",
        "POLLUX_JUDGE_MODEL": "instant",
        "POLLUX_WORK_SHARE": "20",
    }
    with ExitStack() as stack:
        servers = [stack.enter_context(InstantJudge(wait_s=0.4)) for _ in range(2)]

        def start(words: list[str], home: str, server: InstantJudge) -> subprocess.Popen[str]:
            own = {**environment, "POLLUX_HOME": str(tmp_path / home), "POLLUX_JUDGE_URL": server.url}
            log = stack.enter_context((tmp_path / f"{home}.log").open("a"))
            process = subprocess.Popen([*POLLUX, *words], env=own, stdout=log, stderr=log, text=True)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        run = start(["run", "--work-url", url], "home", servers[0])
        workers = [start(["worker", "--work-url", url], f"worker{n}", server) for n, server in enumerate(servers)]
        while not (all(server.prompts for server in servers) and shares_being_judged(url) == 2):
            assert run.poll() is None, (tmp_path / "home.log").read_text()
            assert [each.poll() for each in workers] == [None, None]
            time.sleep(0.05)
        os.kill(workers[1].pid, signal.SIGKILL)
        assert run.wait() == 0, (tmp_path / "home.log").read_text()
        os.kill(workers[0].pid, signal.SIGTERM)
        assert workers[0].wait() == 130

        assert start(["run"], "alone", stack.enter_context(InstantJudge())).wait() == 0
    asked = [server.prompts.total() for server in servers]
    assert min(asked) > 0 and sum(asked) >= REQUESTS
    assert max(servers[0].prompts.values()) == max(servers[1].prompts.values()) == 1  # none is asked twice of one
    paid_twice = sum((servers[0].prompts & servers[1].prompts).values())
    assert paid_twice <= 20  # the dead worker's share at most
    assert Location(url).folders("orders") == []
    together, alone = tables(tmp_path / "home"), tables(tmp_path / "alone")
    assert len(together["verdicts"]) == REQUESTS
    assert together == alone
