"""A draw as tasks for Label Studio, and the labelling configuration that goes with them.

Tasks: labelstud.io/guide/tasks (basic JSON format). Configuration: labelstud.io/tags (Text, Choices with choices from
the task's data, TextArea). The JSON export of such a project is read as people's scores like any other of Label
Studio's (`ingest/formats/annotation_exports.py`), because a task's data names the answer, the criterion and how it was
drawn.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pollux_dagster.core.files import write_private
from pollux_dagster.label.draws import Draw
from pollux_dagster.label.labels import file_name
from pollux_dagster.label.session import Criterion, Item

CONFIGURATION = """\
<View>
  <Header value="Задание / Instruction" size="5"/>
  <Text name="instruction" value="$instruction"/>
  <Header value="Эталонный ответ / Reference answer" size="5"/>
  <Text name="reference" value="$reference"/>
  <Header value="Ответ / Answer" size="5"/>
  <Text name="answer" value="$answer"/>
  <Header value="$criteria_name" size="4"/>
  <Text name="rubrics" value="$rubrics"/>
  <Choices name="score" toName="answer" choice="single-radio" required="true" value="$levels"/>
  <TextArea name="comment" toName="answer" rows="2" maxSubmissions="1" placeholder="Комментарий / Comment"/>
</View>
"""
_NOTHING = "—"


def export_tasks(draw: Draw, items: Sequence[Item], folder: Path) -> dict[Path, str]:
    """Write the configuration and, for each data set, the tasks; one task per answer and criterion.

    Returns:
        The files of tasks, each with the data set below whose folder its export has to land.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "labeling_config.xml", CONFIGURATION)
    tasks: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        for criterion in item.criteria:
            tasks[item.drawn.key.dataset].append({"data": _data(draw, item, criterion)})
    written = {}
    for dataset, own in tasks.items():
        file = folder / (f"tasks-{file_name(dataset)}.json" if dataset else "tasks.json")
        write_private(file, json.dumps(own, ensure_ascii=False, indent=1))
        written[file] = dataset
    return written


def _data(draw: Draw, item: Item, criterion: Criterion) -> dict[str, Any]:
    key = item.drawn.key
    return {
        "prompt_id": key.prompt_id,
        "model_id": key.model_id,
        "sample_index": key.sample_index,
        "criteria_name": criterion.name,
        "sampling_probability": item.drawn.probability,
        "sampling_design": draw.wanted.design,
        "sampling_round": draw.round,
        "instruction": item.instruction,
        "reference": item.reference or _NOTHING,
        "answer": item.answer or _NOTHING,
        "rubrics": criterion.rubrics,
        "levels": [{"value": f"{level:g}"} for level in criterion.levels],
    }
