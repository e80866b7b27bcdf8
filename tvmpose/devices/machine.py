"""Where the gate runs a library: on this machine, or on a virtual board of the library's target."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose.devices.board import VirtualBoard
from tvmpose.devices.recipe import list_boards
from tvmpose.devices.virtual import board_that_is_up
from tvmpose.targets import Target, list_targets, load_target

if TYPE_CHECKING:
    from tvmpose.cards.card import Card
    from tvmpose.gate import Network
    from tvmpose.modelspec import ModelSpec


@dataclass(frozen=True)
class Machine:
    """This machine, or the virtual board."""

    target: Target  # what to compile for it
    board: VirtualBoard | None = None

    def open(
        self, library: Path, symbol: str, spec: "ModelSpec", card: "Card | None" = None
    ) -> "AbstractContextManager[Network]":
        """Open a library that was compiled for the target. Raises PoseError here, VerifyError on a board."""
        if self.board is None:
            from tvmpose.runtime.pose import open_library

            return open_library(library, symbol)
        from tvmpose.devices.board_pose import open_on_board

        count = len(card.keypoints.keypoints) if card else 0
        return open_on_board(self.board, self.target, library, symbol, spec, count)


def board_of(target: Target) -> VirtualBoard | None:
    """The target's virtual board where it is up; none of a target of the user's own that bears a shipped one's name."""
    name = target.name.removesuffix(":cpu")  # a board has no GPU
    if target.gpu or name not in list_targets() or load_target(target.name) != target:
        return None
    return board_that_is_up(name)


def where_verified(target: Target, status: str) -> str:
    """A clause for the end of the gate's summary: where it ran, if not here, and how it can run on a board."""
    if status == "emulated":
        return f", on the virtual {target.name}"
    if status != "host-equivalent only":
        return ""
    what = ", compiled for this machine in its place"
    if target.name not in list_boards():
        return what
    return f"{what}: after `tvmpose devices virtual {target.name} --up` the library itself"
