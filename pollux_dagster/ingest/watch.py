"""Watches a landing folder without blocking the caller: scanning a folder of millions of files takes a minute."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pollux_dagster.ingest.scan import fingerprint

PATIENCE_S = 15.0
FREE_S = 2.0
REST_PER_LOOK = 9.0
"""Seconds of rest per second of a scan longer than `FREE_S`, so that a large folder costs a tenth of a core."""


class FolderWatch:
    """One landing folder, scanned in a thread; each scan's fingerprint is handed out once. For one caller at a time.

    For a small folder a scan ends within the call that started it, for a large one in a later call: Dagster gives a
    sensor 60 s, and a sensor that never finished a scan would never see a file.
    """

    def __init__(
        self, folder: Path, *, trust_times: bool = True, patience_s: float = PATIENCE_S, free_s: float = FREE_S
    ) -> None:
        self._folder = folder
        self._trust_times = trust_times
        self._patience_s = patience_s
        self._free_s = free_s
        self._look: threading.Thread | None = None
        self._found: str | OSError | None = None
        self._rest_until = float("-inf")
        self.took_s = 0.0

    def state(self) -> str | None:
        """The folder's fingerprint (`scan.fingerprint`), or None while a scan is under way or the watch rests.

        Raises OSError where the scan did: NotADirectoryError when the folder is gone.
        """
        if self._look is None:
            if time.monotonic() < self._rest_until:
                return None
            self._look = threading.Thread(target=self._look_once, name="landing-look", daemon=True)
            self._look.start()
        self._look.join(self._patience_s)
        if self._look.is_alive():
            return None
        self._look = None
        if isinstance(self._found, str):
            return self._found
        raise self._found or RuntimeError(f"the look at {self._folder} ended without a result")

    def _look_once(self) -> None:
        began = time.monotonic()
        try:
            self._found = None
            self._found = fingerprint(self._folder, trust_times=self._trust_times)
        except OSError as error:
            self._found = error
        self.took_s = time.monotonic() - began
        if self.took_s > self._free_s:
            self._rest_until = time.monotonic() + REST_PER_LOOK * self.took_s
