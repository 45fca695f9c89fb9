"""The report beside a publication, made again when a run could not renew the publication."""

from __future__ import annotations

from pathlib import Path


def renew_report(published: Path) -> None:
    """`page.write.renew_report`; its template engine is loaded when a run has failed and not before."""
    from pollux_dagster.page import write

    write.renew_report(published)
