"""OpenLineage events of a run: what it built from what, with columns, and what its checks found.

They are sent when the run has ended, by its process, with the client of the OpenLineage project. Its package for
Dagster, `dagster-openlineage` 0.2.1, is not used: Dagster loads it at every start where it is installed, its sensor
cannot read Dagster's SQLite storage (one file of events per run), and its events of all tables have the run id of the
Dagster run, while in the specification a run is one of one job. Object model: https://openlineage.io/docs/spec/object-model
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import dagster as dg
from dagster import DagsterEventType

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import DatasetFacet, RunFacet

_PLANNED, _BUILT = DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_MATERIALIZATION
_CHECKED = DagsterEventType.ASSET_CHECK_EVALUATION


@dataclass(frozen=True, slots=True)
class LineageReceiver:
    """Where OpenLineage events go: the address of a server that takes them, such as Marquez, the namespace of the jobs
    and tables, and the file of the server's API key, "" where it wants none. After `patience_s` seconds no further
    event is begun, since the home waits for the end of its run.
    """

    url: str
    namespace: str
    api_key_file: str = ""
    patience_s: float = 30.0


def send_lineage(
    instance: dg.DagsterInstance, job: dg.JobDefinition, run_id: str, causes: Sequence[str], to: LineageReceiver
) -> None:
    """Send the events of a run that has ended; `causes` of its failure are empty where it succeeded.

    The run has a START and a COMPLETE or FAIL, and so has, as a run of its own with the run as its parent, each table
    that it was to build: with the tables it was made from, its columns, and what each is computed from. The checks of a
    table are assertions on it, in a COMPLETE of the job `<table>.checks`.

    Raises:
        ModuleNotFoundError: the client is not installed, with the command that installs it.
        OSError: the file of the key cannot be read.
        ValueError: that file does not hold one key; what it holds is not said.
        TimeoutError: the server is too slow for `to.patience_s`; the rest is not sent.
        Exception: whatever the client raises at the first event that the server does not take; the rest is not sent.
    """
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return
    told = _Told(_client(to), to.namespace, record.dagster_run.job_name, run_id, to.patience_s)
    planned: dict[dg.AssetKey, float] = {}
    built: dict[dg.AssetKey, float] = {}
    checked: dict[dg.AssetKey, list[dg.AssetCheckEvaluation]] = defaultdict(list)
    for entry in instance.all_logs(run_id, of_type={_PLANNED, _BUILT, _CHECKED}):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type is _CHECKED:
            checked[event.asset_check_evaluation_data.asset_key].append(event.asset_check_evaluation_data)
        elif event.asset_key is not None:
            (built if event.event_type is _BUILT else planned)[event.asset_key] = entry.timestamp

    ended, failed = time.time(), "; ".join(causes)
    told.run("START", record.start_time or record.create_timestamp.timestamp())
    for key, at in (built | planned).items():
        told.table("START", key, at)
    for key, at in built.items():
        told.built(job.asset_layer.get(key).to_asset_spec(), at)
    for key in planned.keys() - built.keys() if failed else ():
        told.table("FAIL", key, ended, failed)
    for key, found in checked.items():
        told.checked(key, found, ended)
    told.run("FAIL" if failed else "COMPLETE", ended, failed)


def _client(to: LineageReceiver) -> OpenLineageClient:
    try:
        from openlineage.client import OpenLineageClient
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"expected the package openlineage-python, {error.name} is not installed: "
            "pip install 'pollux_dagster[openlineage]'"
        ) from None
    transport: dict[str, object] = {"type": "http", "url": to.url, "timeout": 5.0, "retry": {"total": 1}}
    if to.api_key_file:
        transport["auth"] = {"type": "api_key", "apiKey": _key_in(Path(to.api_key_file))}
    return OpenLineageClient(config={"transport": transport})


def _key_in(file: Path) -> str:
    key = file.read_text(encoding="utf-8").strip()
    if len(key.split()) != 1 or not key.isascii():
        # The client would quote it in its error, in a spelling that no mask knows.
        raise ValueError(f"expected one API key in {file}, in ASCII and without spaces, got {len(key.split())} words")
    return key


def _name(key: dg.AssetKey) -> str:
    return "/".join(key.path)


@dataclass(frozen=True, slots=True)
class _Told:
    """Events of one Dagster run. Times are Unix times in seconds."""

    client: OpenLineageClient
    namespace: str
    job: str
    run_id: str
    patience_s: float
    began: float = field(default_factory=time.monotonic)

    def run(self, state: str, at: float, failed: str = "") -> None:
        """The job itself."""
        self._send(state, at, self.job, self.run_id, _failure(failed))

    def table(self, state: str, key: dg.AssetKey, at: float, failed: str = "") -> None:
        """A table as the output of the job that is named like it."""
        from openlineage.client.event_v2 import OutputDataset

        output = OutputDataset(self.namespace, _name(key))
        self._send(state, at, _name(key), self._part(_name(key)), _failure(failed), outputs=[output])

    def built(self, spec: dg.AssetSpec, at: float) -> None:
        """A table that was built, with its sources and columns."""
        from openlineage.client.event_v2 import InputDataset, OutputDataset

        sources = sorted(_name(dep.asset_key) for dep in spec.deps)
        self._send(
            "COMPLETE",
            at,
            _name(spec.key),
            self._part(_name(spec.key)),
            inputs=[InputDataset(self.namespace, name) for name in sources],
            outputs=[OutputDataset(self.namespace, _name(spec.key), facets=self._columns(spec.metadata))],
        )

    def checked(self, key: dg.AssetKey, found: Sequence[dg.AssetCheckEvaluation], at: float) -> None:
        """The results of a table's checks."""
        from openlineage.client.event_v2 import InputDataset
        from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

        assertions = [
            quality.Assertion(
                assertion=each.check_name,
                success=each.passed,
                severity=each.severity.value.lower(),
                actual=each.description,
            )
            for each in found
        ]
        facet = quality.DataQualityAssertionsDatasetFacet(assertions)
        table = InputDataset(self.namespace, _name(key), inputFacets={"dataQualityAssertions": facet})
        name = f"{_name(key)}.checks"
        self._send("COMPLETE", at, name, self._part(name), inputs=[table])

    def _columns(self, metadata: Mapping[str, object]) -> dict[str, DatasetFacet]:
        from openlineage.client.facet_v2 import column_lineage_dataset as lineage
        from openlineage.client.facet_v2 import schema_dataset as schema

        facets: dict[str, DatasetFacet] = {}
        shown, sources = metadata.get("dagster/column_schema"), metadata.get("dagster/column_lineage")
        # Dagster keeps what a definition states as it was written, or as the value that it makes of it.
        shown = shown.schema if isinstance(shown, dg.TableSchemaMetadataValue) else shown
        sources = sources.column_lineage if isinstance(sources, dg.TableColumnLineageMetadataValue) else sources
        if isinstance(shown, dg.TableSchema):
            facets["schema"] = schema.SchemaDatasetFacet(
                [schema.SchemaDatasetFacetFields(each.name, each.type, each.description) for each in shown.columns]
            )
        if isinstance(sources, dg.TableColumnLineage):
            facets["columnLineage"] = lineage.ColumnLineageDatasetFacet(
                {
                    column: lineage.Fields(
                        [lineage.InputField(self.namespace, _name(dep.asset_key), dep.column_name) for dep in deps]
                    )
                    for column, deps in sources.deps_by_column.items()
                }
            )
        return facets

    def _part(self, name: str) -> str:
        """The run id of a part of the run: the same whenever it is told."""
        return str(uuid5(UUID(self.run_id), name))

    def _send(
        self,
        state: str,
        at: float,
        name: str,
        run_id: str,
        facets: dict[str, RunFacet] | None = None,
        *,
        inputs: list[InputDataset] | None = None,
        outputs: list[OutputDataset] | None = None,
    ) -> None:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import parent_run

        if time.monotonic() - self.began > self.patience_s:
            raise TimeoutError(f"it did not take them within {self.patience_s:g} s, and the rest was not sent")
        facets = facets or {}
        if run_id != self.run_id:
            facets["parent"] = parent_run.ParentRunFacet(
                parent_run.Run(self.run_id), parent_run.Job(self.namespace, self.job)
            )
        self.client.emit(
            RunEvent(
                eventType=RunState[state],
                eventTime=datetime.fromtimestamp(at, UTC).isoformat(),
                run=Run(run_id, facets),
                job=Job(self.namespace, name),
                producer="https://pypi.org/project/pollux-dagster",
                inputs=inputs or [],
                outputs=outputs or [],
            )
        )


def _failure(message: str) -> dict[str, RunFacet]:
    from openlineage.client.facet_v2 import error_message_run

    return {"errorMessage": error_message_run.ErrorMessageRunFacet(message, "python")} if message else {}
