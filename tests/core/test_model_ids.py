"""Model ids of every kind become keys that Dagster accepts and people can read."""

from __future__ import annotations

import re

import dagster as dg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pollux_dagster.core.model_ids import model_partition_key, partition_keys


@pytest.mark.parametrize(
    "model_id", ["gpt-4o", "meta-llama/Llama-3.1-8B", "ГигаЧат Макс", "T-Tech-T-pro-it-1.0", "../x"]
)
def test_an_ordinary_id_is_its_own_key(model_id: str) -> None:
    assert model_partition_key(model_id) == model_id


@pytest.mark.parametrize(
    "model_id", ['my "best" model', "a,b", "a[1]", "м" * 300, "a...b", "tab\there", " padded ", "a~b", "\n"]
)
def test_any_other_id_is_a_readable_stub_with_a_hash(model_id: str) -> None:
    assert re.fullmatch(r"[\w.\-+@]{1,60}~[0-9a-f]{12}", model_partition_key(model_id))


@pytest.mark.slow
@settings(deadline=None)  # the first instance takes a second to make
@example("...")
@example("a....b")
@given(st.text(min_size=1))
def test_dagster_accepts_the_key_of_any_id(model_id: str) -> None:
    key = model_partition_key(model_id)
    dg.StaticPartitionsDefinition([key])
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("model", [key])
        assert instance.get_dynamic_partitions("model") == [key]


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=20))
def test_different_ids_never_share_a_key(model_ids: list[str]) -> None:
    assert sorted(partition_keys(model_ids).values()) == sorted(model_ids)


def test_spellings_that_look_the_same_have_different_keys() -> None:
    composed, decomposed = "\u0439", "\u0438\u0306"
    assert model_partition_key(composed) != model_partition_key(decomposed)
