"""The warehouse as a Dagster resource: the only module of this folder that imports Dagster.

It keeps the interface of `dagster_duckdb.DuckDBResource` and leaves the opening to `warehouse.connection`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field, PrivateAttr

from pollux_dagster.warehouse.connection import DEFAULT_SETTINGS, DEFAULT_WAIT_S, connect, corrupt_error, is_damage
from pollux_dagster.warehouse.schema import create_schema, refuse_newer_schema


class WarehouseResource(DuckDBResource):
    """A DuckDB file that one process writes at a time.

    Unlike its base class it closes the connection when the body raises, can open read-only, and sets nothing that would
    conflict with a plain `duckdb.connect` in the same process (`connection_config` holds settings that are applied
    after opening). While another process holds the file it waits, then names the holder.

    Opening and closing the file takes 0.08 s of CPU, and a run does it fifty times: see `kept_open`.
    """

    memory_limit: str = Field(
        default=str(DEFAULT_SETTINGS["memory_limit"]),
        description="DuckDB's memory limit; what does not fit spills to `<file>.tmp` beside the file.",
    )
    threads: int | None = Field(default=None, description="DuckDB threads; one per core when not set.")
    lock_wait_s: float = Field(
        default=DEFAULT_WAIT_S, description="Seconds to wait while another process holds the file."
    )

    _keeps_open: bool = PrivateAttr(default=False)
    _kept: duckdb.DuckDBPyConnection | None = PrivateAttr(default=None)
    _schema_is_current: bool = PrivateAttr(default=False)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """While the block lasts, the file stays open from one writing connection to the next, once it was opened."""
        self._keeps_open = True
        try:
            yield
        finally:
            self._keeps_open = False
            self.release()

    def release(self) -> None:
        """Close the file until the next connection: before something long, so that others can open it."""
        kept, self._kept, self._schema_is_current = self._kept, None, False
        if kept is not None:
            kept.close()

    def create_schema(self, con: duckdb.DuckDBPyConnection) -> None:
        """Create the tables and columns that the file lacks, at most once while it is kept open.

        Every step does, since each can be the first one on a warehouse of an earlier version. Going through the whole
        DDL in each of thirty was a seventh of a run with nothing to do.
        """
        if not self._schema_is_current:
            create_schema(con)
            self._schema_is_current = self._kept is not None  # no other process can open the file meanwhile

    @contextmanager
    def get_connection(self, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """Provide a connection while the block lasts, closed however the block ends.

        Raises:
            WarehouseLockedError: another process kept the file locked; the message names it.
            WarehouseModeError: this process has the file open in the other mode.
            WarehouseCorruptError: the file is damaged, found on opening it or when the block reads it.
            SchemaVersionError: a newer version of this package has opened the file.
        """
        settings: dict[str, str | int] = {"memory_limit": self.memory_limit, **self.connection_config}
        if self.threads is not None:
            settings["threads"] = self.threads
        con = connect(self.database, read_only=read_only, wait_s=self.lock_wait_s, settings=settings)
        try:
            if self._kept is None:
                refuse_newer_schema(con)
            if self._keeps_open and self._kept is None and not read_only:
                self._kept = duckdb.connect(self.database)  # not a cursor, which would be closed with its connection
            yield con
        except duckdb.Error as error:
            self.release()  # after some errors DuckDB is unusable until the file is opened again
            if is_damage(error):
                raise corrupt_error(self.database, error) from None
            raise
        finally:
            con.close()
