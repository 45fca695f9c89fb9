"""What a landing file may cost to read. Each limit is checked before the bytes are in memory.

The one idea: a file that breaks a limit becomes a rejected row that names the limit, like any other bad row.
"""

from __future__ import annotations

MIB = 1024 * 1024

MAX_FILE_BYTES = 4096 * MIB
"""Any landing file. Lines and Parquet batches are streamed, so this bounds time and disk, not memory."""

MAX_LINE_BYTES = 64 * MIB
"""One line of JSONL, one record of CSV."""

MAX_DOCUMENT_BYTES = 256 * MIB
"""A JSON file that is one document (an array or an object): it is parsed whole."""

MAX_PARQUET_BYTES = 4096 * MIB
"""Uncompressed size of a Parquet file, both as its footer states it and as its values unfold in memory."""

MAX_PARQUET_ROWS = 20_000_000
"""Rows of a Parquet file, as its footer states them: a few bytes may claim any number."""

MAX_PARQUET_MEMORY = 512 * MIB
"""Memory that decoding a Parquet file may take, whatever its footer and pages say: rows are decoded in batches, and a
page of text is rarely larger than 1 MiB."""

MAX_PARQUET_CPU_S = 600
"""Seconds of computing that decoding a Parquet file may take."""

MAX_JSON_VALUES = 5_000_000
"""Commas and opening brackets in one JSON text, which bound the objects it becomes: `[[],[],…` grows twentyfold."""

MAX_CSV_COLUMNS = 1000
"""Columns of a CSV header."""

MAX_RAW_TEXT = 4000
"""Characters of a rejected row that are kept to look at."""
