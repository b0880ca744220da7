"""The calls of a graph as they are run: which values each takes and gives, and which neighbours run as one op."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpunet.layers.base import Layer
from gpunet.networks import fusion
from gpunet.networks.fusion import Unit
from gpunet.networks.graph import Graph


@dataclass(frozen=True)
class Call:
    """A call of `layer`: it takes the values `sources`, by their numbers, as a list or one alone, and gives `targets`.

    `training` is what the call was told, None if it goes by the network.
    """

    layer: Layer
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    takes_list: bool
    gives_list: bool
    training: bool | None


@dataclass(frozen=True)
class Step:
    """What runs as one: `unit` takes what its first call takes, and gives what its last call gives."""

    unit: Unit
    first: Call
    last: Call


class Plan:
    """The calls of a graph in order, with its values numbered: those of the inputs first."""

    def __init__(self, graph: Graph) -> None:
        numbers = {tensor: number for number, tensor in enumerate(graph.inputs)}
        self.calls: list[Call] = []
        for node in graph.nodes:
            if node.inputs is None:
                continue
            for tensor in node.output_tensors:
                numbers[tensor] = len(numbers)
            sources = tuple(numbers[tensor] for tensor in node.input_tensors)
            targets = tuple(numbers[tensor] for tensor in node.output_tensors)
            takes_list = isinstance(node.inputs, list)
            self.calls.append(Call(node.layer, sources, targets, takes_list, node.is_list, node.training))
        self.inputs = [numbers[tensor] for tensor in graph.inputs]
        self.outputs = [numbers[tensor] for tensor in graph.outputs]
        self.uses = Counter(self.outputs)  # how often each value is taken
        self._takers: dict[int, int] = {}  # the number of a call that takes it
        self._makers = {target: number for number, call in enumerate(self.calls) for target in call.targets}
        for number, call in enumerate(self.calls):
            self.uses.update(call.sources)
            self._takers.update(dict.fromkeys(call.sources, number))

    def steps(self, fuse: bool) -> list[Step]:
        """Return what is run, one after the other; where `fuse`, calls whose value one other takes may be one."""
        found: list[Step] = []
        absorbed: set[int] = set()
        for number, call in enumerate(self.calls):
            if number in absorbed:
                continue
            unit, last, follower = Unit(call.layer), call, self._follower(number)
            while fuse and follower is not None:
                larger = fusion.grown(unit, self.calls[follower].layer)
                if larger is None:
                    break
                absorbed.add(follower)
                unit, last, follower = larger, self.calls[follower], self._follower(follower)
            found.append(Step(unit, call, last))
        return found

    def _follower(self, number: int) -> int | None:
        """Return the number of the call that alone takes what this call gives, and nothing else; None if none does."""
        call = self.calls[number]
        if len(call.targets) != 1 or self.uses[call.targets[0]] != 1:
            return None
        taker = self._takers.get(call.targets[0])
        if taker is None or len(self.calls[taker].sources) != 1 or self.calls[taker].training is not call.training:
            return None
        return taker

    def softmax_outputs(self) -> list[bool]:
        """For each output, whether the layer that gives it, and gives it to nobody else, ends in a softmax."""
        return [self.uses[output] == 1 and self._ends_in_softmax(output) for output in self.outputs]

    def _ends_in_softmax(self, value: int) -> bool:
        maker = self._makers.get(value)
        return maker is not None and len(self.calls[maker].targets) == 1 and self.calls[maker].layer.ends_in_softmax

    def placed(self, fuse: bool) -> Sequence[tuple[Unit, Unit | None, Layer | None]]:
        """Return what is run, each with the unit before it and the layer after it, where there is one."""
        steps = self.steps(fuse)
        by_target = {step.last.targets[0]: step for step in steps}
        placed = []
        for step in steps:
            before = by_target.get(step.first.sources[0]) if len(step.first.sources) == 1 else None
            if before is not None and self.uses[step.first.sources[0]] > 1:
                before = None
            taker = self._takers.get(step.last.targets[0])
            alone = taker is not None and self.uses[step.last.targets[0]] == 1
            follower = self.calls[taker].layer if taker is not None and alone else None
            placed.append((step.unit, None if before is None else before.unit, follower))
        return placed
