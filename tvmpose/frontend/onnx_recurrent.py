"""ONNX's LSTM, GRU and RNN, which TVM's importer lacks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op as R

from tvmpose.frontend.recurrent import GRU, LSTM, RNN_RELU, RNN_TANH, Cell, State, Weights, run_layer

# Where torch's gates are among ONNX's.
ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
PLAIN = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


def converter(name: str) -> Callable[[relax.BlockBuilder, list[relax.Expr], dict[str, Any]], relax.Expr]:
    """Of one of these operators; raises NotImplementedError for the options that no exporter of a pose network uses."""

    def convert(builder: relax.BlockBuilder, inputs: list[relax.Expr], attributes: dict[str, Any]) -> relax.Expr:
        data, w, r, b, lengths, *states = (*inputs, *[None] * 8)[:7]
        peepholes = inputs[7] if len(inputs) > 7 else None
        cell = _cell(name, attributes)
        if lengths is not None or peepholes is not None or "clip" in attributes or attributes.get("layout"):
            raise NotImplementedError("sequence_lens, peepholes, clip or a layout of 1")
        if name == "GRU" and not attributes.get("linear_before_reset"):
            raise NotImplementedError("linear_before_reset = 0; torch exports 1")
        direction = attributes.get("direction", b"forward").decode()
        backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
        found, last = [], list[State]()
        for index, reverse in enumerate(backwards):
            weights = _weights(name, _constant(w)[index], _constant(r)[index], b and _constant(b)[index])
            batch = int(data.ty.shape[1])
            zeros = np.zeros((batch, weights.size), "float32")
            first = tuple(
                relax.const(zeros) if state is None else builder.emit(_part(state, index))
                for state in states[: cell.states]
            )
            outputs, state = run_layer(builder, cell, data, weights, first, reverse)
            found.append(outputs)
            last.append(state)
        ends = [builder.emit(R.stack([state[i] for state in last], 0)) for i in range(cell.states)]
        return builder.emit(relax.Tuple([builder.emit(R.stack(found, 1)), *ends]))

    return convert


def _cell(name: str, attributes: dict[str, Any]) -> Cell:
    given = [text.decode() for text in attributes.get("activations", [])]
    if name == "RNN":
        kinds = {"Tanh": RNN_TANH, "Relu": RNN_RELU}
        if len(set(given or ["Tanh"])) > 1 or (given or ["Tanh"])[0] not in kinds:
            raise NotImplementedError(f"activations {given}")
        return kinds[(given or ["Tanh"])[0]]
    if given and given != PLAIN[name] * (len(given) // len(PLAIN[name])):
        raise NotImplementedError(f"activations {given}")
    return LSTM if name == "LSTM" else GRU


def _weights(name: str, w: np.ndarray, r: np.ndarray, b: np.ndarray | None) -> Weights:
    order = ORDERS[name]

    def reordered(stacked: np.ndarray) -> relax.Expr:
        gates = np.split(stacked, len(order))
        return relax.const(np.ascontiguousarray(np.concatenate([gates[gate] for gate in order])))

    biases = [] if b is None else [reordered(half) for half in np.split(b, 2)]
    return Weights(reordered(w), reordered(r), *biases)


def _constant(expression: relax.Expr) -> np.ndarray:
    if not isinstance(expression, tvm.ir.GenericConst):
        raise NotImplementedError("weights that the network computes")
    return expression.value.numpy()


def _part(stacked: relax.Expr, index: int) -> relax.Expr:
    return R.squeeze(R.strided_slice(stacked, [0], [index], [index + 1]), [0])
