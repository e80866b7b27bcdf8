"""Which file a peer is given."""

from pathlib import Path

import pytest

from tvmpose.baselines.peers import PEERS
from tvmpose.benchmark.facts import Facts
from tvmpose.benchmark.model_files import file_for, model_files
from tvmpose.cards import sha256_of
from tvmpose.errors import InputError, VerifyError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"model")
    return path


def facts(source: Path, card: str | None = None) -> Facts:
    return Facts("net", source.name, sha256_of(source), (), (), 0, 0, "x86_64-linux-gnu", (), card)


def test_model_files__the_source_and_a_conversion__both(source: Path):
    conversion = source.with_suffix(".param")
    conversion.touch()
    files = model_files(facts(source), [conversion, source])
    assert file_for(PEERS["ncnn"], files) == conversion
    assert file_for(PEERS["openvino"], files) == file_for(PEERS["onnxruntime"], files) == source
    assert file_for(PEERS["litert"], files) is None


def test_model_files__another_model_of_the_same_format__is_refused(source: Path, tmp_path: Path):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another")
    with pytest.raises(VerifyError, match=r"other\.onnx: not the net\.onnx that net was compiled from"):
        model_files(facts(source), [other])


def test_model_files__absent__is_named(source: Path):
    with pytest.raises(InputError, match=r"nowhere\.onnx: no such file"):
        model_files(facts(source), [Path("nowhere.onnx")])


def test_model_files__card_of_the_user_s_own__only_what_is_given(source: Path):
    assert model_files(facts(source, card="mine"), []) == []


def test_model_files__card_whose_network_is_ours__is_found(source: Path):
    from tvmpose.cards import load_card, pull

    net = pull(load_card("mobilenetv2-deconv"))
    assert model_files(facts(net, card="mobilenetv2-deconv"), []) == [net]
