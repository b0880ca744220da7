"""README's table of what of Keras is there: made of tests/keras.toml and of what gpunet has.

    python tests/keras_table.py     writes it into the README

keras.toml lists all public names of one version of Keras, by module; what gpunet has not, with the reason; and what
differs where a name is there.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- Keras: begin; python tests/keras_table.py -->", "<!-- Keras: end -->"
_PLUMBING = {"deserialize", "get", "serialize"}  # in every module, not worth a place in the table


def content() -> dict[str, Any]:
    """Return what keras.toml says."""
    return tomllib.loads((ROOT / "tests" / "keras.toml").read_text(encoding="utf-8"))


def there(module: str, names: list[str]) -> list[str]:
    """Return those of `names` that gpunet's module has."""
    try:
        ours = importlib.import_module(f"gpunet.{module}")
    except ModuleNotFoundError:
        return []
    return [name for name in names if hasattr(ours, name)]


def absent(said: dict[str, Any]) -> dict[str, str]:
    """Return the names that a module of keras.toml says are not there, with the reason."""
    return {name: group["why"] for group in said.get("absent", ()) for name in group["names"]}


def table() -> str:
    """Return the table, in Markdown."""
    lines = ["| `keras.` | there | not there, and why | where it differs |", "| --- | --- | --- | --- |"]
    for module, said in content()["modules"].items():
        shown = [name for name in there(module, said["names"]) if name not in _PLUMBING]
        missing = [f"{_code(group['names'])}: {group['why']}" for group in said.get("absent", ())]
        differing = [f"`{name}`: {how}" for name, how in said.get("differs", {}).items()]
        lines.append(f"| `{module}` | {_code(shown)} | {'; '.join(missing)} | {'; '.join(differing)} |")
    return "\n".join(lines)


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def readme_with(made: str) -> str:
    """Return the README with `made` in the place of the table that it has."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    README.write_text(readme_with(table()), encoding="utf-8")
