"""copy.deepcopy of a model: a model of its own, which goes on where the first one is."""

from __future__ import annotations

import copy

from small_models import bits, digits, small_cnn

from gpunet.backend.arrays import CPU, Device, address


def test_a_copy_of_a_model_is_a_model_of_its_own(device: Device) -> None:
    model, (x, y) = small_cnn(), digits(24)
    model.fit(x, y, batch_size=8, verbose=0)
    for _ in range(4):  # on a device the last one is a graph
        model.train_on_batch(x, y)
    copied, before = copy.deepcopy(model), bits(model)
    assert model._step is not None and copied._step is None, "a graph works on the arrays that it was captured with"
    assert model.optimizer is not None and copied.optimizer is not None
    assert model.optimizer._groups and not copied.optimizer._groups, "a copy has its weights and slots once"
    assert device == CPU or all(address(weight.value) % 256 == 0 for weight in copied.weights)
    copied.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    copied.train_on_batch(x, y)
    assert bits(model) == before != bits(copied)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    model.train_on_batch(x, y)
    assert bits(model) == bits(copied) and copied.device == model.device == device
