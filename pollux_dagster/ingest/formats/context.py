"""What a file's path and its document's header say about all of its rows, above all which model answered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pollux_dagster.ingest import rows

_EXTENSIONS = frozenset({".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".txt"})
# File names that tools use for every model; the folder then names the model.
_GENERIC = frozenset({"answers", "answer", "model_outputs", "outputs", "output", "predictions", "results"})
_MODEL_FIELDS = ("model_id", "model", "generator", "model_name")


@dataclass(frozen=True, slots=True)
class FileContext:
    """`path` is relative to the landing folder; `document_model` is a model named beside a document's rows.

    `has_prompt_ids` is whether the file's rows name their prompts: in such a file a row without an id is a mistake, in
    any other the text of its instruction serves as the id.
    """

    path: str
    document_model: str | None = None
    has_prompt_ids: bool = True

    @property
    def stem(self) -> str:
        """The file's name without a data extension; dots in a model's name stay (`gpt-3.5.jsonl` → `gpt-3.5`)."""
        name = PurePosixPath(self.path)
        return name.stem if name.suffix.lower() in _EXTENSIONS else name.name

    @property
    def folder(self) -> str:
        """The name of the folder that holds the file; empty at the top of the landing folder."""
        return PurePosixPath(self.path).parent.name

    @property
    def file_model(self) -> str:
        """The model of a file without a model column: from the document, then the file name, then the folder."""
        if self.document_model is not None:
            return self.document_model
        return self.folder if self.stem.lower() in _GENERIC and self.folder else self.stem

    def model_of(self, fields: Mapping[str, Any]) -> str:
        """The row's own model, else the file's. Raises RowRejected for a blank one or one of a wrong type."""
        for field in _MODEL_FIELDS:
            if fields.get(field) is not None:
                return rows.model_id(fields[field], field)
        return rows.model_id(self.file_model, "the file's name")


def context_of(path: str, document: Any) -> FileContext:
    """The context of a file, from its path and, for a JSON object of rows, the fields beside them."""
    named = [document.get(f) for f in _MODEL_FIELDS] if isinstance(document, dict) else []
    models = [m for m in named if isinstance(m, str) and m.strip()]
    return FileContext(path, models[0] if models and "prompt_id" not in document else None)


def text_id(instruction: str) -> str:
    """The prompt_id of an instruction known only by its text: `text:` and 16 hex digits of sha256."""
    return "text:" + hashlib.sha256(instruction.encode()).hexdigest()[:16]
