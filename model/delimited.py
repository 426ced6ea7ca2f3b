"""CSV and TSV: where each record begins and ends, and what quotes mean."""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

LARGEST_FIELD = 1 << 26  # characters; a quote that nothing closes must not take in the rest of the file


class Record(NamedTuple):
    """The fields of a record, or what is wrong with its quotes; it stands on the lines `first` to `last`, 1-based."""

    first: int
    last: int
    cells: list[str]
    fault: str | None = None


def records(lines: Iterable[str], delimiter: str, quoting: Any = csv.QUOTE_MINIMAL) -> Iterator[Record]:
    """The records of lines that keep their ends; blank lines are none.

    A quote that nothing closes costs one line, not all that follow it.
    """
    csv.field_size_limit(LARGEST_FIELD)
    source = _Lines(lines)
    reader = csv.reader(source, delimiter=delimiter, quoting=quoting, strict=True)
    while True:
        source.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "expected after" not in str(error):  # so the end was reached, or the largest field
                source.give_back()
            yield Record(source.first, source.last, [], str(error))
            continue
        if cells:
            yield Record(source.first, source.last, cells)


class _Lines:
    """Lines that can be read again, but for the first of those taken since `taken` was cleared."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._again = iter(lines), deque[str]()
        self.taken: list[str] = []
        self.last = 0

    @property
    def first(self) -> int:
        """The number of the first line taken."""
        return self.last - len(self.taken) + 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        self.last += 1
        return line

    def give_back(self) -> None:
        """Let all lines taken but the first be read again."""
        self._again.extendleft(reversed(self.taken[1:]))
        self.last -= len(self.taken) - 1
        del self.taken[1:]


def quoting_of_tsv(lines: Callable[[], Iterable[str]]) -> int:
    """What quotes mean in lines whose fields are parted by tabs, as the `csv` module calls it.

    Fields as spreadsheets write them; or nothing, where more records are whole then, or as many and quotes would take
    in tabs.
    """
    quoted, quotes_take_tabs = _faults(lines(), csv.QUOTE_MINIMAL)
    if not quoted and not quotes_take_tabs:
        return csv.QUOTE_MINIMAL
    plain, _ = _faults(lines(), csv.QUOTE_NONE)
    return csv.QUOTE_NONE if plain < quoted + quotes_take_tabs else csv.QUOTE_MINIMAL


def _faults(lines: Iterable[str], quoting: int) -> tuple[int, bool]:
    """How many records are broken or have another number of fields than the first, and whether a field has a tab."""
    fields, faults, has_tab = None, 0, False
    for record in records(lines, "\t", quoting):
        fields = len(record.cells) if fields is None else fields
        faults += record.fault is not None or len(record.cells) != fields
        has_tab = has_tab or any("\t" in cell for cell in record.cells)
    return faults, has_tab
