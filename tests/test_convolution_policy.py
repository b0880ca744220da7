"""How convolutions are computed is a policy (gpunet/ops/convolution_policy.py): of a block, of a thread, of all."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import gpunet


@pytest.fixture(autouse=True)
def _exact_again() -> Iterator[None]:
    yield
    gpunet.set_convolution("exact")


def test_the_policy() -> None:
    assert gpunet.current_convolution() == "exact"
    with gpunet.convolution("winograd") as policy:
        assert policy == gpunet.current_convolution() == "winograd"
        with gpunet.convolution("exact"):
            assert gpunet.current_convolution() == "exact"
        assert gpunet.current_convolution() == "winograd"
        gpunet.set_convolution("exact")  # the block is stronger
        assert gpunet.current_convolution() == "winograd"
    assert gpunet.current_convolution() == "exact"
    for where, choose in (("set_convolution", gpunet.set_convolution), ("convolution", lambda p: _enter(p))):
        with pytest.raises(ValueError, match=rf"^{where}: policy must be one of 'exact', 'winograd'; got 'fft'"):
            choose("fft")
    with pytest.raises(RuntimeError, match="inside"), gpunet.convolution("winograd"):
        raise RuntimeError("inside")
    assert gpunet.current_convolution() == "exact"


def _enter(policy: str) -> None:
    with gpunet.convolution(policy):
        pass


def test_a_block_is_of_one_thread_and_the_setting_of_all() -> None:
    def seen() -> str:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(gpunet.current_convolution()))
        thread.start()
        thread.join()
        return found[0]

    with gpunet.convolution("winograd"):
        assert seen() == "exact"
    gpunet.set_convolution("winograd")
    assert seen() == "winograd"
    with gpunet.convolution("exact"):
        assert gpunet.current_convolution() == "exact" and seen() == "winograd"
