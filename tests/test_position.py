"""The place in a pass over the samples: move_on."""

from __future__ import annotations

import checks
import numpy as np
import pytest

from gpunet.backend.arrays import Device
from gpunet.ops.position import move_on


def test_move_on(device: Device) -> None:
    position = checks.on(device, np.array([0]))
    for count, expected in ((3, 3), (1, 4), (2**40, 2**40 + 4)):
        move_on(position, count)
        checks.assert_same_bits(position, np.array([expected]))


def test_bad_input_is_refused(device: Device) -> None:
    with pytest.raises(TypeError, match="move_on: position must be int64; got float32"):
        move_on(checks.on(device, np.float32([0])), 1)
    with pytest.raises(ValueError, match=r"move_on: position must have shape \(1,\); got \(2,\)"):
        move_on(checks.on(device, np.array([0, 1])), 1)
