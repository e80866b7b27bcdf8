"""The cards that are shipped, and those of a user."""

import os
from pathlib import Path

import pytest

from tvmpose import content
from tvmpose.cards import card_for_hash, list_cards, list_samples, load_card, sha256_of
from tvmpose.cards.source import TorchSource
from tvmpose.errors import InputError

# Test data file -> (card, COCO AP measured of that very file).
KNOWN_FILES = {
    "pose_landmark_full.tflite": ("blazepose-full", 0.154),
    "pose_landmark_lite.tflite": ("blazepose-lite", 0.127),
    "movenet_single_pose_lightning_ptq.tflite": ("movenet-lightning-coral", 0.300),
    "edvardhua_cpm_192.tflite": ("edvardhua-cpm", None),
}


def test_list_cards__shipped__all_load_in_order_of_name() -> None:
    names = [card.name for card in list_cards()]
    assert names == sorted(names)
    assert {"blazepose-full", "blazepose-lite", "blazepose-heavy", "mobilenetv2-deconv"} <= set(names)
    assert {f"movenet-{size}{suffix}" for size in ("lightning", "thunder") for suffix in ("", "-int8")} <= set(names)


def test_list_cards__sources_of_one_card__hold_the_same_file() -> None:
    for card in list_cards():
        hashes = {None if isinstance(source, TorchSource) else source.sha256 for source in card.source}
        assert len(hashes) == 1, card.name


def test_list_cards__accuracy__only_where_the_file_is_pinned() -> None:
    for card in list_cards():
        assert card.accuracy is None or card_for_hash(str(card.source[0].sha256)) == card


def test_list_samples__shipped__pinned_by_hash() -> None:
    samples = {sample.name: sample for sample in list_samples()}
    assert samples["astronaut"].source[0].sha256


@pytest.mark.parametrize("file", KNOWN_FILES)
def test_card_for_hash__test_data__finds_the_card(file: str) -> None:
    if not (data := os.environ.get("TVMPOSE_DATA")):
        pytest.skip("TVMPOSE_DATA is not set")
    path = Path(data) / "models" / file
    name, ap = KNOWN_FILES[file]
    card = card_for_hash(sha256_of(path))
    assert card is not None and card.name == name
    assert card.source[0].size == path.stat().st_size
    assert (card.accuracy.ap if card.accuracy else None) == ap


def test_card_for_hash__unknown__none() -> None:
    assert card_for_hash("0" * 64) is None


def test_load_card__unknown_name__suggests_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean blazepose-lite"):
        load_card("blazepos-lite")
    with pytest.raises(InputError, match="`tvmpose models` lists them"):
        load_card("zzz")


def test_load_card__samples_file_by_name__is_no_card() -> None:
    with pytest.raises(InputError):
        load_card("samples")


CARD = (content.folder("models") / "mobilenetv2-deconv.toml").read_text(encoding="utf-8")


def _own_card(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_load_card__by_path__named_after_the_file(tmp_path: Path) -> None:
    card = load_card(_own_card(tmp_path, CARD))
    assert (card.name, card.folder, card.input.width, card.input.height) == ("mine", tmp_path, 192, 256)
    assert card.input.std == (58.395, 57.12, 57.375)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('skeleton = "coco17"', 'skeleton = "coco18"', "mine.toml: unknown skeleton 'coco18'"),
        ("padding = 1.25", "padding = 0", "mine.toml: crop: padding must be positive"),
        ("57.375]", "0]", "mine.toml: input: std must not be zero"),
        ("width = 192", "width = 0", "mine.toml: input: width and height must be positive"),
        ('kind = "torch"', 'kind = "ftp"', "mine.toml: source[0]: kind must be one of 'pypi', 'npm', 'url', 'torch'"),
        ('kind = "heatmap"', 'kind = "coordinates"', "mine.toml: head: a coordinates head has a unit"),
        ('refine = "quarter"', 'unit = "pixels"', "mine.toml: head: a heatmap head has neither fields nor unit"),
        ("tensor = 0", "tensor = -1", "mine.toml: head: outputs count from 0"),
    ],
)
def test_load_card__faulty__one_line_naming_file_and_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CARD
    with pytest.raises(InputError) as caught:
        load_card(_own_card(tmp_path, CARD.replace(old, new)))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_load_card__name_unfit_for_a_file_name__refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only a-z"):
        load_card(_own_card(tmp_path, CARD, "My Card.toml"))


def test_load_card__missing_file__refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        load_card(tmp_path / "nowhere.toml")
