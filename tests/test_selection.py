"""What the user keeps of a model: how it is written, which parts it means, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import Tiny
from tvmpose.cards import load_card
from tvmpose.errors import InputError
from tvmpose.modelspec import ModelSpec, TensorSpec
from tvmpose.pose.skeletons import skeleton
from tvmpose.selection import Part, PartialJudge, parse, select

NAMES = skeleton("coco17").keypoints


def spec(*shapes: tuple[int, ...]) -> ModelSpec:
    """A network whose outputs are called out_0, out_1, ..."""
    outputs = tuple(TensorSpec(f"out_{i}", shape, "float32") for i, shape in enumerate(shapes))
    return ModelSpec("onnx", (TensorSpec("x", (1, 256, 256, 3), "float32"),), outputs)


BLAZEPOSE = spec((1, 195), (1, 1), (1, 256, 256, 1))


# How it is written


@given(st.sets(st.integers(0, 16), min_size=1), st.randoms())
def test_parse__any_set_in_any_order_and_spelling__is_that_set_ascending(kept: set[int], random):
    items, left = [], sorted(kept)
    while left:
        run = next(n for n in range(len(left), 0, -1) if left[n - 1] - left[0] == n - 1)  # the longest from here
        length = random.randint(1, run)
        first, last = left[0], left[length - 1]
        items.append(
            f"{first}-{last}" if length > 1 else random.choice([str(first), NAMES[first], f" {first}-{first}"])
        )
        left = left[length:]
    random.shuffle(items)
    assert parse(",".join(items), NAMES, "--keypoints") == tuple(sorted(kept))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a name or number is missing; there are nose, left_eye"),
        ("0,,3", "a name or number is missing"),
        ("0-3,nose", r"0-3,nose: nose \(0\) is named twice"),
        ("16-5", "16-5: a range runs upwards: 5-16"),
        ("17", "17: there are 17, numbered from 0 to 16"),
        ("5-99999", "there are 17"),
        ("left_anke", "did you mean left_ankle"),
        ("-1", "-1: nothing is called so; there are nose"),
        ("9999999999999999", "nothing is called so"),
        ("٣", "nothing is called so"),  # a digit to Python
    ],
)
def test_parse__what_it_cannot_mean__one_line(text: str, says: str):
    with pytest.raises(InputError, match=f"--keypoints.*{says}") as caught:
        parse(text, NAMES, "--keypoints")
    assert "\n" not in str(caught.value)


def test_parse__tensor_called_by_a_number__the_name_goes_first():
    names = ["495", "0", "1"]
    assert (parse("1", names, "--outputs"), parse("0", names, "--outputs")) == ((2,), (1,))
    assert parse("495,1-2", names, "--outputs") == (0, 1, 2)


# Which parts it means


def test_select__outputs_of_the_head__indices_of_the_card_move():
    card = load_card("blazepose-lite")
    swapped = replace(card, head=replace(card.head, tensor=2, person_tensor=1))
    chosen = select(spec((1, 9), (1, 1), (1, 195)), swapped, "head")
    assert chosen.parts == (Part(1), Part(2))
    assert chosen.card is not None and (chosen.card.head.tensor, chosen.card.head.person_tensor) == (1, 0)
    assert [output.name for output in chosen.spec(spec((1, 9), (1, 1), (1, 195))).outputs] == ["out_1", "out_2"]


@pytest.mark.parametrize(
    ("name", "shape", "axis", "indices"),
    [
        ("blazepose-lite", (1, 195), 1, (0, 1, 2, 3, 4, 55, 56, 57, 58, 59)),
        ("blazepose-lite", (1, 39, 5), 1, (0, 11)),
        ("movenet-lightning", (1, 1, 17, 3), 2, (0, 11)),
        ("mobilenetv2-deconv", (1, 17, 64, 48), 1, (0, 11)),
        ("mobilenetv2-deconv", (1, 64, 48, 17), 3, (0, 11)),
    ],
)
def test_select__keypoints__those_rows_or_maps_of_the_head_s_tensor(
    name: str, shape: tuple[int, ...], axis: int, indices: tuple[int, ...]
):
    whole = spec(shape, (1, 1))
    chosen = select(whole, load_card(name), keypoints=(0, 11))
    assert chosen.parts == (Part(0, axis, indices), Part(1))
    tensor = np.arange(np.prod(shape)).reshape(shape)
    assert chosen.parts[0].of(tensor).shape == chosen.spec(whole).outputs[0].shape
    assert chosen.card is not None and len(chosen.card.keypoints.keypoints) == 2


def test_select__neither__everything():
    card = load_card("blazepose-lite")
    chosen = select(BLAZEPOSE, card)
    assert (chosen.spec(BLAZEPOSE), chosen.card) == (BLAZEPOSE, card)


def test_select__output_that_the_head_reads_dropped__names_it():
    with pytest.raises(InputError, match=r"--outputs 0,2: card blazepose-lite reads out_1 \(1\) too; --outputs head"):
        select(BLAZEPOSE, load_card("blazepose-lite"), "0,2")


def test_select__head_without_a_card__refused_unless_a_tensor_is_called_so():
    with pytest.raises(InputError, match="--outputs head: needs a card"):
        select(BLAZEPOSE, None, "head")
    named = replace(BLAZEPOSE, outputs=(BLAZEPOSE.outputs[0], TensorSpec("head", (1, 1), "float32")))
    assert select(named, None, "head").parts == (Part(1),)


def test_select__rows_that_run_along_no_axis__refused():
    with pytest.raises(InputError, match=r"--keypoints: output out_0 \(1, 3, 17\) has no axis"):
        select(spec((1, 3, 17)), load_card("movenet-lightning"), keypoints=(0, 11))


def test_card__file_that_says_what_is_kept__refused(tiny: Tiny):
    """That is chosen when compiling; a card describes the whole model."""
    tiny.card.write_text(f"kept = [0]\n{tiny.card.read_text()}")
    with pytest.raises(InputError, match="unknown key 'kept'"):
        load_card(tiny.card)


# What the judge says of it


class Counting:
    """A judge whose every output counts from 0."""

    name, inputs, outputs = "counting", BLAZEPOSE.inputs, BLAZEPOSE.outputs

    def run(self, inputs, tensors=None):
        shapes = [output.shape for output in self.outputs] if tensors is None else [(2, 2) for _ in tensors]
        return [np.arange(np.prod(shape), dtype="float32").reshape(shape) for shape in shapes]


def test_partial_judge__outputs_cut_and_named_tensors_whole():
    chosen = select(BLAZEPOSE, load_card("blazepose-lite"), "head", (1,))
    judge = PartialJudge(Counting(), chosen)
    rows, person = judge.run([])
    np.testing.assert_array_equal(rows, [[5, 6, 7, 8, 9]])
    assert person.shape == (1, 1) and [output.shape for output in judge.outputs] == [(1, 5), (1, 1)]
    assert judge.run([], ["inner"])[0].shape == (2, 2)
