"""In which encoding a text file is written, decided for the file as a whole and never row by row.

Of a file in another encoding than UTF-8 the rows in ASCII would read well and the others not, and the accepted ones
would be a biased sample. So a file is read as UTF-8, as UTF-16, as Windows-1251 where it is plausible Russian in it, or
it is refused once. In JSON the border is this: where lines with text in sound UTF-8 (or with \\u escapes, which also
show that their writer does not depend on an encoding) are at least as many as the unsound lines, the unsound ones are
damaged rows of a UTF-8 file, each rejected by itself. A table with any unsound line is refused.

KOI8-R, CP866, Mac Cyrillic and others are not guessed: they are ruled out by comparing what the bytes spell in each.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pollux_dagster.ingest import limits
from pollux_dagster.ingest.rows import Reason, RowRejected

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip
_HEAD_BYTES = 4096
_SAMPLE_BYTES = 256 * 1024
_ESCAPED = re.compile(rb"\\u(?!00[0-7])[0-9a-fA-F]{4}")
_RIVALS = ("koi8-r", "cp866", "mac-cyrillic", "iso8859-5")
_WORD = re.compile(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*")
_CYRILLIC_WORD = re.compile("[А-ЯЁІЇЄҐЎ]?[а-яёіїєґў]+|[А-ЯЁІЇЄҐЎ]+")
_CYRILLIC = re.compile("[а-яёіїєґў]")
_FREQUENT = re.compile("[оеаинтсрвл]")  # two thirds of the letters of Russian text
SAVE_AS_UTF8 = "save it as CSV UTF-8 (a table) or write it as UTF-8 (JSON)"


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """A codec, and the number of bytes of the byte order mark before the text."""

    codec: str
    start: int = 0


def text_encoding(handle: BinaryIO) -> TextEncoding | RowRejected:
    """The encoding of the file, which is read once or twice for it, a piece at a time."""
    handle.seek(0)
    head = handle.read(_HEAD_BYTES)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            if codec == "utf-32":
                return RowRejected(Reason.INVALID_UTF8, f"the file is UTF-32: {SAVE_AS_UTF8}")
            found = TextEncoding(codec, len(mark))
            break
    else:
        found = TextEncoding(_unmarked_utf16(head) or "utf-8")
    if found.codec != "utf-8" or _is_utf8(handle, found.start):
        return found
    return _by_lines(handle, found.start)


def _unmarked_utf16(head: bytes) -> str | None:
    """The kind of UTF-16 in which every other byte is 0 or 4, as it is in Latin and Cyrillic text; else None."""
    if len(head) < 4 or b"\0" not in head:
        return None
    for codec, low, high in (("utf-16-le", head[0::2], head[1::2]), ("utf-16-be", head[1::2], head[0::2])):
        plain = high.count(0) + high.count(4)
        if high.count(0) and plain > 0.9 * len(high) and low.count(0) < 0.02 * len(low):
            return codec
    return None


def _is_utf8(handle: BinaryIO, start: int) -> bool:
    import polars as pl  # for its decoder, seven times as fast as Python's; here, as its import takes long

    handle.seek(start)
    rest = b""
    while piece := handle.read(limits.MIB):
        piece = rest + piece
        end = len(piece) - _torn_character(piece)
        piece, rest = piece[:end], piece[end:]
        try:
            pl.Series([piece], dtype=pl.Binary).cast(pl.String)
        except pl.exceptions.PolarsError:
            return False
    return not rest


def _torn_character(piece: bytes) -> int:
    """The number of bytes at the end of a piece that begin a character of UTF-8 and do not end it."""
    for back in (1, 2, 3):
        byte = piece[-back] if back <= len(piece) else 0
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
    return 0


def _by_lines(handle: BinaryIO, start: int) -> TextEncoding | RowRejected:
    """The encoding of a file that is not UTF-8 throughout."""
    handle.seek(start)
    is_json = any(line.lstrip()[:1] in (b"{", b"[") for line in handle.read(_HEAD_BYTES).splitlines())
    sound = unsound = 0
    may_be_1251 = not start
    sample = first = b""
    where = ""
    for number, line in _lines(handle, start):
        if line.isascii():
            sound += is_json and _ESCAPED.search(line) is not None
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            if not where:
                first = line[error.start : error.start + 1]
                where = f"line {number}, byte {error.start + 1} (0x{first.hex()})"
            if is_json and _is_damaged(line):
                sound += 1
            else:
                unsound += 1
                may_be_1251 = may_be_1251 and b"\x98" not in line  # the one byte that Windows-1251 does not have
                sample += line[: _SAMPLE_BYTES - len(sample)]
        else:
            sound += 1
    if is_json and sound >= unsound:
        return TextEncoding("utf-8", start)
    if sound:
        detail = f"{where} is not UTF-8; {sound} lines of the file are UTF-8 and {unsound} are not: {SAVE_AS_UTF8}"
        return RowRejected(Reason.INVALID_UTF8, detail)
    if may_be_1251 and is_russian_in_1251(sample):
        return TextEncoding("cp1251", start)
    detail = f"{where} is not UTF-8, and the file as a whole is not Windows-1251 or UTF-16 either: {SAVE_AS_UTF8}"
    return RowRejected(Reason.INVALID_UTF8, detail)


def _lines(handle: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of the file, one over the limit of a line in several parts."""
    handle.seek(start)
    number, is_new = 0, True
    while line := handle.readline(limits.MAX_LINE_BYTES):
        number += is_new
        is_new = line.endswith(b"\n")
        yield number, line


def _is_damaged(line: bytes) -> bool:
    """Whether a line is UTF-8 (or escaped) with a few bytes lost, rather than in another encoding."""
    kept = line.decode("utf-8", "ignore")
    sound = sum(not character.isascii() for character in kept) + len(_ESCAPED.findall(line))
    return sound > len(line) - len(kept.encode())


def is_russian_in_1251(sample: bytes) -> bool:
    """Whether these bytes spell Cyrillic words in Windows-1251, and no other encoding spells them better."""
    text = sample.decode("cp1251", "replace")
    here = _likeness(text)
    if here is None or here < 2.2:
        return False
    rivals = (sample.decode(codec, "replace") for codec in _RIVALS)
    return all((_likeness(rival) or 0) <= here for rival in rivals)


def _likeness(text: str) -> float | None:
    """How much a text is like Russian, from 0 to 3; None for one without a word of other letters than Latin.

    The sum of three shares: letters among the characters beyond ASCII, words of one case among the words with such
    letters, and frequent letters among the letters.
    """
    beyond = [character for character in text if not character.isascii()]
    words = _WORD.findall(text)
    letters = _CYRILLIC.findall(text.casefold())
    if not words or not letters:
        return None
    well_formed = sum(_CYRILLIC_WORD.fullmatch(word) is not None for word in words) / len(words)
    if well_formed < 0.85:
        return 0
    return len(letters) / len(beyond) + well_formed + sum(map(len, _FREQUENT.findall("".join(letters)))) / len(letters)
