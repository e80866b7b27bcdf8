"""A bundle beside the peers on one virtual board: instructions a frame, tensors to tensors, one thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import noise
from tvmpose.benchmark.duel import largest_difference
from tvmpose.benchmark.facts import Facts, read_facts
from tvmpose.benchmark.model_files import file_for, model_files
from tvmpose.devices.virtual import virtual_board
from tvmpose.emulation.count import Counted, Refused, Rig, rig
from tvmpose.emulation.cycles import Estimate, Mca, estimate, find_mca
from tvmpose.errors import SetupError

PEERS_ON_BOARDS = ("litert", "ncnn")
"""Those that a virtual board has."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One runtime's frame. ``difference``: the largest to our outputs, as a share of each one's maximum."""

    runtime: str  # a key of PEERS, or "tvmpose"
    name: str
    settings: str
    instructions: float
    spread: float  # of the repeats, as a share
    difference: float | None  # None: other tensors than ours
    cycles: Estimate | None


@dataclass(frozen=True)
class Emulated:
    """One bundle on one emulated CPU. ``missing``: peer and why it has no row; ``remarks``: why there are no cycles."""

    model: str
    board: str
    cpu: str  # qemu's name
    core: str  # LLVM's name of what the bundle was compiled for, and of what cycles are estimated for
    multiply_adds: int
    ours: Row
    peers: tuple[Row, ...]
    missing: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]

    def ratio(self, peer: Row) -> float:
        """Our instructions for one of this peer's."""
        return self.ours.instructions / peer.instructions


def emulate(
    bundle: Path,
    peers: Sequence[str],
    given: Sequence[Path] = (),
    board_name: str | None = None,
    cpu: str | None = None,
    progress: Progress = lambda text: None,
) -> Emulated:
    """Count ours and the peers' (keys of PEERS) with the model files of ``given``, see model_files.

    board_name: the target whose virtual board is used, by default the bundle's; cpu: qemu's name, by default the
    board's own. Raises InputError, VerifyError or SetupError.
    """
    facts = read_facts(bundle)
    files = model_files(facts, given) if peers else []
    board = virtual_board(board_name or facts.target, progress)
    mca = find_mca()
    with rig(board, cpu, [noise(spec) for spec in facts.inputs]) as on_board:
        progress(f"{facts.name}: tvmpose")
        first = on_board.count("tvmpose", bundle)
        if isinstance(first, Refused):
            raise SetupError(f"{bundle} cannot be counted on {board.name}, -cpu {cpu or board.cpu}: {first.reason}")
        counted: dict[str, Counted] = {}
        missing: list[tuple[str, str]] = []
        for name in peers:
            progress(f"{facts.name}: {PEERS[name].title}")
            result = _peer(on_board, name, files)
            if isinstance(result, Refused):
                missing.append((name, result.reason))
            else:
                counted[name] = result
    rows, remarks = [], []
    for name, result in {"tvmpose": first, **counted}.items():
        cycles = _cycles(result, facts, mca)
        remarks += [cycles] if isinstance(cycles, str) and cycles not in remarks else []
        rows.append(_row(name, result, first, cycles if isinstance(cycles, Estimate) else None))
    where = (facts.name, board.name, cpu or board.cpu, facts.cpu, facts.multiply_adds)
    return Emulated(*where, rows[0], tuple(rows[1:]), tuple(missing), tuple(remarks))


def _peer(on_board: Rig, name: str, files: Sequence[Path]) -> Counted | Refused:
    peer = PEERS[name]
    path = file_for(peer, files)
    if path is None:
        return Refused(f"not available: reads {' and '.join(peer.suffixes)}, and no such file was given (--model)")
    return on_board.count(name, path)


def _cycles(counted: Counted, facts: Facts, mca: Mca | None) -> Estimate | str:
    if mca is None:
        return "no estimate of cycles: llvm-mca is not installed (apt-get install llvm)"
    if not facts.triple.startswith("aarch64"):
        return "no estimate of cycles: for 64-bit ARM only"
    found = estimate(counted.blocks, facts.cpu, mca)
    return found if isinstance(found, Estimate) else f"no estimate of cycles: {found}"


def _row(runtime: str, counted: Counted, ours: Counted, cycles: Estimate | None) -> Row:
    difference = largest_difference(counted.outputs, ours.outputs)
    return Row(runtime, counted.name, counted.settings, counted.instructions, counted.spread, difference, cycles)
