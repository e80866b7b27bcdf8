"""Vector units, derived from LLVM's own knowledge of each cpu."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvmpose.kernels.isa import VectorISA, target_features, vector_isa
from tvmpose.targets import Target, load_target

# triple, cpu, float32 lanes of its widest vectors, registers: from the architectures' manuals
UNITS = [
    ("x86_64-linux-gnu", "x86-64", 4, 16),
    ("x86_64-linux-gnu", "x86-64-v2", 4, 16),
    ("x86_64-linux-gnu", "x86-64-v3", 8, 16),
    ("x86_64-linux-gnu", "x86-64-v4", 16, 32),
    ("x86_64-linux-gnu", "znver2", 8, 16),
    ("x86_64-linux-gnu", "znver4", 16, 32),
    ("x86_64-linux-gnu", "atom", 4, 16),
    ("aarch64-linux-gnu", "cortex-a72", 4, 32),
    ("aarch64-linux-gnu", "cortex-a76", 4, 32),
    ("armv7a-linux-gnueabihf", "cortex-a7", 4, 16),
]


@pytest.mark.parametrize(("triple", "cpu", "lanes", "registers"), UNITS)
def test_vector_isa__known_cpu__has_its_manuals_lanes_and_registers(triple, cpu, lanes, registers):
    isa = vector_isa(Target("t", "", triple, cpu).llvm())
    assert (isa.lanes, isa.registers) == (lanes, registers)


def test_target_features__attributes__count_beyond_the_cpus_own():
    plain = Target("t", "", "aarch64-linux-gnu", "cortex-a72")
    more = Target("t", "", "aarch64-linux-gnu", "cortex-a72", ("+dotprod",))
    assert "dotprod" not in target_features(plain.llvm())
    assert target_features(more.llvm()) == target_features(plain.llvm()) | {"dotprod"}


@pytest.mark.parametrize(
    ("inputs", "points", "name"),
    [(24, 12, "smmla"), (24, 11, "sdot"), (20, 12, "sdot"), (3, 12, "sdot"), (8, 2, "smmla"), (24, 1, "sdot")],
)
def test_dot_product__matrix_product__takes_whole_parts_of_inputs_and_points(inputs, points, name):
    isa = vector_isa(Target("t", "", "aarch64-linux-gnu", "cortex-x3", ("-sve", "-sve2")).llvm())
    assert isa.dot_product(4, inputs=inputs, points=points).name == name
    assert isa.dot_product(4, widening=True, inputs=inputs, points=points).name == "multiply_add"


def test_dot_product__levels_of_a_phone__each_has_its_own():
    names = [
        vector_isa(variant.llvm()).dot_product(4, inputs=64, points=12).name
        for variant in load_target("android-arm64").variants
    ]
    assert names == ["mull_8", "sdot", "smmla"]


@given(st.sampled_from([(4, 16), (8, 16), (16, 32)]), st.integers(1, 2000))
def test_lanes_for__any_channels__is_a_vector_and_wastes_less_than_one(unit, channels):
    isa = VectorISA(*unit)
    lanes = isa.lanes_for(channels)
    assert lanes <= isa.lanes
    assert lanes & (lanes - 1) == 0
    assert lanes >= 4 or channels < 4
    assert -channels % lanes < lanes <= 2 * max(channels, 4)


@given(st.sampled_from([(4, 16), (8, 16), (16, 32)]), st.integers(1, 100))
def test_lanes_for__whole_number_of_widest_vectors__is_the_widest(unit, count):
    isa = VectorISA(*unit)
    assert isa.lanes_for(count * isa.lanes) == isa.lanes
