"""A draw goes out to Label Studio and comes back as people's scores of the same answers."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from pollux_dagster.ingest.landing_records import HumanScore
from pollux_dagster.label.draws import Wanted
from pollux_dagster.label.label_studio import CONFIGURATION, export_tasks
from tests.ingest.landing_world import Files
from tests.page.label.conftest import Place


def exported(task: dict[str, Any], number: int) -> dict[str, Any]:
    """The task as Label Studio's JSON export has it once somebody chose its first level and wrote a comment."""
    result = [
        {
            "id": f"r{number}",
            "type": "choices",
            "origin": "manual",
            "from_name": "score",
            "to_name": "answer",
            "value": {"choices": [task["data"]["levels"][0]["value"]]},
        },
        {
            "id": f"t{number}",
            "type": "textarea",
            "origin": "manual",
            "from_name": "comment",
            "to_name": "answer",
            "value": {"text": ["почти"]},
        },
    ]
    annotation = {
        "id": 100 + number,
        "completed_by": 7,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 4.2,
        "result_count": 0,
        "task": number,
        "created_at": "2026-11-02T09:00:00.000000Z",
        "updated_at": "2026-11-02T09:00:04.000000Z",
    }
    return {"id": number, "data": task["data"], "annotations": [annotation], "predictions": [], "project": 1}


def test_a_draw_comes_back_as_scores_of_the_same_answers(place: Place) -> None:
    draw = place.draw(Wanted("uniform", answers=6))
    items = place.items(draw)
    ((file, dataset),) = export_tasks(draw, items, place.landing.parent / "out").items()
    assert (file.name, dataset) == ("tasks.json", "")
    tasks = json.loads(file.read_text())
    assert all(set(task) == {"data"} for task in tasks)
    assert len(tasks) == sum(len(item.criteria) for item in items)
    labels = place.landing / "labels"
    labels.mkdir()
    (labels / "project-1.json").write_text(json.dumps([exported(task, n) for n, task in enumerate(tasks, 1)]))
    files = Files(place.landing)
    files.read()
    assert files.formats["labels/project-1.json"].name == "label_studio"
    scores = [record for _, _, record in files.of_kind(HumanScore)]
    assert {score[:7] for score in scores} == {
        (*item.drawn.key[1:3], criterion.name, "7", criterion.levels[0], 0, "почти")
        for item in items
        for criterion in item.criteria
    }  # fmt: skip
    assert {score[7:] for score in scores} == {(0.5, "uniform", draw.round)}
    assert {task["data"]["sampling_probability"] for task in tasks} == {0.5}
    assert {(task["data"]["sampling_design"], task["data"]["sampling_round"]) for task in tasks} == {
        ("uniform", draw.round)
    }


def test_the_configuration_asks_for_what_the_tasks_hold(place: Place) -> None:
    draw = place.draw()
    (file,) = export_tasks(draw, place.items(draw), place.landing.parent / "out")
    held = json.loads(file.read_text())[0]["data"]
    view = ElementTree.fromstring(CONFIGURATION)
    asked = {element.get("value", "")[1:] for element in view if element.get("value", "").startswith("$")}
    assert asked <= set(held)
    objects = {element.get("name") for element in view if element.tag == "Text"}
    assert {element.get("toName") for element in view if element.get("toName")} <= objects
    assert [element.tag for element in view if element.get("name") == "score"] == ["Choices"]
