from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.instant_judge import InstantJudge


@pytest.fixture
def judge() -> Iterator[InstantJudge]:
    """A judge that answers at once, over real HTTP."""
    with InstantJudge() as judge:
        yield judge
