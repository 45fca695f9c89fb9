"""Any JSON object as criteria.json or tasks.json: every entry is a record or a rejection."""

from __future__ import annotations

from pollux_dagster.ingest.formats.taxonomy_files import read_criteria_document, read_tasks_document
from pollux_dagster.ingest.json_rows import parse_document
from tests.fuzz.fuzz_targets.landing_files import check_records

SEEDS = (
    b'{"k": {"name": {"ru": "a", "en": "b"}, "desc": "", "scale": {"ru": {"0": "c", "1": "d"}}, '
    b'"crit_group": "General", "domain": null, "task": null, "subtask1": null, "subtask2": null}}',
    b'{"tasks": {"a": {"name": {"ru": "t"}, "subtasks_l1": {"b": {"name": "u", "criteria": ["k"], "has_gold": true, '
    b'"complexity": "x", "domain": null}}}}}',
    b'{"a": {"criteria": ["k"], "has_gold": false}}',
)


def check(data: bytes) -> None:
    document = parse_document(data)
    if not isinstance(document, dict):
        return
    for read in (read_criteria_document, read_tasks_document):
        check_records([(number, record) for number, records in read(document) for record in records])
