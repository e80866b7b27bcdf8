"""What the form of quantized models says about one."""

import pytest
from tvm import relax

from tvmpose import qdq
from tvmpose.qdq import per_tensor

SHAPE = (1, 4, 6, 8)


def network(*build) -> relax.Function:
    """main(x: uint8) -> each of build(builder, float form of x)."""
    x, builder = relax.Var("x", relax.TensorType(SHAPE, "uint8")), relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            number = builder.emit(qdq.dequantize(x, per_tensor(0.5, 3, "uint8")))
            outputs = [builder.emit(each(builder, number)) for each in build]
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    return builder.get()["main"]


def through_bytes(builder: relax.BlockBuilder, number: relax.Expr, scale: float = 0.25) -> relax.Expr:
    quantization = per_tensor(scale, 7, "int8")
    return qdq.dequantize(builder.emit(qdq.quantize(number, quantization)), quantization)


def integers(builder: relax.BlockBuilder, number: relax.Expr) -> relax.Expr:
    return qdq.quantize(number, per_tensor(0.25, 7, "int8"))


def moved(builder: relax.BlockBuilder, number: relax.Expr) -> relax.Expr:
    turned = builder.emit(relax.op.permute_dims(builder.emit(through_bytes(builder, number, 0.125)), [0, 3, 1, 2]))
    return relax.op.reshape(turned, (8, 24))


def floats_behind(builder: relax.BlockBuilder, number: relax.Expr) -> relax.Expr:
    return relax.op.sigmoid(builder.emit(through_bytes(builder, number)))


def test_output_steps__each_kind__of_integers_of_what_just_was_and_of_floats():
    function = network(integers, through_bytes, moved, floats_behind)
    assert qdq.output_steps(function) == [1, 0.25, 0.125, None]


@pytest.mark.parametrize(("build", "answer"), [(through_bytes, True), (lambda b, x: relax.op.sigmoid(x), False)])
def test_is_quantized__stored_as_integers_alone__not(build, answer: bool):
    assert qdq.is_quantized(network(build)) == answer
