"""What the home says while others judge: how far they are, how fast, and who is at what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from pollux_dagster.app.worker_progress import WorkersProgress
from pollux_dagster.core.work import Criterion
from pollux_dagster.orders.claims import Board, Pace, Watch, take
from pollux_dagster.orders.location import Location
from pollux_dagster.orders.order import Order

CRITERION = Criterion("c", "Польза", "0: нет\n1: да", (0.0, 1.0), False)
ORDER = Order("o1", "judge", "{}", "pollux-4b", "run", (50, 50, 100), {"c": CRITERION})


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(tmp_path.as_uri(), make=True)


def test_the_home_says_how_far_workers_are_and_since_when_one_is_silent(location: Location) -> None:
    now = 0.0
    watch = Watch(60.0, clock=lambda: now)
    progress = WorkersProgress(location, ORDER, Pace(), clock=lambda: now)

    def line(arrived: int) -> str:
        board = Board.look(location, "o1")
        held = [share for share in ORDER.share_names if watch.is_held("o1", board, share)]
        return progress.line(board, watch, held, arrived)

    location.create("orders/o1/order.json", b"")
    assert line(0) == (
        "judged 0/200 (0.0%) elsewhere · 0 of 3 shares done · no worker is at it: "
        f"`pollux worker --work-url {location.url}` starts one"
    )
    first = take(location, ORDER, Board.look(location, "o1"), watch, "gpu1")
    second = take(location, ORDER, Board.look(location, "o1"), watch, "gpu2")
    assert first is not None and second is not None
    assert line(0).endswith(
        "· 0 of 3 shares done · at work: gpu1 (share 1, sign of life 0 s ago), gpu2 (share 2, sign of life 0 s ago)"
    )
    now = 50.0
    first.beat(location, 1)
    said = line(40)  # the first lump: no time left is told of it
    assert said.startswith("judged 40/200 (20.0%) elsewhere · 0.8/s · 0 of 3 shares done · at work: gpu2 (share 2, no")
    assert "no sign of life for 50 s: its share is free to others at " in said
    assert said.endswith(", gpu1 (share 1, sign of life 0 s ago)")
    now = 125.0
    first.beat(location, 2)
    location.create("orders/o1/done/00001", b"{}")
    assert line(100) == (
        "judged 100/200 (50.0%) elsewhere · 0.8/s · 2:05 left · 1 of 3 shares done · at work: "
        "gpu1 (share 1, sign of life 0 s ago)"
    )
    assert line(250).startswith("judged 200/200 (100.0%)")  # two workers have judged the same


def test_many_workers_are_counted_and_odd_claims_named_for_what_they_are(location: Location) -> None:
    order = replace(ORDER, shares=(1,) * 10)
    for share, worker in enumerate([5, *("w" * 99,) * 9]):
        location.create(f"orders/o1/claims/{share:05d}/000001", orjson.dumps({"worker": worker}))
    board, watch = Board.look(location, "o1"), Watch(60.0)
    held = [share for share in order.share_names if watch.is_held("o1", board, share)]
    line = WorkersProgress(location, order, Pace()).line(board, watch, held, 0)
    assert f"at work: a worker without a name (share 1, sign of life 0 s ago), {'w' * 59}… (share 2" in line
    assert line.endswith("and 2 others")
