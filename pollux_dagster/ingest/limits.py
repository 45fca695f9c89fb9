"""Limits of what a landing file may cost to read, each checked before the bytes are in memory.

A file that breaks a limit becomes a rejected row that names the limit, like any other bad row.
"""

from __future__ import annotations

MIB = 1024 * 1024

MAX_FILE_BYTES = 4096 * MIB
"""Size of any landing file. Lines and Parquet batches are streamed, so this bounds time and disk, not memory."""

MAX_UNPACKED_RATIO = 500
"""Times its own size to which a compressed file may unpack. Equal prompts in every row compress a hundredfold."""

FREELY_UNPACKED_BYTES = 64 * MIB
"""Size up to which the ratio does not matter."""

MAX_LINE_BYTES = 64 * MIB
"""Size of one line of JSONL or one record of CSV."""

MAX_DOCUMENT_BYTES = 256 * MIB
"""Size of a JSON file that is one document (an array or an object), because it is parsed as a whole."""

MAX_PARQUET_BYTES = 4096 * MIB
"""Uncompressed size of a Parquet file, both as its footer states it and as its values unfold in memory."""

MAX_PARQUET_ROWS = 20_000_000
"""Rows of a Parquet file as its footer states them, because a few bytes can claim any number."""

MAX_PARQUET_MEMORY = 512 * MIB
"""Memory for decoding a Parquet file, an Arrow file or a workbook, whatever it claims: rows are decoded in batches, and
a page of text is rarely larger than 1 MiB.
"""

MAX_PARQUET_CPU_S = 600
"""CPU seconds for decoding a Parquet file, an Arrow file or a workbook."""

MAX_JSON_VALUES = 5_000_000
"""Commas and opening brackets in one JSON text, which bound the number of objects it becomes: `[[],[],…` grows
twentyfold in memory.
"""

MAX_CSV_COLUMNS = 1000
"""Columns of a CSV header or a spreadsheet."""

MAX_SHEET_BYTES = 256 * MIB
"""Size of a spreadsheet's parts, unpacked, because it is read as a whole."""

MAX_SHEET_ERRORS = 100_000
"""Cells of a spreadsheet that hold an error such as #N/A."""

MAX_ZIP_DIRECTORY_BYTES = 16 * MIB
"""Size of a zip file's list of members, which is held in memory."""

MAX_SHEET_PARTS = 1000
"""Number of a spreadsheet's parts."""

MAX_RAW_TEXT = 4000
"""Characters of a rejected row that are kept for inspection."""
