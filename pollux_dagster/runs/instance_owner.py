"""Which home a Dagster instance belongs to: two homes in one would share partitions, assets, runs and sensor cursors.

That can only happen where storage is outside the home: a `DAGSTER_HOME` set by hand, or a PostgreSQL database. The
instance stores the id of its home; the id is kept in the home and moves with it. Paths would not identify homes: two
containers may both call theirs /data.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

import dagster as dg

from pollux_dagster.settings import Settings

OWNER_KEY = "pollux/home"  # in Dagster's key-value storage
ID_FILE = "home.id"


class ForeignInstanceError(RuntimeError):
    """The Dagster instance belongs to another home."""


def claim_instance(instance: dg.DagsterInstance, home: Path) -> None:
    """Make sure that the instance belongs to this home; the first home to ask becomes its owner.

    Raises:
        ForeignInstanceError: it belongs to another home, or to one that this home is a copy of.
    """
    if instance.is_ephemeral:
        return
    storage = instance.daemon_cursor_storage
    home, ours = home.resolve(), _home_id(home)
    owner = json.loads(storage.get_cursor_values({OWNER_KEY}).get(OWNER_KEY, "null"))
    if owner is not None and not _is_inside(instance, home / "dagster"):
        their_home = Path(owner["path"])
        if owner["id"] != ours:
            theirs, mine = their_home / ID_FILE, home / ID_FILE
            hand_over = f"mv {theirs} {mine}" if theirs.exists() else f"echo {owner['id']} > {mine}"
            raise _refusal(instance, home, their_home, f"If it is to belong to {home} from now on: {hand_over}")
        if _is_another(home, their_home) and _read_id(their_home) == ours:
            raise _refusal(instance, home, their_home, f"One is a copy of the other: rm {home / ID_FILE}")
    if owner != {"id": ours, "path": str(home)}:
        storage.set_cursor_values({OWNER_KEY: json.dumps({"id": ours, "path": str(home)})})


def claim_configured_instance(settings: Settings) -> None:
    """Call `claim_instance` for the instance that `DAGSTER_HOME` names, if it names one."""
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            claim_instance(instance, settings.home)


def _refusal(instance: dg.DagsterInstance, home: Path, theirs: Path, otherwise: str) -> ForeignInstanceError:
    return ForeignInstanceError(
        f"expected a Dagster instance that belongs to the home {home}; the one of {instance.root_directory} "
        f"({type(instance.run_storage).__name__}) belongs to the home {theirs}. Two homes in one instance would mix up "
        f"their models, runs and schedules. Give this home an instance of its own: DAGSTER_HOME={home / 'dagster'}, "
        f"and with PostgreSQL another database. {otherwise}"
    )


def _home_id(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (known := _read_id(home)) is not None:
        return known
    draft = home / f".{ID_FILE}.{uuid.uuid4().hex}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{uuid.uuid4()}\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, home / ID_FILE)  # unlike a rename, never replaces an id that another process has just written
    draft.unlink()
    return (home / ID_FILE).read_text().strip()


def _read_id(home: Path) -> str | None:
    try:
        return (home / ID_FILE).read_text().strip() or None
    except OSError:
        return None


def _is_another(home: Path, other: Path) -> bool:
    return other.exists() and not home.samefile(other)


def _is_inside(instance: dg.DagsterInstance, folder: Path) -> bool:
    """Whether the instance is stored in SQLite files in this folder: then it is the home's own, also in a copy."""
    # SQLAlchemy, which whoever only loads the definitions can do without.
    from pollux_dagster.runs.dagster_internals.storage import SqlRunStorage

    runs = instance.run_storage
    if not isinstance(runs, SqlRunStorage):
        return False
    with runs.connect() as conn:
        database = conn.engine.url.database
        return conn.engine.dialect.name == "sqlite" and Path(database or "").resolve().is_relative_to(folder)
