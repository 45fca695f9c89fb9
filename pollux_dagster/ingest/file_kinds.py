"""Files that are no landing files and are known by their first bytes, their members or their fields, by name.

The sentence for each says what it is and what to do, which "unknown format" would leave to be guessed.
"""

from __future__ import annotations

import os
import struct
import zipfile
from typing import Any, BinaryIO

from pollux_dagster.ingest.rows import Reason, RowRejected

_SAVE = "save the sheet as .xlsx or as CSV UTF-8"
_UNPACK = "unpack it into the landing folder"
_NO_DATA = "keep it outside the landing folder"
_CONVERT = "write its rows as JSONL, CSV or Parquet"
# (offset, first bytes, reason, what it is, what to do)
_BY_BYTES: tuple[tuple[int, bytes, Reason, str, str], ...] = (
    (0, b"\xfd7zXZ\x00", Reason.COMPRESSED, "an xz file", "unpack it, or compress it with gzip or zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", Reason.COMPRESSED, "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", Reason.COMPRESSED, "a rar archive", _UNPACK),
    (257, b"ustar\x00", Reason.COMPRESSED, "a tar archive", _UNPACK),
    (257, b"ustar  ", Reason.COMPRESSED, "a tar archive", _UNPACK),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        Reason.UNKNOWN_FORMAT,
        "an Office file of before 2007 (.xls, .doc)",
        _SAVE,
    ),
    (0, b"SQLite format 3\x00", Reason.UNKNOWN_FORMAT, "an SQLite database", _CONVERT),
    (0, b"\x89HDF\r\n\x1a\n", Reason.UNKNOWN_FORMAT, "an HDF5 file", _CONVERT),
    (0, b"\x93NUMPY", Reason.UNKNOWN_FORMAT, "a NumPy array", _CONVERT),
    (0, b"Obj\x01", Reason.UNKNOWN_FORMAT, "an Avro file", _CONVERT),
    (
        0,
        b"FEA1\x00\x00\x00\x00",
        Reason.UNKNOWN_FORMAT,
        "a Feather file of version 1",
        "write Parquet or Feather version 2",
    ),
    (0, b"%PDF-", Reason.UNKNOWN_FORMAT, "a PDF", _NO_DATA),
    (0, b"{\\rtf", Reason.UNKNOWN_FORMAT, "an RTF document", _NO_DATA),
    (0, b"GGUF", Reason.UNKNOWN_FORMAT, "a model's weights (GGUF)", _NO_DATA),
    (0, b"\x7fELF", Reason.UNKNOWN_FORMAT, "a program", _NO_DATA),
    (0, b"\x89PNG\r\n\x1a\n", Reason.UNKNOWN_FORMAT, "a PNG image", _NO_DATA),
    (0, b"\xff\xd8\xff", Reason.UNKNOWN_FORMAT, "a JPEG image", _NO_DATA),
    (0, b"GIF89a", Reason.UNKNOWN_FORMAT, "a GIF image", _NO_DATA),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        Reason.UNKNOWN_FORMAT,
        "the pointer that Git LFS leaves in place of a file",
        "run `git lfs pull`",
    ),
)
_HEAD_BYTES = 512
_ZIP_END = struct.Struct("<4s4H2LH")
# A member, or the beginning of one, by which a kind of zip file is known.
_BY_MEMBER: tuple[tuple[str, str, str], ...] = (
    ("xl/workbook.bin", "a binary Excel workbook (.xlsb)", _SAVE),
    ("word/", "a Word document (.docx)", "put its table into a sheet, and " + _SAVE),
    ("ppt/", "a PowerPoint presentation", _NO_DATA),
    ("Index/Document.iwa", "a Numbers or Pages document", "export it as CSV UTF-8"),
    ("content.xml", "an OpenDocument file (.ods)", _SAVE),
    ("META-INF/container.xml", "an e-book", _NO_DATA),
)


def known_by_bytes(handle: BinaryIO) -> RowRejected | None:
    """The refusal of a file whose first bytes say that it is no table of rows; None for any other."""
    handle.seek(0)
    head = handle.read(_HEAD_BYTES)
    for offset, magic, reason, name, advice in _BY_BYTES:
        if head.startswith(magic, offset):
            return RowRejected(reason, f"the file is {name}: {advice}")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        detail = f"the file is a Python pickle, which runs code when it is read: {_CONVERT}"
        return RowRejected(Reason.UNKNOWN_FORMAT, detail)
    if head[8:12] == b"DUCK" and head[13:20] == bytes(7):
        return RowRejected(Reason.UNKNOWN_FORMAT, f"the file is a DuckDB database: {_CONVERT}")
    if head[8:10] == b'{"' and 0 < int.from_bytes(head[:8], "little") < 100_000_000:
        return RowRejected(Reason.UNKNOWN_FORMAT, f"the file is a model's weights (safetensors): {_NO_DATA}")
    opening = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if opening.startswith((b"<!doctype html", b"<html", b"<table", b"<meta", b"mime-version:")):
        detail = f"the file is a web page, as some programs write under the name of a spreadsheet: open it and {_SAVE}"
        return RowRejected(Reason.UNKNOWN_FORMAT, detail)
    if opening.startswith(b"<?xml"):
        is_sheet = b"excel.sheet" in opening
        name = "an Excel sheet of 2003 in XML" if is_sheet else "an XML file"
        return RowRejected(Reason.UNKNOWN_FORMAT, f"the file is {name}: {_SAVE if is_sheet else _CONVERT}")
    return None


def is_zip(handle: BinaryIO) -> bool:
    """Whether the file begins as a zip file, an empty one included."""
    handle.seek(0)
    return handle.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def directory_bytes(handle: BinaryIO) -> int:
    """The size of a zip file's list of members, as the end of the file states it; 0 where it states none."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - _ZIP_END.size - 2**16))
    tail = handle.read()
    at = tail.rfind(b"PK\x05\x06")
    return 0 if at < 0 or at + _ZIP_END.size > len(tail) else int(_ZIP_END.unpack_from(tail, at)[5])


def zip_refusal(archive: zipfile.ZipFile) -> RowRejected | None:
    """Why a zip file is not read, by what is in it; None for an Excel workbook."""
    names = archive.namelist()
    for beginning, name, advice in _BY_MEMBER:
        if any(member.startswith(beginning) for member in names):
            return RowRejected(Reason.UNKNOWN_FORMAT, f"the file is {name}: {advice}")
    if "xl/workbook.xml" in names:
        return None
    if any(member.endswith("/data.pkl") for member in names):
        return RowRejected(Reason.UNKNOWN_FORMAT, f"the file is a PyTorch checkpoint: {_NO_DATA}")
    if names and all(member.endswith(".npy") for member in names):
        return RowRejected(Reason.UNKNOWN_FORMAT, f"the file is a set of NumPy arrays (.npz): {_CONVERT}")
    shown = ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
    return RowRejected(Reason.COMPRESSED, f"the file is a zip archive with {shown or 'nothing in it'}: {_UNPACK}")


def known_by_fields(document: Any) -> RowRejected | None:
    """The refusal of a JSON document that tools write beside data, or of a notebook; None for any other.

    `state.json`, `dataset_info.json` and `dataset_dict.json` are what `save_to_disk` of github.com/huggingface/datasets
    (src/datasets/arrow_dataset.py, info.py, dataset_dict.py) writes beside its Arrow files.
    """
    if not isinstance(document, dict):
        return None
    has = document.keys()
    if "nbformat" in has and "cells" in has:
        detail = f"the file is a Jupyter notebook: {_CONVERT} from it"
        return RowRejected(Reason.UNKNOWN_FORMAT, detail)
    is_state = {"_data_files", "_fingerprint"} <= has
    is_info = "features" in has and bool({"builder_name", "citation", "homepage", "license"} & has)
    is_splits = has == {"splits"} and isinstance(document["splits"], list)
    if is_state or is_info or is_splits:
        detail = "the file describes a data set that `datasets` saved to disk; the rows are in the files beside it"
        return RowRejected(Reason.UNKNOWN_FORMAT, detail)
    if _is_written_by_columns(document):
        detail = (
            "the file is a table that was written by columns (pandas' to_json as it is, a table of Weights & Biases): "
            "write its rows as objects, as to_json(..., orient='records', lines=True) does"
        )
        return RowRejected(Reason.WRONG_TYPE, detail)
    return None


def _is_written_by_columns(document: dict[str, Any]) -> bool:
    """Whether a document is a table in pandas' orient `split`, `columns` or `list`."""
    columns, data = document.get("columns"), document.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        return bool(data) and all(isinstance(row, list) and len(row) == len(columns) for row in data)
    values = list(document.values())
    if len(values) < 2:
        return False
    if all(isinstance(value, dict) and value and "".join(value).isdecimal() for value in values):
        return True
    are_lists = all(isinstance(value, list) and len(value) == len(values[0]) > 1 for value in values)
    return are_lists and not any(isinstance(item, dict | list) for value in values for item in value)
