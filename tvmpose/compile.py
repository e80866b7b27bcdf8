"""A model and a device name in, a bundle out: resolve, import, compile, verify, write."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmpose import __version__, gate
from tvmpose.cards import Card, card_for_hash, load_card, pull, pull_sample, sha256_of
from tvmpose.codegen import bundle
from tvmpose.codegen.levels import compile_levels
from tvmpose.codegen.library import Library, Progress, Work
from tvmpose.codegen.toolchain import toolchain_for
from tvmpose.compact import Compact
from tvmpose.devices.machine import Machine, where_verified
from tvmpose.errors import InputError, ModelError, SetupError, VerifyError
from tvmpose.extras import require
from tvmpose.flip_test import FlipTestJudge, Mirrored, mirrored_outputs, picture_axis
from tvmpose.frontend.source import FORMATS, Source, split_function
from tvmpose.pose.skeletons import SKELETONS
from tvmpose.quantize.request import Quantized, Request
from tvmpose.selection import PartialJudge, Selection, parse, select
from tvmpose.self_check import self_check
from tvmpose.targets import Target
from tvmpose.trials import Trial, find_trials, stand_in

if TYPE_CHECKING:
    import numpy as np
    from tvm.ir import IRModule

    from tvmpose.baselines.judge import Judge
    from tvmpose.kernels.requantize import Rounding
    from tvmpose.modelspec import ModelSpec
    from tvmpose.tuning.records import Unit

# By source format: the arithmetic of its runtime, as it is set up by default.
DEFAULT_ROUNDING = {"tflite": "xnnpack", "onnx": "ort", "torch": "torch"}


@dataclass(frozen=True)
class Options:
    """Everything a compilation depends on, resolved: what the command prints before it starts."""

    source: Source
    card: Card | None
    target: Target
    name: str
    output: Path
    samples: Path | None = None
    verify: bool = True
    dump: Path | None = None
    guard_bytes: int = 0
    static: bool = False
    outputs: str | None = None  # see selection.select, as of the next
    keypoints: tuple[int, ...] | None = None
    rounding: "Rounding | None" = None  # of a quantized model; None: its format's default
    quantization: Request | None = None  # of a float model
    weights: Compact | None = None  # what those of float convolutions are rounded to
    accept_loss: bool = False  # of accuracy, by either of these
    records: "Unit | None" = "seconds"  # which of tuning's to compile with
    flip_test: bool = False  # see flip_test.py

    @property
    def precision(self) -> str:
        """For the manifest."""
        return "int8" if self.quantization else self.weights.value if self.weights else "source"

    @property
    def is_lossy(self) -> bool:
        return self.precision != "source"


@dataclass(frozen=True)
class Report:
    """What came of it."""

    manifest: bundle.Manifest
    libraries: tuple[Library, ...]  # the most demanding first
    findings: gate.Findings | None  # of the most demanding one that could be run

    @property
    def library(self) -> Library:
        return self.libraries[0]


def resolve(
    model: str,
    *,
    card: str | None,
    target: Target,
    output: Path | None,
    samples: Path | None = None,
    verify: bool = True,
    dump: Path | None = None,
    guard_bytes: int = 0,
    static: bool = False,
    outputs: str | None = None,
    keypoints: str | None = None,
    rounding: str | None = None,
    quantization: Request | None = None,
) -> Options:
    """Find the model file and its card: a card's name, or a file whose card is named, known by its hash, or absent.

    outputs, keypoints: what of the model to compile, as selection.parse takes it; None is all. rounding: a Rounding's
    name.
    """
    if Path(model).suffix == ".toml":
        raise InputError(f"{model} is a card: tvmpose compile MODEL_FILE --card {model}")
    model, function = split_function(model)
    called = Path(model).stem
    if (Path(model) / "net.py").is_file():  # models/NAME, whose card lies beside it
        beside = Path(model).with_suffix(".toml")
        model, card = str(Path(model) / "net.py"), card or (str(beside) if beside.is_file() else None)
    if Path(model).suffix in FORMATS or Path(model).exists():
        path = Path(model)
        known = load_card(card) if card else card_for_hash(sha256_of(path)) if path.is_file() else None
    else:
        known = load_card(card or model)
        path = pull(load_card(model))
    shape = (1, 3, known.input.height, known.input.width) if known else None
    name = _identifier(known.name if known and Path(model).suffix not in FORMATS else called)
    if keypoints is not None and known is None:
        raise InputError("--keypoints: needs a card, which says where they are (--card)")
    kept = parse(keypoints, known.keypoints.keypoints, "--keypoints") if known and keypoints is not None else None
    return Options(
        Source(path, shape, function),
        known,
        target,
        name,
        output or Path(name),
        samples,
        verify,
        dump,
        guard_bytes,
        static,
        outputs,
        kept,
        _rounding(rounding),
        quantization,
    )


def compile_model(options: Options, progress: Progress = lambda step, result: None) -> Report:
    """Compile, verify and write the bundle; nothing is written unless all of it succeeds.

    Raises ModelError, VerifyError, InputError or SetupError, each with one line.
    """
    require("tvm", extra="compiler")
    from tvmpose.passes.pipeline import begin_pipeline

    bundle.refuse_other_files(options.output.resolve())
    _refuse_precision(options)
    toolchain_for(options.target)  # is there one?
    if options.dump:
        _make_dump(options.dump / "build")
    pictures = _pictures(options) if options.verify else []
    network = import_network(options, progress)
    judge = _judge(options, network) if options.verify else None
    with tempfile.TemporaryDirectory(prefix="tvmpose-") as temporary:
        directory = options.dump / "build" if options.dump else Path(temporary)
        work = _work(options, network, progress)
        begun = begin_pipeline(network.module, work.after_phase)
        libraries = compile_levels(begun, options.target, options.name, directory, work)
        verified = _Verified([bundle.Verification("not verified")] * len(libraries))
        if judge:
            trials = find_trials(libraries, options.name)
            trials = trials or [stand_in(begun, options.target, options.name, directory, work)]
            verified = _verify(options, network, judge, pictures, libraries, trials, progress)
        manifest = _write(options, network, libraries, verified)
    return Report(manifest, libraries, verified.findings)


def _refuse_precision(options: Options) -> None:
    """Of a GPU's kernels, before pictures are looked at for nothing."""
    if options.target.gpu and options.precision in ("int8", "bfloat16"):
        raise InputError(
            f"--precision {options.precision}: {options.target.name} computes on a GPU, which has no such kernels: "
            "leave it out, or compile for a target without a GPU (tvmpose targets)"
        )


@dataclass(frozen=True)
class Network:
    """What is to be compiled, whatever the target: of what was imported, what was kept, quantized where asked."""

    module: "IRModule"
    spec: "ModelSpec"
    card: Card | None
    source_rounding: "Rounding | None"  # None of a float model
    rounding: "Rounding | None"  # None where it computes in floats
    quantized: Quantized | None  # by us
    selection: Selection | None
    mirrored: tuple[Mirrored, ...] = ()  # of a flip test
    picture_axis: int = 0  # along which it is mirrored


def import_network(options: Options, progress: Progress = lambda step, result: None) -> Network:
    """Read the model, quantize it and cut off what is not wanted. Raises ModelError or InputError."""
    from tvmpose.codegen.pixels import check_card
    from tvmpose.passes.average_mirrored import average_mirrored
    from tvmpose.passes.prune import prune

    _pass_through_tvm()
    module, spec = options.source.load()
    source_rounding = rounding = _rounding_of(options, module)
    said = f"; quantized, rounding as {rounding.value}" if rounding else ""
    progress("import", f"{options.source.format}, {len(spec.inputs)} in, {len(spec.outputs)} out{said}")
    card, quantized, selection = options.card, None, None
    mirrored, axis = (mirrored_outputs(spec, card) if options.flip_test else ()), 0
    if card:
        check_card(spec, card)
    if options.weights and rounding:
        raise InputError(f"--precision {options.precision}: {options.source.path} computes in integers")
    if options.quantization:
        source = sha256_of(options.source.path)
        module, quantized = options.quantization.apply(module, spec, card, source, progress)
        rounding = _rounding("ort")  # float32 scales, half to even, which int16 needs
    if mirrored:
        axis = picture_axis(spec)
        module = average_mirrored(module, axis, mirrored)
        progress("flip", "the mirror image too: twice the work")
    if options.outputs is not None or options.keypoints is not None:
        selection, whole = select(spec, card, options.outputs, options.keypoints), spec
        module, spec, card = prune(module, selection.parts), selection.spec(spec), selection.card
        progress("prune", f"{len(spec.outputs)} of {len(whole.outputs)} outputs" + _kept(card))
    return Network(module, spec, card, source_rounding, rounding, quantized, selection, mirrored, axis)


def _judge(options: Options, network: Network) -> "Judge":
    """The source model in its own runtime; what was cut off or mirrored is done to its results."""
    rounding = network.source_rounding
    judge = options.source.judge(rounding=rounding and rounding.value)
    if network.mirrored:
        judge = FlipTestJudge(judge, network.picture_axis, network.mirrored)
    return PartialJudge(judge, network.selection) if network.selection else judge


def _work(options: Options, network: Network, progress: Progress) -> Work:
    weights = Compact.FLOAT16 if network.quantized else options.weights
    return Work(
        network.spec,
        network.card,
        progress,
        options.dump,
        options.guard_bytes,
        network.rounding,
        weights,
        options.records,
    )


@dataclass(frozen=True)
class _Verified:
    """What the gate gave."""

    verifications: Sequence[bundle.Verification]  # by library
    sample: bytes | None = None
    findings: gate.Findings | None = None  # of the first trial


def _verify(
    options: Options,
    network: Network,
    judge: "Judge",
    pictures: "list[tuple[str, np.ndarray]]",
    libraries: Sequence[Library],
    trials: Sequence[Trial],
    progress: Progress,
) -> _Verified:
    """Run the trials, of which there is one at least, the most demanding first. Raises VerifyError."""
    from tvmpose.qdq import output_steps

    card, spec, rounding = network.card, network.spec, network.rounding
    if rounding and card:
        pictures = [(name, gate.at_network_size(card, picture)) for name, picture in pictures]
    steps = output_steps(network.module["main"]) if network.source_rounding else None
    verified: dict[str, bundle.Verification] = {}  # by target
    sample, findings = None, None
    for trial in trials:
        with trial.machine.open(trial.library.path, options.name, spec, card) as pose:
            found = gate.compare(pose, judge, card, spec.inputs[0], pictures, steps)
            _require(found, options, network, trial.machine, judge, pictures)
            sample = sample or self_check(card, judge, pose if rounding else None, spec, pictures)
        summary = _summary(found) + where_verified(options.target, trial.status)
        progress("verify", _of_level(options, trial.library.target, summary))
        verified[trial.library.target.name] = bundle.Verification(trial.status, **vars(found))
        findings = findings or found
    return _Verified([_verification(library, verified) for library in libraries], sample, findings)


def _require(
    findings: gate.Findings,
    options: Options,
    network: Network,
    machine: Machine,
    judge: "Judge",
    pictures: "list[tuple[str, np.ndarray]]",
) -> None:
    """Raise VerifyError where they are not good enough."""
    from tvmpose.divergence import first_divergence

    if options.is_lossy:
        if not options.accept_loss:
            gate.require_accuracy(findings, network.card, options.precision)
        return

    def diverging() -> Iterator[str]:
        tensor = gate.expect(judge, network.card, network.spec.inputs[0], pictures[0][1]).input
        yield first_divergence(options.source, machine, tensor, network.rounding)

    try:
        gate.require_agreement(findings, network.card, diverging())
    except VerifyError as error:
        raise VerifyError(_of_level(options, machine.target, str(error))) from error


def _verification(library: Library, verified: Mapping[str, bundle.Verification]) -> bundle.Verification:
    """By target. Of a library that could not be run what the most demanding one gave that could."""
    most_demanding = next(iter(verified.values()))
    return verified.get(library.target.name) or replace(most_demanding, status="host-equivalent only")


def _of_level(options: Options, target: Target, text: str) -> str:
    """Of one of several libraries it has to be said which it is."""
    several = len(options.target.levels) > 1 and target in options.target.variants
    return f"{target.name}: {text}" if several else text


def _kept(card: Card | None) -> str:
    return f", {len(card.kept)} of {len(SKELETONS[card.skeleton].keypoints)} keypoints" if card and card.kept else ""


def _rounding(name: str | None) -> "Rounding | None":
    if name is None:
        return None
    from tvmpose.kernels.requantize import Rounding

    names = [rounding.value for rounding in Rounding]
    if name not in names:
        raise InputError(f"--rounding {name}: there are {', '.join(names)}")
    return Rounding(name)


def _rounding_of(options: Options, module: "IRModule") -> "Rounding | None":
    """None of a float model."""
    from tvmpose.qdq import is_quantized

    if is_quantized(module["main"]):
        return options.rounding or _rounding(DEFAULT_ROUNDING[options.source.format])
    if options.rounding:
        raise InputError(f"--rounding {options.rounding.value}: {options.source.path} computes in floats")
    return None


def _pass_through_tvm() -> None:
    """An exception of a pass of ours comes back from TVM's C++ as a RuntimeError, unless its type is registered."""
    from tvm_ffi import register_error

    for kind in (KeyboardInterrupt, InputError, ModelError, SetupError):
        register_error(kind.__name__, kind)


def _make_dump(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"--dump {folder.parent}: cannot be made: {error.strerror}") from error


def _pictures(options: Options) -> "list[tuple[str, np.ndarray]]":
    return gate.read_samples(options.samples, None if options.samples else pull_sample("astronaut"))


def _summary(findings: gate.Findings) -> str:
    tensors = f"tensors within {findings.tensors_max_relative:.1e} of their maximum"
    if findings.tensors_within_step is not None:
        within = f"{findings.tensors_within_step:.2%} of the values"
        tensors = f"tensors within {findings.tensors_max_steps:.3g} steps, {within} within one"
    if not findings.joints:
        return f"{findings.samples} samples against {findings.judge}: {tensors}"
    distances = f"median {findings.median_px:.4f} px, p95 {findings.p95_px:.4f} px, at most {findings.max_px:.4f} px"
    if findings.similarity is not None:
        distances += f", OKS {findings.similarity:.4f}"
    return f"{findings.samples} samples, {findings.joints} joints against {findings.judge}: {distances}, {tensors}"


def _write(options: Options, network: Network, libraries: Sequence[Library], verified: _Verified) -> bundle.Manifest:
    card, spec, rounding = network.card, network.spec, network.rounding
    manifest = bundle.Manifest(
        name=options.name,
        symbol=options.name,
        tvmpose_version=__version__,
        libraries=tuple(map(_entry, libraries, verified.verifications)),
        model=bundle.Model(
            options.source.path.name, sha256_of(options.source.path), options.source.format, spec.inputs, spec.outputs
        ),
        card=card.name if card else None,
        keypoints=bundle.Keypoints(card.keypoints.keypoints, card.keypoints.edges) if card else None,
        tools=libraries[0].tools,
        rounding=rounding and rounding.value,
        precision=options.precision,
        quantized=network.quantized,
        finds_people=card is not None and card.head.finds_people,
        flip_test=options.flip_test,
    )
    contents: dict[str, bundle.Content] = {library.path.name: library.path for library in libraries}
    if options.static:
        contents[libraries[0].archive.name] = libraries[0].archive
    if verified.sample:
        contents[bundle.SAMPLE] = verified.sample
    return bundle.write_bundle(options.output, manifest, contents)


def _entry(library: Library, verification: bundle.Verification) -> bundle.Library:
    target, memory = library.target, (library.arena_bytes, library.weight_bytes, library.workspace_bytes)
    return bundle.Library(
        library.path.name,
        target.name,
        target.triple,
        target.cpu,
        library.cpu_features,
        bundle.Memory(*memory),
        verification,
        library.steps,
    )


def _identifier(name: str) -> str:
    """The bundle's name: part of file names and C symbols."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    if not plain.strip("_"):
        raise InputError(f"no name for a bundle can be made of {name!r}")
    return plain if not plain[0].isdigit() else f"pose_{plain}"
