"""What enters the cache is whole and verified; what fails leaves it as it was."""

import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tvmpose.cards import cache_folder, list_cards, load_card, pull, pull_sample, sha256_of
from tvmpose.cards import fetch as fetch_module
from tvmpose.cards.card import Card
from tvmpose.cards.fetch import fetch
from tvmpose.cards.source import NpmSource, PypiSource, UrlSource
from tvmpose.errors import InputError, SetupError, VerifyError

MODEL = b"a model" * 100
SHA256 = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "downloaded.tflite"
    path.write_bytes(MODEL)
    return path


def _card(sha256: str | None) -> Card:
    # Port 9 of this machine: nobody answers, so what succeeds here needed no source.
    source = UrlSource(kind="url", url="https://localhost:9/m", file="m.tflite", sha256=sha256)
    return replace(load_card("blazepose-lite"), name="mine", source=(source,))


def test_pull__given_file_with_the_cards_hash__stored_under_the_cards_name(cache: Path, model: Path) -> None:
    path = pull(_card(SHA256), source_file=model, cache=cache)
    assert path == cache / "mine.tflite" and path.read_bytes() == MODEL
    assert [entry.name for entry in cache.iterdir()] == ["mine.tflite"]
    assert model.exists()
    assert pull(_card(SHA256), cache=cache) == path


def test_pull__given_file_without_suffix__takes_the_sources(cache: Path, model: Path) -> None:
    bare = model.rename(model.with_suffix(""))
    assert pull(_card(SHA256), source_file=bare, cache=cache).name == "mine.tflite"


@pytest.mark.parametrize("trust", [False, True])
def test_pull__other_hash__refused_even_when_trusted(cache: Path, model: Path, trust: bool) -> None:
    with pytest.raises(VerifyError, match=f"sha256 {SHA256}, from .*the card says sha256 {'0' * 64}"):
        pull(_card("0" * 64), source_file=model, trust=trust, cache=cache)
    assert list(cache.iterdir()) == []


def test_pull__no_hash_in_card__stored_only_when_trusted(cache: Path, model: Path) -> None:
    with pytest.raises(VerifyError, match=rf"got {len(MODEL)} bytes, sha256 {SHA256}, from .*again with --trust"):
        pull(_card(None), source_file=model, cache=cache)
    assert list(cache.iterdir()) == []
    path = pull(_card(None), source_file=model, trust=True, cache=cache)
    assert pull(_card(None), cache=cache) == path


def test_pull__cached_file_altered__not_returned(cache: Path, model: Path) -> None:
    pull(_card(SHA256), source_file=model, cache=cache).write_bytes(MODEL[:-1])
    with pytest.raises(SetupError, match=r"tvmpose pull mine --from FILE"):
        pull(_card(SHA256), cache=cache)


def test_pull__same_model_in_another_format__replaces_the_first(cache: Path, model: Path) -> None:
    pull(_card(None), source_file=model, trust=True, cache=cache)
    onnx = shutil.copy(model, model.with_suffix(".onnx"))
    assert pull(_card(None), source_file=Path(onnx), trust=True, cache=cache).name == "mine.onnx"
    assert [entry.name for entry in cache.iterdir()] == ["mine.onnx"]


def test_pull__given_file_missing__input_error(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        pull(_card(SHA256), source_file=tmp_path / "nowhere", cache=cache)
    assert not cache.exists()


def test_pull__cache_cannot_be_made__setup_error(model: Path) -> None:
    with pytest.raises(SetupError, match="choose another"):
        pull(_card(SHA256), source_file=model, cache=model / "below-a-file")


def test_pull__torch_card__its_own_file(cache: Path, model: Path) -> None:
    card = load_card("mobilenetv2-deconv")
    assert pull(card, cache=cache).name == "net.py" and pull(card, cache=cache).is_file()
    with pytest.raises(InputError, match="takes no file"):
        pull(card, source_file=model, cache=cache)


def test_pull__first_source_fails__next_is_tried(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = UrlSource(kind="url", url="https://localhost:9/m", file="m.tflite", sha256=SHA256)
    second = NpmSource(kind="npm", package="p", version="1", file="m.tflite", sha256=SHA256)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(fetch_module, "_run", lambda command, source, cwd: _npm_package(cwd))
    card = replace(_card(SHA256), source=(first, second))
    assert pull(card, cache=cache).read_bytes() == MODEL


def test_pull_sample__unknown__names_the_known() -> None:
    with pytest.raises(InputError, match="known: astronaut"):
        pull_sample("cosmonaut")


def test_cache_folder__environment__is_obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TVMPOSE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TVMPOSE_CACHE")
    assert cache_folder().is_absolute()


def _npm_package(folder: Path) -> None:
    with tarfile.open(folder / "p-1.tgz", "w:gz") as archive:
        for name, content in {"package/m.tflite": MODEL, "package/../../escaped": b"no"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_fetch__npm_package_with_escaping_member__only_the_named_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(fetch_module, "_run", lambda command, source, cwd: _npm_package(cwd))
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    source = NpmSource(kind="npm", package="p", version="1", file="m.tflite")
    assert fetch(source, folder).read_bytes() == MODEL
    assert not list(tmp_path.rglob("escaped"))


def test_fetch__npm_missing__setup_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match="npm is not installed"):
        fetch(NpmSource(kind="npm", package="p", version="1", file="m"), tmp_path)


def test_fetch__wheel_without_the_file__setup_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(command: list[str], source: PypiSource) -> None:
        with zipfile.ZipFile(tmp_path / "p-1-py3-none-any.whl", "w") as archive:
            archive.writestr("p/other.tflite", MODEL)

    monkeypatch.setattr(fetch_module, "_run", download)
    source = PypiSource(kind="pypi", package="p", version="1", file="p/m", python="3.11", platform="any")
    with pytest.raises(SetupError, match=r"^PyPI p 1: holds no file p/m$"):
        fetch(source, tmp_path)


def test_fetch__client_fails__its_last_error_line(tmp_path: Path) -> None:
    source = PypiSource(kind="pypi", package="../no", version="!", file="m", python="3.11", platform="any")
    with pytest.raises(SetupError, match="says: ERROR: Invalid requirement") as caught:
        fetch(source, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blazepose-full", "blazepose-lite", "blazepose-heavy"])
def test_pull__card_in_a_registry__fetched_and_verified(cache: Path, name: str) -> None:
    card = load_card(name)
    if isinstance(card.source[0], NpmSource) and not shutil.which("npm"):
        pytest.skip("npm is not installed")
    path = pull(card, cache=cache)
    assert sha256_of(path) == card.source[0].sha256
    assert path.stat().st_size == card.source[0].size


@pytest.mark.slow
def test_pull_sample__astronaut__fetched_and_decodable(cache: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    assert cv2.imread(os.fspath(pull_sample("astronaut", cache=cache))).shape == (512, 512, 3)


def test_source__shown_to_people__fits_a_table() -> None:
    assert all(len(str(card.source[0])) < 60 for card in list_cards())
