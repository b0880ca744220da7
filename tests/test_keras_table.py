"""README's table of Keras's names is what gpunet has. Keras itself is asked in parity/test_parity_names.py."""

from __future__ import annotations

from typing import Any

import keras_table
import pytest

MODULES = list(keras_table.content()["modules"].items())


@pytest.mark.parametrize(("module", "said"), MODULES, ids=[name for name, _ in MODULES])
def test_every_name_of_keras_is_there_or_said_to_be_absent(module: str, said: dict[str, Any]) -> None:
    names, missing = said["names"], keras_table.absent(said)
    found = keras_table.there(module, names)
    assert names == sorted(set(names)) and set(missing) <= set(names)
    assert not set(found) & set(missing), "said to be absent, and there"
    assert set(found) | set(missing) == set(names), "neither there nor said to be absent"
    assert set(said.get("differs", {})) <= set(found), "said to differ, and not there"
    assert all(missing.values())


def test_the_readme_has_the_table() -> None:
    made = keras_table.readme_with(keras_table.table())
    assert keras_table.README.read_text(encoding="utf-8") == made, "run python tests/keras_table.py"
