"""Parity: its units, files and arguments."""

from __future__ import annotations

import builtins
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import junk
import numpy as np
import pytest
from parity_models import Faulty, X, Y, compared, small_model

from gpunet import Dense, Input, Sequential
from gpunet.inspection import Drift, comparison, parity
from gpunet.inspection.passes import moved
from gpunet.inspection.ulps import distance


def test_units() -> None:
    one = np.float32([1.5, -3, 0])
    assert distance(one, one) == 0
    assert distance(one, one + np.float32([0, 0, 2**-22])) == 1, "numbers from 2 to 4 are 2**-22 apart"
    assert distance(one, one + np.float32([0, 0, 2**-22]), allowed=np.float64([0, 0, 2**-23])) == 0.5
    assert distance(np.float64([1]), np.float64([1 + 2**-52])) == 1
    assert distance(np.int64([5]), np.int64([7])) == 2
    odd = np.float32([np.nan, np.inf, 1])
    assert distance(odd, odd) == 0
    assert distance(odd, np.float32([np.nan, -np.inf, 1])) == distance(odd, np.float32([0, np.inf, 1])) == np.inf
    assert distance(np.zeros(2, np.float32), np.zeros(2, np.float32)) == 0


def test_files(tmp_path: Path) -> None:
    found = compared(small_model(Faulty(forward_by=np.inf, name="middle")))
    found.to_json(tmp_path / "p.json")
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["within_tolerance"] is False and content["verdict"] == found.verdict
    assert [row["layer"] for row in content["rows"]] == [row.layer for row in found.rows]
    (bad,) = [row for row in content["rows"] if row["beyond"]]
    assert bad["own"] is None and bad["shape"] == [6, 4] and content["device"] == "emulated"
    assert content["drift"]["against"] == list(found.drift.against) and len(content["drift"]["allowed"]) == 2


@pytest.mark.parametrize(
    ("fault", "drift"),
    [
        (np.inf, None),
        (1e-4, Drift((2.0, 1.0) * 15, (2.0, 1.001) * 15, (0.0,) * 30)),
        (0.0, Drift((2.0, np.nan), (np.inf, np.nan), (0.0, 0.0))),
        (0.0, Drift((1.0,), (1.0,), (0.0,))),
    ],
)
def test_pictures(fault: float, drift: Drift | None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = compared(small_model(Faulty(forward_by=fault, name="middle")))
    found = found if drift is None else replace(found, drift=drift)
    found.to_png(tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, imported = compared(small_model()), builtins.__import__

    def refuse(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("it is not here")
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(RuntimeError, match=r"to_png: needs matplotlib \(it is not here\); install gpunet\[plot\]"):
        found.to_png(tmp_path / "p.png")


def _uncompiled() -> Sequential:
    return Sequential([Input((5,)), Dense(3)], name="plain")


def _with_a_generator() -> Sequential:
    model = small_model()
    model.layers[0].lines = (line for line in "ab")  # type: ignore[attr-defined]
    return model


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (small_model, {"steps": 0}, ValueError, "Sequential 'net': parity: steps must be at least 1; got 0"),
        (small_model, {"tolerance": -1}, ValueError, "tolerance must be finite and at least 0; got -1"),
        (small_model, {"batch_size": 2.5}, TypeError, "batch_size must be an integer; got 2.5"),
        (small_model, {"against": "gpu"}, ValueError, "name must be 'auto', 'cpu', 'cuda', 'cuda:N' or 'emulated'"),
        (small_model, {"device": "cuda:99"}, RuntimeError, "cuda:99 is not usable here"),
        (_uncompiled, {}, ValueError, "Sequential 'plain': parity: the model must be compiled first"),
        (_with_a_generator, {}, TypeError, "a layer, the loss or the optimizer must be one to copy; .*generator"),
    ],
)
def test_errors(model: Callable[[], Sequential], options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parity(model(), X, Y, **{"device": "cpu", **options})


def test_anything_at_all_for_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ran(Exception):  # noqa: N818 - no error: all arguments were taken
        pass

    def run(*_: Any) -> None:
        raise Ran

    monkeypatch.setattr(comparison, "_Comparison", run)
    model, wrong = small_model(), []
    for argument in set(inspect.signature(parity).parameters) - {"x", "y"}:
        for make in junk.MAKERS:
            value = make()
            try:
                parity(**{"model": model, "x": X, "y": Y, "device": "cpu", argument: value})
            except Ran:
                continue
            except (ValueError, TypeError) as error:
                if junk.names(error, argument):
                    continue
                wrong.append(f"{argument}={junk.shown(value)}: {error}")
            except Exception as error:
                wrong.append(f"{argument}={junk.shown(value)}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_integers_are_not_moved() -> None:
    assert moved(np.arange(3), np.random.default_rng(0)).tolist() == [0, 1, 2]
    one = moved(np.ones(1000, np.float32), np.random.default_rng(0))
    assert one.dtype == np.float32 and 0 < abs(one - 1).max() <= 16 * np.finfo(np.float32).eps
