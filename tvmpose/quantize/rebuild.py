"""Main written once more, with something of each layer or tensor changed on the way."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tvm import relax
from tvm.ir import IRModule

from tvmpose.passes.rebuild_call import rebuild_call
from tvmpose.quantize.network import Layer, Network, Unit

OnLayer = Callable[[relax.BlockBuilder, Layer, relax.Expr], relax.Expr]
"""What a layer adds up, bias included, of its operand."""
OnTensor = Callable[[relax.BlockBuilder, str, relax.Expr], relax.Expr]
"""What takes a tensor's place for all that read it."""
OnRead = Callable[[relax.BlockBuilder, Unit, str, relax.Expr], relax.Expr]
"""And what for one unit that does."""

EMPTY: Mapping[relax.Var, relax.Expr] = MappingProxyType({})


def convolved(layer: Layer, data: relax.Expr, weight: relax.Expr) -> relax.Expr:
    return rebuild_call(layer.call, [data, weight])


def with_bias(builder: relax.BlockBuilder, layer: Layer, sums: relax.Expr) -> relax.Expr:
    return builder.emit(relax.op.add(builder.emit(sums), relax.const(layer.bias))) if layer.bias.any() else sums


def as_it_is(builder: relax.BlockBuilder, layer: Layer, data: relax.Expr) -> relax.Expr:
    return with_bias(builder, layer, convolved(layer, data, relax.const(layer.weight)))


def rebuild(
    network: Network,
    *,
    on_layer: OnLayer = as_it_is,
    on_tensor: OnTensor = lambda builder, name, value: value,
    on_read: OnRead = lambda builder, unit, name, value: value,
    parameters: Sequence[relax.Var] = (),
    outputs: Sequence[str] | None = None,
) -> IRModule:
    """The module again, with more parameters behind its own; outputs: tensors to return in place of its own."""
    return _Rebuilder(network, on_layer, on_tensor, on_read).run(list(parameters), outputs)


class _Rebuilder:
    def __init__(self, network: Network, on_layer: OnLayer, on_tensor: OnTensor, on_read: OnRead) -> None:
        self.network, self.on_layer, self.on_tensor, self.on_read = network, on_layer, on_tensor, on_read
        self.builder = relax.BlockBuilder()
        self.values: dict[relax.Var, relax.Expr] = {}
        self.definitions: dict[relax.Var, relax.Expr] = {}

    def run(self, parameters: list[relax.Var], outputs: Sequence[str] | None) -> IRModule:
        main = self.network.module["main"]
        units = {unit.chain[0]: unit for unit in self.network.units}
        inside = {var for unit in self.network.units for var in unit.chain}
        with self.builder.function("main", [*main.params, *parameters]):
            with self.builder.dataflow():
                for parameter in main.params:
                    self.made(parameter, parameter)
                for binding in (binding for block in main.body.blocks for binding in block.bindings):
                    self.definitions[binding.var] = binding.value
                    if binding.var in units:
                        self.unit(units[binding.var])
                    elif binding.var not in inside and not isinstance(binding.value, relax.Tuple):
                        self.made(binding.var, self.builder.emit(self.mapped(binding.value), binding.var.name))
                results = self.results(main) if outputs is None else [self.values[v] for v in self.wanted(outputs)]
                result = self.builder.emit_output(relax.Tuple(results))
            self.builder.emit_func_output(result)
        return self.builder.get()

    def wanted(self, outputs: Sequence[str]) -> list[relax.Var]:
        return [self.network.variables[name] for name in outputs]

    def results(self, main: relax.Function) -> list[relax.Expr]:
        result = main.body.body
        while isinstance(result, relax.Var):
            result = self.definitions[result]
        return [self.mapped(field) for field in result.fields]

    def made(self, var: relax.Var, value: relax.Expr) -> None:
        self.values[var] = self.on_tensor(self.builder, self.network.names[var], value)

    def unit(self, unit: Unit) -> None:
        read = {
            var: self.on_read(self.builder, unit, self.network.names[var], self.values[var])
            for var in map(self.network.variables.__getitem__, unit.operands)
        }
        if isinstance(unit, Layer):
            value = self.builder.emit(self.on_layer(self.builder, unit, *read.values()))
        else:
            value = self.builder.emit(self.mapped(unit.call, read))
        for activation in unit.activations:
            value = self.builder.emit(rebuild_call(activation, [value, *activation.args[1:]]))
        self.made(unit.chain[-1], value)

    def mapped(self, expression: relax.Expr, read: Mapping[relax.Var, relax.Expr] = EMPTY) -> relax.Expr:
        if isinstance(expression, relax.Tuple):
            return relax.Tuple([self.mapped(field, read) for field in expression.fields])
        if isinstance(expression, relax.TupleGetItem):
            return relax.TupleGetItem(self.mapped(expression.tuple_value, read), expression.index)
        if isinstance(expression, relax.Call):
            return rebuild_call(expression, [self.mapped(argument, read) for argument in expression.args])
        if isinstance(expression, relax.Var):
            definition = self.definitions.get(expression)
            if isinstance(definition, relax.Tuple):
                return self.mapped(definition, read)
            return read[expression] if expression in read else self.values[expression]
        return expression
