"""The parameters that an optimizer trains, side by side in one array, as are their gradients and slots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gpunet.backend.arrays import Array, assign, empty_like, fill, to_device, zeros
from gpunet.constraints import Constraint, NonNeg, NormConstraint
from gpunet.ops import constraint as constraint_op
from gpunet.ops import preparation
from gpunet.ops.constraint import NormLimit, NormLimits
from gpunet.ops.flat import Layout
from gpunet.parameters import Parameter

# One slot of every parameter that has it, by the parameter's path: what a new arrangement takes over.
Slots = Mapping[str, Mapping[str, Array]]


class FlatParameters:
    """Parameters of one dtype and device in `values`, their gradients in `gradients`, their slots by name in `slots`.

    The rows of `state` are the values and the slots. Making one moves the parameters into it: their `value` and
    `gradient_space` become views. `slots` are the names of slots and what they are at first; `decay` gives the weight
    decay of a parameter, 0 for none.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        slots: Mapping[str, float],
        old_slots: Slots,
        decay: Callable[[Parameter], float],
    ) -> None:
        dtype, device = parameters[0].dtype, parameters[0].device
        self.parameters = tuple(parameters)
        self.layout = Layout([parameter.shape for parameter in parameters])
        # Values and slots, so that one copy keeps all that an update changes.
        self.state = zeros((1 + len(slots), self.layout.size), dtype, device)
        self.values, self.gradients = self.state[0], zeros((self.layout.size,), dtype, device)
        self.slots = {name: self.state[row] for row, name in enumerate(slots, start=1)}
        self.slots_by_path: dict[str, dict[str, Array]] = {parameter.path: {} for parameter in parameters}
        for name, flat in self.slots.items():
            if slots[name]:
                fill(flat, slots[name])
            for parameter, view in zip(parameters, self.layout.views(flat), strict=True):
                if parameter.path in old_slots:
                    assign(view, old_slots[parameter.path][name])
                self.slots_by_path[parameter.path][name] = view
        self._spaces = self.layout.views(self.gradients)
        self._views = self.layout.views(self.values)
        for parameter, view, space in zip(parameters, self._views, self._spaces, strict=True):
            assign(view, parameter.value)
            parameter.value, parameter.gradient_space = view, space
        self._own_penalties = [p for p in parameters if p.regularizer is not None and p.regularizer.factors is None]
        penalties, decays = [_factors(p) for p in parameters], [decay(p) for p in parameters]
        self.rules = preparation.Rules(self.layout, penalties, decays, dtype, device)
        self._marks = [(p.regularizer, p.constraint) for p in parameters]
        self._sort_constraints()

    def _sort_constraints(self) -> None:
        """Find out which constraints one kernel can apply, and which are the user's own."""
        first, device = self.parameters[0], self.parameters[0].device
        starts: list[int] = []
        limits: list[NormLimit] = []
        blocks: list[int] = []
        self._own_constraints: list[tuple[Parameter, Constraint]] = []
        for number, parameter in enumerate(self.parameters):
            constraint = parameter.constraint
            if isinstance(constraint, NormConstraint) and type(constraint).apply is NormConstraint.apply:
                starts.append(self.layout.starts[number])
                limits.append(constraint.limit(parameter.shape))
            elif isinstance(constraint, NonNeg) and type(constraint).apply is NonNeg.apply:
                blocks += range(*self.layout.first_blocks[number : number + 2])
            elif constraint is not None:
                self._own_constraints.append((parameter, constraint))
        self._limits = NormLimits(starts, limits, first.dtype, device) if limits else None
        self._non_negative = to_device(np.array(blocks, np.int32), device) if blocks else None

    def holds(self, parameters: Sequence[Parameter]) -> bool:
        """Tell whether just `parameters` are here: nobody has put other values, rules or spaces in their place."""
        return len(parameters) == len(self.parameters) and all(
            parameter is own
            and parameter.value is view
            and parameter.gradient_space is space
            and parameter.regularizer is mark[0]
            and parameter.constraint is mark[1]
            for parameter, own, view, space, mark in zip(
                parameters, self.parameters, self._views, self._spaces, self._marks, strict=True
            )
        )

    def release(self) -> None:
        """Give the parameters that are still here memory of their own."""
        for parameter, view, space in zip(self.parameters, self._views, self._spaces, strict=True):
            if parameter.value is view:
                own = empty_like(view)
                assign(own, view)
                parameter.value = own
            if parameter.gradient_space is space:
                parameter.gradient_space = None

    def runs(self) -> list[slice]:
        """Return the numbers of the parameters that have a gradient, as slices; their gradients lie in `gradients`."""
        runs: list[slice] = []
        for number, (parameter, space) in enumerate(zip(self.parameters, self._spaces, strict=True)):
            if parameter.gradient is None:
                continue
            if parameter.gradient is not space:
                assign(space, parameter.gradient)
                parameter.gradient = space
            if runs and runs[-1].stop == number:
                runs[-1] = slice(runs[-1].start, number + 1)
            else:
                runs.append(slice(number, number + 1))
        return runs

    def parts(self, span: slice) -> tuple[Array, Array, dict[str, Array]]:
        """Return the values, gradients and slots in a `span` of the flat arrays."""
        return self.values[span], self.gradients[span], {name: slot[span] for name, slot in self.slots.items()}

    def penalties(self) -> Iterator[Array]:
        """Yield what the regularizers add to the loss, each of shape (1,)."""
        if self.rules.l1 is not None:
            yield preparation.penalties(self.values, self.rules)
        for parameter in self._own_penalties:
            assert parameter.regularizer is not None
            yield parameter.regularizer.value(parameter.value)

    def add_own_penalty_gradients(self) -> None:
        """Add the gradients of the regularizers that no kernel of ours knows."""
        for parameter in self._own_penalties:
            if parameter.gradient is not None and parameter.regularizer is not None:
                parameter.regularizer.add_gradient(parameter.value, parameter.gradient)

    def constrain(self) -> None:
        """Apply the constraints of all parameters with a gradient."""
        if any(parameter.gradient is None for parameter in self.parameters):  # seldom: one after the other
            for parameter in self.parameters:
                if parameter.gradient is not None and parameter.constraint is not None:
                    parameter.constraint.apply(parameter.value)
            return
        if self._limits is not None:
            constraint_op.limit_norms(self.values, self._limits)
        if self._non_negative is not None:
            constraint_op.non_negative(self.values, self._non_negative)
        for parameter, constraint in self._own_constraints:
            constraint.apply(parameter.value)


def _factors(parameter: Parameter) -> tuple[float, float]:
    """Return (l1, l2) of the penalty on `parameter`, zeros if there is none or one of another form."""
    return (parameter.regularizer.factors if parameter.regularizer is not None else None) or (0.0, 0.0)
