"""Rows of an evaluation as text and Markdown."""

from collections.abc import Sequence

from tvmpose.accuracy.evaluate import UNCHANGED, Row
from tvmpose.accuracy.joint_errors import PCK_SHARE, PCKH_SHARE

Table = list[tuple[str, ...]]


def summary(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """A header, then a line a row. AP, AR and PCK in percent, so that a point is 1; frames a second of the network."""
    header = ["system", "runtime", "pictures"]
    header += ["AP", "AP50", "AP75", "AR"] * ("oks" in metrics)
    header += [f"PCK@{PCK_SHARE:g}"] * ("pck" in metrics) + [f"PCKh@{PCKH_SHARE:g}"] * ("pckh" in metrics)
    return [(*header, "frames/s"), *(_line(row, metrics) for row in rows)]


def by_joint(rows: Sequence[Row]) -> Table:
    """A header, then a line a joint: of each system, on the pictures as they are, PCK and the mean error.

    Both in percent, the error of the longer side of the box. Empty where joints were not asked for.
    """
    shown = [row for row in rows if row.pictures == UNCHANGED and row.errors]
    joints = dict.fromkeys(joint.name for row in shown if row.errors for joint in row.errors.by_joint)
    if not joints:
        return []
    table: Table = [("joint", *(f"{row.system}, {row.runtime}" for row in shown))]
    for name in joints:
        cells = []
        for row in shown:
            found = [joint for joint in row.errors.by_joint if joint.name == name] if row.errors else []
            cells.append(f"{100 * found[0].pck:.1f}, off by {found[0].mean:.1f}" if found else "–")
        table.append((name, *cells))
    return table


def markdown(table: Table) -> str:
    """The first column to the left, the others to the right."""
    header, *lines = table
    rule = ("---", *["---:"] * (len(header) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


def _line(row: Row, metrics: Sequence[str]) -> tuple[str, ...]:
    cells: list[float | None] = []
    if "oks" in metrics:
        precision = row.precision
        cells += [precision.ap, precision.ap50, precision.ap75, precision.ar] if precision else [None] * 4
    if "pck" in metrics:
        cells.append(row.errors.pck if row.errors else None)
    if "pckh" in metrics:
        cells.append(row.errors.pckh if row.errors else None)
    speed = f"{1e3 / row.timing.median_ms:.0f}" if row.timing else ""
    return (row.system, row.runtime, row.pictures, *map(_percent, cells), speed)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"
