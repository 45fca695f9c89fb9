"""Ctrl-C in the terminal of a run: it ends in words, keeps what was judged, and the same command goes on from there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fakes.fake_judge import KEY, Call, FakeJudge, Raw, answer_well
from tests.flow.flow_world import flow_settings, land_instructions, land_model

JUDGED = re.compile(r"judged \d\d/240")
COMMAND = [sys.executable, "-m", "pollux_dagster.cli", "run"]


@pytest.mark.slow
def test_a_stopped_run_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    def slowly(call: Call) -> Raw:
        time.sleep(0.3)
        return answer_well(call)

    with FakeJudge() as judge:
        settings = flow_settings(tmp_path, judge.url)
        land_instructions(settings)
        for number in range(10):
            land_model(settings, f"m{number}")
        environment = {
            **os.environ,
            "POLLUX_HOME": str(settings.home),
            "POLLUX_LANDING": str(settings.landing),
            "POLLUX_JUDGE_URL": judge.url,
            "POLLUX_JUDGE_API_KEY": KEY,
            "POLLUX_JUDGE_SERVED_MODEL": "judge",
        }
        judge.otherwise = slowly
        with subprocess.Popen(
            COMMAND, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as run:
            assert run.stderr is not None
            assert any(JUDGED.search(line) for line in run.stderr)
            os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to every process in it
            rest = run.stderr.read()
        assert run.returncode == 130
        assert "Traceback" not in rest and "error:" not in rest
        assert re.search(r"stopped: [1-9]\d* of 240 verdicts are kept\n", rest)
        assert rest.endswith("stopped: what was judged is kept, and the same command goes on from there\n")
        judge.otherwise = answer_well
        again = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
        kept = re.search(r"; (\d+) of 240 are in the ledger", again.stderr)
        assert kept and int(kept[1]) > 0, again.stderr
