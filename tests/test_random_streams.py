"""Random streams: NumPy's own Philox, one stream for each object, the same in every run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import checks
import numpy as np
import pytest

from gpunet.backend.random import (
    Purpose,
    Stream,
    generator,
    new_stream,
    random_state,
    set_random_seed,
    set_random_state,
)


def test_anyone_can_draw_the_same_numbers_with_numpy() -> None:
    set_random_seed(123)
    stream = new_stream(Purpose.DROPOUT)
    for step in range(3):
        numpy_alone = np.random.Generator(np.random.Philox(key=[123, 3], counter=[0, 0, 0, step]))
        checks.assert_same_bits(stream.next_generator().random(5), numpy_alone.random(5))


def test_the_bits_of_a_stream_never_change() -> None:
    """Weights, permutations and masks of saved runs rest on these numbers; NumPy keeps its Philox stable (NEP 19)."""
    draws = generator(1, 2, 3).random(4, dtype=np.float32)
    assert [float(u).hex() for u in draws] == [
        "0x1.3903120000000p-1",
        "0x1.03dab00000000p-4",
        "0x1.6e27640000000p-1",
        "0x1.6a3e100000000p-1",
    ]


def test_every_object_has_its_own_stream() -> None:
    streams = [new_stream(purpose) for _ in range(3) for purpose in Purpose]
    assert [stream.purpose for stream in streams[:5]] == [1, 2, 3, 4, 5]
    assert streams[5] == Stream(0, 1 + 256)
    draws = {tuple(stream.next_generator().integers(2**62, size=4)) for stream in streams for _ in range(3)}
    assert len(draws) == 45


def test_the_seed_is_zero_unless_set_and_setting_it_starts_anew() -> None:
    first = new_stream(Purpose.SHUFFLE)
    assert first == Stream(0, 2)
    set_random_seed(0)
    assert new_stream(Purpose.SHUFFLE) == first
    set_random_seed(2**63 - 1)
    assert new_stream(Purpose.SHUFFLE) == Stream(2**63 - 1, 2)
    new_stream(Purpose.SHUFFLE).next_generator().random()


def test_a_seed_of_its_own_leaves_the_global_count_alone() -> None:
    own = new_stream(Purpose.INITIALIZER, seed=5)
    assert own == new_stream(Purpose.INITIALIZER, seed=5) == Stream(5, 1)
    assert new_stream(Purpose.INITIALIZER) == Stream(0, 1)


def test_a_stream_is_restored_by_its_step() -> None:
    stream = new_stream(Purpose.DROPOUT)
    for _ in range(4):
        stream.next_key()
    restored = Stream(stream.seed, stream.purpose, step=4)
    checks.assert_same_bits(stream.next_generator().random(3), restored.next_generator().random(3))
    assert stream.next_key() == (0, 3, 5)
    checks.assert_same_bits(generator(0, 3, 6).random(3), stream.next_generator().random(3))


def test_threads_get_different_streams() -> None:
    with ThreadPoolExecutor(8) as pool:
        streams = list(pool.map(lambda _: new_stream(Purpose.DROPOUT), range(200)))
    assert len({stream.purpose for stream in streams}) == 200


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"set_random_seed: seed must be from 0 to 2\*\*63 - 1; got {seed}"):
        set_random_seed(seed)
    with pytest.raises(ValueError, match=rf"seed: seed must be from 0 to 2\*\*63 - 1; got {seed}"):
        new_stream(Purpose.DROPOUT, seed)


@pytest.mark.parametrize("seed", [1.5, "1", True, None])
def test_seeds_of_other_types(seed: Any) -> None:
    set_random_seed(7)
    with pytest.raises(TypeError, match="set_random_seed: seed must be an integer; got"):
        set_random_seed(seed)
    assert new_stream(Purpose.DROPOUT).seed == 7


def test_numpy_integers_are_seeds() -> None:
    set_random_seed(np.int32(9))
    assert new_stream(Purpose.DROPOUT) == Stream(9, 3)


def test_a_state_from_before_a_purpose_goes_on() -> None:
    state = random_state()
    del state["augmentation"]
    new_stream(Purpose.AUGMENTATION)
    set_random_state(state)
    assert new_stream(Purpose.AUGMENTATION) == Stream(0, 5)
    del state["dropout"]
    with pytest.raises(KeyError, match="dropout"):
        set_random_state(state)
