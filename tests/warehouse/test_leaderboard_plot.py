"""The leaderboard's picture: a PNG for any names, none where there is nothing to show."""

from __future__ import annotations

import duckdb
import pytest
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager
from matplotlib.text import Text

from pollux_dagster.warehouse.leaderboard_plot import draw_leaderboard, leaderboard_figure

INTO = (
    "INSERT INTO marts.leaderboard (judge_id, judge_name, is_demonstration, model_id, mean_score, ci_low, ci_high, "
    "coverage, place) "
)


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        "CREATE SCHEMA marts; CREATE TABLE marts.leaderboard (judge_id VARCHAR, judge_name VARCHAR, "
        "is_demonstration BOOLEAN, model_id VARCHAR, mean_score DOUBLE, ci_low DOUBLE, ci_high DOUBLE, "
        "coverage DOUBLE, place BIGINT, people_mean DOUBLE, people_ci_low DOUBLE, people_ci_high DOUBLE, "
        "n_labelled BIGINT, people_put_above VARCHAR[]); CREATE TABLE marts.people_comparison (judge_id VARCHAR, "
        "model_id VARCHAR, other_model_id VARCHAR, difference DOUBLE, ci_low DOUBLE, ci_high DOUBLE, n BIGINT, "
        "n_clusters BIGINT, is_of_shared_items BOOLEAN)"
    )
    return con


def size(png: bytes) -> tuple[int, int]:
    """Width and height from the header (PNG specification, IHDR)."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_there_is_no_picture_before_there_is_a_mean(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(INTO + "VALUES ('j', 'j', false, 'm', NULL, NULL, NULL, 0, 1)")
    assert draw_leaderboard(con) is None


def test_every_judge_has_a_panel_and_any_name_can_be_drawn(con: duckdb.DuckDBPyConnection) -> None:
    names = ["org/model", "мо$дель_$^{x} <b>", "\x1b[31m красный", "x" * 300, "無"]
    for place, name in enumerate(names):
        con.execute(INTO + "VALUES ('a', 'a', true, ?, 0.5, 0.4, NULL, 1, ?)", [name, place])
    one = size(draw_leaderboard(con) or b"")
    con.execute(
        "INSERT INTO marts.leaderboard "
        "SELECT * REPLACE ('b' AS judge_id, 'b' AS judge_name, false AS is_demonstration) FROM marts.leaderboard"
    )
    two = size(draw_leaderboard(con) or b"")
    assert two[1] > 1.8 * one[1]


def test_characters_that_matplotlibs_font_lacks_are_looked_for_in_fonts_that_have_them(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [FontEntry(fname=findfont(FontProperties()), name=name) for name in ("Noto Sans CJK JP", "Noto Sans Mono")]
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist, *named])
    con.execute(INTO + "VALUES ('a', '無', false, '無-7b', 0.5, 0.4, 0.6, 1, 1)")
    figure = leaderboard_figure(con)
    assert figure is not None
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and "無" in text.get_text()]
    drawn = [text.get_fontfamily() for text in texts]
    assert {text.get_text() for text in texts} == {"Judge 無", "無-7b  (100.0% covered)"}
    assert all(families[0] == "sans-serif" and "Noto Sans CJK JP" in families for families in drawn)
    assert not any("Noto Sans Mono" in families for families in drawn)


def test_a_long_leaderboard_is_cut_and_not_endless(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(INTO + "SELECT 'a', 'a', false, 'm' || i, 0.5, 0.4, 0.6, 1, i FROM range(900) t(i)")
    con.execute(INTO + "VALUES ('a', 'a', false, 'unjudged', NULL, NULL, NULL, 0, 901)")
    assert size(draw_leaderboard(con) or b"")[1] < 2000
    figure = leaderboard_figure(con)
    assert figure is not None
    title = figure.axes[0].get_title(loc="left")
    assert title == "Judge a\nthe first 40 of 900 models; 1 more without a mean"


def test_coverage_is_never_rounded_up_to_all(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(INTO + "VALUES ('a', 'a', true, 'm', 0.5, 0.4, 0.6, 0.9996, 1)")
    figure = leaderboard_figure(con)
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["m  (99.9% covered)"]
    assert figure.axes[0].get_title(loc="left") == "DEMONSTRATION judge a"


def test_people_stand_beside_the_judge_and_the_title_says_whom_they_put_above(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "INSERT INTO marts.leaderboard VALUES "
        "('a', 'a', false, 'm$1', 0.8, 0.7, 0.9, 1, 1, 0.3, 0.2, 0.4, 60, ['m$2']), "
        "('a', 'a', false, 'm$2', 0.6, 0.5, 0.7, 1, 2, 0.7, 0.6, 0.8, 50, NULL), "
        "('a', 'a', false, 'unlabelled', 0.1, 0, 0.2, 1, 3, NULL, NULL, NULL, 0, NULL)"
    )
    con.execute("INSERT INTO marts.people_comparison VALUES ('a', 'm$2', 'm$1', 0.4, 0.3, 0.5, 12, 3, false)")
    figure = leaderboard_figure(con)
    assert figure is not None
    (axes,) = figure.axes
    title = " ".join(axes.get_title(loc="left").split())
    assert "People disagree with this order: by 50 and 60 labelled scores m$2 is better than m$1" in title
    judge, people = (drawn[0].get_xdata().tolist() for drawn in axes.containers)
    assert (judge, people) == ([0.8, 0.6, 0.1], [0.3, 0.7])
    assert draw_leaderboard(con)
