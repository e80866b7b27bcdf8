"""Results as Markdown, written between two marks of a document, so that no number in it is typed by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_between_marks(document: Path, mark: str, text: str) -> None:
    """Put ``text`` between ``<!-- mark: begin -->`` and ``<!-- mark: end -->``. Raises ValueError where one lacks."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, found_begin, rest = document.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"{document} lacks {begin} or {end}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """With a line break at the end, folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
