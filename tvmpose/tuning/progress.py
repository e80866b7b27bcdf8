"""What `tvmpose tune` shows while it runs: a table that is drawn anew in a terminal, else a line a round."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tvmpose.tuning.session import Shown

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from tvmpose.tuning.tuner import Round, Tuner

_TASKS_SHOWN = 12


@contextlib.contextmanager
def progress() -> Iterator[Shown]:
    """Lasts as long as the run."""
    if not sys.stdout.isatty():
        yield Plain()
        return
    from rich.live import Live

    with Live(refresh_per_second=4, transient=True) as live:
        yield Drawn(live)


def show(value: float, unit: str) -> str:
    """A record's value, for people."""
    if unit == "instructions":
        return f"{value / 1e6:.3f} M"
    return f"{value * 1e3:.3f} ms" if value >= 1e-3 else f"{value * 1e6:.1f} us"


def round_line(tuner: "Tuner", done: "Round", left: float | None) -> str:
    """One round: what was tried and came of it, where the time went, how far it is."""
    default, best = tuner.total()
    ran = f"{done.tried} tried, {done.built} built, {done.ran} ran, {done.valid} valid"
    parts = (("search", done.search_seconds), ("build", done.build_seconds), ("measure", done.measure_seconds))
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts)
    finished = sum(search.is_done for search in tuner.searches)
    rest = "" if left is None else f"; {left:.0f} s left"
    errors = "".join(f"; {count} x {what}" for what, count in done.errors.most_common(2))
    return (
        f"round {done.number}: {ran}; {times}; kernels {show(default, tuner.unit)} -> {show(best, tuner.unit)}; "
        f"{finished} of {len(tuner.searches)} tasks done{rest}{errors}"
    )


class Plain:
    """For logs."""

    def message(self, text: str) -> None:
        print(text, flush=True)

    def round(self, tuner: "Tuner", done: "Round", left: float | None) -> None:
        print(round_line(tuner, done, left), flush=True)


class Drawn:
    """For a terminal."""

    def __init__(self, live: "Live") -> None:
        self._live = live

    def message(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def round(self, tuner: "Tuner", done: "Round", left: float | None) -> None:
        from rich.console import Group

        self._live.update(Group(self._table(tuner), round_line(tuner, done, left)))

    @staticmethod
    def _table(tuner: "Tuner") -> "Table":
        """The tasks that take most of a frame."""
        from rich.table import Table

        table = Table("task", "calls", "trials", "default", "best", "of default", box=None)
        known = [search for search in tuner.searches if search.default is not None]
        for search in sorted(known, key=lambda s: -s.task.calls * (s.default or 0.0))[:_TASKS_SHOWN]:
            values = (show(search.default or 0.0, tuner.unit), show(search.best or 0.0, tuner.unit))
            table.add_row(search.task.title, str(search.task.calls), str(search.trials), *values, f"{search.ratio:.2f}")
        return table
