"""LSTM, GRU and plain recurrent layers, unrolled over their time steps, as torch's own decomposition does.

Sequences are short where they look over keypoints, and an unrolled one is a straight line of matrix products, as
everything else that is compiled.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tvm import relax
from tvm.relax import op as R

State = tuple[relax.Expr, ...]


@dataclass(frozen=True)
class Weights:
    """Of one layer in one direction, gates in torch's order, one above the other.

    inputs (gates * H, I), hidden (gates * H, H); biases (gates * H,), or None. Gates: LSTM i, f, g, o; GRU r, z, n.
    """

    inputs: relax.Expr
    hidden: relax.Expr
    input_bias: relax.Expr | None = None
    hidden_bias: relax.Expr | None = None

    @property
    def size(self) -> int:
        """H."""
        return int(self.hidden.ty.shape[1])


@dataclass(frozen=True)
class Cell:
    """How a state follows from the last: ``step(from inputs, from the hidden state, state)``; ``states``: how many."""

    gates: int
    states: int
    step: Callable[[list[relax.Expr], list[relax.Expr], State], State]


def _lstm_step(x: list[relax.Expr], h: list[relax.Expr], state: State) -> State:
    enter, forget, new, leave = (R.add(a, b) for a, b in zip(x, h, strict=True))
    kept = R.multiply(R.sigmoid(forget), state[1])
    memory = R.add(kept, R.multiply(R.sigmoid(enter), R.tanh(new)))
    return R.multiply(R.sigmoid(leave), R.tanh(memory)), memory


def _gru_step(x: list[relax.Expr], h: list[relax.Expr], state: State) -> State:
    reset, update = (R.sigmoid(R.add(a, b)) for a, b in zip(x[:2], h[:2], strict=True))
    new = R.tanh(R.add(x[2], R.multiply(reset, h[2])))
    return (R.add(new, R.multiply(update, R.subtract(state[0], new))),)


def _plain_step(activation: Callable[[relax.Expr], relax.Expr]) -> Callable[..., State]:
    return lambda x, h, state: (activation(R.add(x[0], h[0])),)


LSTM, GRU = Cell(4, 2, _lstm_step), Cell(3, 1, _gru_step)
RNN_TANH, RNN_RELU = Cell(1, 1, _plain_step(R.tanh)), Cell(1, 1, _plain_step(R.nn.relu))


def run_layer(
    builder: relax.BlockBuilder, cell: Cell, sequence: relax.Expr, weights: Weights, state: State, backwards: bool
) -> tuple[relax.Expr, State]:
    """One layer in one direction: sequence (T, N, I) and a state of (N, H) each -> (T, N, H), in order, last state."""
    emit = builder.emit
    steps = int(sequence.ty.shape[0])
    projected = emit(_linear(sequence, weights.inputs, weights.input_bias))
    found = []
    for at in reversed(range(steps)) if backwards else range(steps):
        x = emit(R.squeeze(R.strided_slice(projected, [0], [at], [at + 1]), [0]))
        h = emit(_linear(state[0], weights.hidden, weights.hidden_bias))
        state = tuple(emit(part) for part in cell.step(_gates(builder, x, cell), _gates(builder, h, cell), state))
        found.append(emit(R.expand_dims(state[0], 0)))
    return emit(R.concat(found[::-1] if backwards else found, 0)), state


def _linear(data: relax.Expr, weight: relax.Expr, bias: relax.Expr | None) -> relax.Expr:
    product = R.matmul(data, R.permute_dims(weight, [1, 0]))
    return product if bias is None else R.add(product, bias)


def _gates(builder: relax.BlockBuilder, stacked: relax.Expr, cell: Cell) -> list[relax.Expr]:
    parts = builder.emit(R.split(stacked, cell.gates, axis=1))
    return [builder.emit(parts[i]) for i in range(cell.gates)] if cell.gates > 1 else [stacked]
