"""A bundle beside the peers on one virtual board: instructions a frame, tensors to tensors, one thread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.compare import noise, why_unreadable
from tvmpose.benchmark.duel import largest_difference
from tvmpose.benchmark.facts import Facts, read_facts
from tvmpose.benchmark.model_files import file_for, model_files
from tvmpose.devices.virtual import virtual_board
from tvmpose.emulation.count import Counted, Refused, Rig, rig
from tvmpose.emulation.cycles import Estimate, Mca, estimate, find_mca
from tvmpose.emulation.machine import EmulatedMachine, emulated_machine
from tvmpose.errors import SetupError

PEERS_ON_BOARDS = ("litert", "ncnn")
"""Those that a virtual board has."""

PLUGINS = "counting needs a qemu-user of version 4.2 to 8.2 that takes plugins, as Debian 12's does"

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
    machine: EmulatedMachine
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
    with rig(board, cpu, [noise(spec) for spec in facts.inputs]) as on_board:
        progress(f"{facts.name}: tvmpose")
        ours = on_board.count("tvmpose", bundle)
        if isinstance(ours, Refused):
            advice = f"; {PLUGINS}" if "plugin" in ours.reason else ""
            where = f"{board.name}, -cpu {cpu or board.cpu}"
            raise SetupError(f"{bundle} cannot be counted on {where}: {ours.reason}{advice}")
        results: dict[str, Counted | Refused] = {"tvmpose": ours}
        for name in peers:
            progress(f"{facts.name}: {PEERS[name].title}")
            results[name] = _peer(on_board, name, files)
    mca = find_mca()
    return _emulated(facts, emulated_machine(board, cpu, mca), results, mca)


def _peer(on_board: Rig, name: str, files: Sequence[Path]) -> Counted | Refused:
    peer = PEERS[name]
    path = file_for(peer, files)
    if path is None:
        return Refused(str(why_unreadable(peer, files)))
    result = on_board.count(name, path)
    if isinstance(result, Refused) and result.reason.startswith("No module named"):
        return Refused(f"not available: {on_board.board.name} has no {peer.package}")
    return result


def _emulated(
    facts: Facts, machine: EmulatedMachine, results: dict[str, Counted | Refused], mca: Mca | None
) -> Emulated:
    counted = {name: result for name, result in results.items() if isinstance(result, Counted)}
    missing = tuple((name, result.reason) for name, result in results.items() if isinstance(result, Refused))
    cycles = {name: _cycles(result, facts, mca) for name, result in counted.items()}
    remarks = dict.fromkeys(f"no estimate of cycles: {why}" for why in cycles.values() if isinstance(why, str))
    expected = counted["tvmpose"].outputs
    ours, *peers = (
        Row(
            name,
            result.name,
            result.settings,
            result.instructions,
            result.spread,
            largest_difference(result.outputs, expected),
            found if isinstance(found := cycles[name], Estimate) else None,
        )
        for name, result in counted.items()
    )
    return Emulated(facts.name, machine, facts.cpu, facts.multiply_adds, ours, tuple(peers), missing, tuple(remarks))


def _cycles(counted: Counted, facts: Facts, mca: Mca | None) -> Estimate | str:
    if mca is None:
        return "llvm-mca is not installed (apt-get install llvm)"
    if not facts.triple.startswith("aarch64"):
        return f"llvm-mca is asked for 64-bit ARM only, not {facts.triple}"
    return estimate(counted.blocks, facts.cpu, mca)
