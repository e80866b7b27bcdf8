"""What measuring reads of a manifest."""

import pytest

from tests.conftest import FakeBundle
from tvmpose.benchmark.facts import read_facts


@pytest.mark.parametrize("card", ["fake", None])
def test_read_facts__with_and_without_a_card__as_the_manifest_says(fake_bundle: FakeBundle, card: str | None):
    facts = read_facts(fake_bundle(card=card))
    assert (facts.card, facts.source_file) == (card, "fake.onnx")
    assert [(spec.shape, spec.dtype) for spec in facts.inputs] == [((2, 3), "float32"), ((2, 3), "int8")]
