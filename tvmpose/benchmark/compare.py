"""A bundle beside the peers: the same tensors in, every output out, on each number of threads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmpose.baselines.peers import PEERS, Peer
from tvmpose.benchmark.duel import Contestant, Outcome, Refusal, Rounds, duel
from tvmpose.benchmark.facts import Facts, read_facts
from tvmpose.benchmark.frame import FrameSize
from tvmpose.benchmark.model_files import file_for, model_files
from tvmpose.modelspec import TensorSpec

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One bundle on one number of threads. ``missing``: peer and why it is not in the row."""

    model: str
    threads: int
    multiply_adds: int
    ours: Outcome
    peers: tuple[Outcome, ...]
    pixels: Outcome | None  # from a frame and one box to keypoints; None without a card
    missing: tuple[tuple[str, str], ...]

    @property
    def best_peer(self) -> Outcome | None:
        return min(self.peers, key=lambda peer: peer.timing.median_ms, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer we are."""
        return self.best_peer.timing.median_ms / self.ours.timing.median_ms if self.best_peer else None


def compare(
    bundle: Path,
    peers: Sequence[str],
    threads: Sequence[int],
    given: Sequence[Path] = (),
    rounds: Rounds = Rounds(),  # noqa: B008 - frozen
    progress: Progress = lambda text: None,
    frame: FrameSize | None = FrameSize(),  # noqa: B008 - frozen
) -> list[Comparison]:
    """A Comparison for each number of threads. ``peers``: keys of PEERS; ``given``: model files, see model_files.

    frame: the way from its pixels, with one box, to keypoints is timed too; None: it is not. Raises InputError,
    VerifyError or SetupError.
    """
    facts = read_facts(bundle)
    files = model_files(facts, given) if peers else []
    missing = {name: reason for name in peers if (reason := why_absent(name, files))}
    present = [name for name in peers if name not in missing]
    comparisons = []
    for count in threads:
        ours = [Contestant("tvmpose", bundle, count)]
        if frame and facts.card:
            ours.append(Contestant("tvmpose", bundle, count, frame))
        rivals = [Contestant(name, _file(name, files), count) for name in present]
        label = f"{facts.name}, {count} thread{'s' * (count != 1)}"
        inputs = [noise(spec) for spec in facts.inputs]
        results = duel([*ours, *rivals], inputs, rounds, lambda text, label=label: progress(f"{label}: {text}"))  # type: ignore[misc]
        comparisons.append(_comparison(facts, count, results, missing))
    return comparisons


def _comparison(
    facts: Facts, threads: int, results: Sequence[Outcome | Refusal], missing: Mapping[str, str]
) -> Comparison:
    outcomes = [result for result in results if isinstance(result, Outcome)]
    refused = [(r.contestant.runtime, r.reason) for r in results if isinstance(r, Refusal)]
    ours, *others = outcomes
    pixels = next((outcome for outcome in others if outcome.contestant.frame), None)
    peers = tuple(outcome for outcome in others if outcome.contestant.frame is None)
    return Comparison(facts.name, threads, facts.multiply_adds, ours, peers, pixels, (*missing.items(), *refused))


def why_absent(name: str, files: Sequence[Path]) -> str | None:
    """Why a peer cannot take part, before it is tried."""
    peer = PEERS[name]
    if not peer.installed:
        return f"not available: pip install {peer.package.replace('_', '-')}"
    return why_unreadable(peer, files)


def why_unreadable(peer: Peer, files: Sequence[Path]) -> str | None:
    """Why none of these files is one for the peer."""
    if file_for(peer, files):
        return None
    return f"not available: reads {' and '.join(peer.suffixes)}, and no such file was given (--model)"


def _file(name: str, files: Sequence[Path]) -> Path:
    path = file_for(PEERS[name], files)
    assert path is not None
    return path


def noise(spec: TensorSpec) -> np.ndarray:
    """An input for measuring: a network without branches takes as long for it as for a person. The same every time."""
    generator, dtype = np.random.default_rng(0), np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.random(spec.shape, np.float32).astype(dtype)
    return generator.integers(0, 1 + min(255, np.iinfo(dtype).max), spec.shape, dtype)
