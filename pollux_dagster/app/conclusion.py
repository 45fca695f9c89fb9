"""Where the end of an evaluation is recorded, as the settings say."""

from __future__ import annotations

from pathlib import Path

from pollux_dagster.app.messages import known_secrets
from pollux_dagster.runs.executor import Conclusion
from pollux_dagster.runs.lineage import LineageReceiver
from pollux_dagster.settings import Settings


def conclusion(settings: Settings, *, whole: bool = True) -> Conclusion:
    """Of runs that renew the publication (`whole`) or of runs of a part."""
    receiver = LineageReceiver(
        settings.openlineage_url, settings.openlineage_namespace, settings.openlineage_api_key_file
    )
    return Conclusion(
        settings.published if whole else None,
        settings.metrics,
        lambda: known_secrets(settings),
        _renew_report,
        receiver if receiver.url else None,
    )


def _renew_report(published: Path) -> None:
    """`page.write.renew_report`; its template engine is loaded when a run has failed and not before."""
    from pollux_dagster.page import write

    write.renew_report(published)
