"""Work orders at a location: whole answers in shares, and one worker at a time at each."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from obstore.store import S3Store

from pollux_dagster.core.work import Criterion
from pollux_dagster.orders.claims import Beating, Board, Claim, Pace, Watch, take
from pollux_dagster.orders.location import Location, LocationError
from pollux_dagster.orders.order import Order, OrderError, find, place, remove, share_sizes, withdraw
from pollux_dagster.warehouse.requests import iter_work_order
from tests.orders.order_world import answers_of, write_work

CRITERION = Criterion("c", "Польза", "0: нет\n1: да", (0.0, 1.0), False)
ORDER = Order("o1", "judge", "{}", "pollux-4b", "run", (3, 2), {"c": CRITERION})


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location((tmp_path / "location").as_uri(), make=True)


def test_a_folder_that_does_not_exist_is_made_only_where_that_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    with pytest.raises(LocationError, match=r"expected a folder at file:.*two%20words, found none"):
        Location(folder.as_uri())
    assert not folder.exists()
    Location(folder.as_uri(), make=True).create("a", b"")
    assert Location(folder.as_uri()).read("a") == b""


def test_shares_hold_whole_answers_in_their_order_and_each_once(location: Location, tmp_path: Path) -> None:
    answers = answers_of(2, 1, 5, 1, 1, 2, 3)
    work = write_work(tmp_path / "work.parquet", answers)
    sizes = share_sizes(work, 4)
    assert sizes == (3, 5, 4, 3)  # 5: an answer is never divided
    order = replace(ORDER, shares=sizes)
    place(location, order, work)
    assert find(location, "o1") == order
    read = []
    for share, size in zip(order.share_names, sizes, strict=True):
        assert location.fetch(f"{order.prefix}/shares/{share}.parquet", tmp_path / "share.parquet")
        of_share = list(iter_work_order(tmp_path / "share.parquet"))
        assert sum(len(each.requests) for each in of_share) == size
        read += of_share
    assert read == answers
    assert share_sizes(write_work(tmp_path / "none.parquet", []), 4) == (0,)
    remove(location, "o1")
    assert find(location, "o1") is None and location.folders("orders") == []


def test_an_order_of_another_version_is_refused(location: Location) -> None:
    location.replace("orders/o1/order.json", b'{"format": 99}')
    with pytest.raises(LocationError, match=r"expected a work order of format 1, got 99 .*run the same version"):
        find(location, "o1")


@pytest.mark.parametrize("written", [b"", b"{", b"[]", b"null", b'{"format": 1, "order_id": "o1"}', b"\xff\x00"])
def test_an_order_that_is_none_is_refused_with_its_place(location: Location, written: bytes) -> None:
    location.replace("orders/o1/order.json", written)
    with pytest.raises(OrderError, match=r"expected a work order .*\(o1 at file:.*delete it there"):
        find(location, "o1")


def test_an_order_whose_judge_cannot_be_told_is_refused(location: Location, tmp_path: Path) -> None:
    place(location, replace(ORDER, identity="[]", shares=(1,)), write_work(tmp_path / "work.parquet", answers_of(1)))
    with pytest.raises(OrderError, match="identity is"):
        find(location, "o1")


def test_a_name_that_is_no_claim_is_none() -> None:
    board = Board({"claims/00000/000002": "", "claims/00000/zzz": "", "claims/00000/99": "", "claims/00000/9/9": ""})
    assert board.last_claim("00000") == 2


def test_an_order_that_would_lead_a_worker_elsewhere_is_refused(location: Location) -> None:
    location.replace("orders/o1/order.json", b'{"format": 1, "order_id": "../../elsewhere"}')
    with pytest.raises(LocationError, match=r"expected a work order with the id 'o1' .*, got '../../elsewhere'"):
        find(location, "o1")


def test_of_workers_that_look_at_once_each_gets_a_share_of_its_own(location: Location, tmp_path: Path) -> None:
    place(location, ORDER, write_work(tmp_path / "work.parquet", answers_of(3, 2)))
    before = Board.look(location, "o1")
    taken = [take(location, ORDER, before, Watch(60), f"w{n}") for n in range(3)]
    assert taken == [Claim("o1", "00000", 1, "w0"), Claim("o1", "00001", 1, "w1"), None]
    assert taken[0] is not None
    assert location.create(taken[0].name, b"other") is False
    taken[0].release(location)
    assert take(location, ORDER, Board.look(location, "o1"), Watch(60), "w3") == Claim("o1", "00000", 2, "w3")


def test_a_claim_expires_only_when_it_was_seen_unchanged_for_long_enough(location: Location) -> None:
    now = 0.0
    order = replace(ORDER, shares=(3,))
    first = take(location, order, Board({}), Watch(60), "w1")
    assert first is not None
    watch = Watch(60, clock=lambda: now)

    def taken() -> Claim | None:
        return take(location, order, Board.look(location, "o1"), watch, "w2")

    assert taken() is None
    now = 59.0
    first.beat(location, 1)
    assert taken() is None
    now = 118.0
    assert taken() is None
    now = 119.0
    assert taken() == Claim("o1", "00000", 2, "w2")
    location.create("orders/o1/done/00000", b"{}")
    now = 999.0
    assert taken() is None


@pytest.mark.parametrize("event", ["taken over", "withdrawn", "out of reach"])
def test_a_worker_finds_that_its_share_is_no_longer_its_own(
    event: str, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    location.create("orders/o1/order.json", b"{}")
    claim = take(location, ORDER, Board({}), Watch(60), "w1")
    assert claim is not None
    pace = Pace(beat_s=0.01, expiry_s=0.5)
    sent: list[int] = []
    with Beating(location, claim, pace, lambda: sent.append(1)) as beating:
        mark = Board.look(location, "o1").marks["claims/00000/000001"]
        while not sent or Board.look(location, "o1").marks["claims/00000/000001"] == mark:
            assert beating.is_held
            time.sleep(0.01)
        if event == "taken over":
            replace(claim, number=2).beat(location, 0)
        elif event == "withdrawn":
            withdraw(location, "o1")
        else:
            closed = S3Store(
                "bucket",
                endpoint="http://127.0.0.1:1",  # at which nobody listens
                access_key_id="key",
                secret_access_key="secret",
                region="here",
                client_options={"allow_http": True},
                retry_config={"max_retries": 0},
            )
            monkeypatch.setattr(location, "_store", closed)
        while beating.is_held:
            time.sleep(0.01)
    assert {"taken over": "taken it over", "withdrawn": "withdrawn", "out of reach": "not be reached"}[event] in (
        beating.lost
    )
