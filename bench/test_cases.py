"""Every case as a benchmark: models first, because they tell most."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cases import MODELS, OPS, Case
from bench.session import Session, measured_time


def _parameters(cases: tuple[Case, ...]) -> list[Any]:
    return [pytest.param(case, id=case.name, marks=[pytest.mark.quick] if case.quick else []) for case in cases]


@pytest.mark.benchmark(timer=measured_time, group="models")
@pytest.mark.parametrize("case", _parameters(MODELS))
def test_model(case: Case, session: Session, benchmark: Any) -> None:
    session.run(case, benchmark)


@pytest.mark.benchmark(timer=measured_time, group="ops")
@pytest.mark.parametrize("case", _parameters(OPS))
def test_op(case: Case, session: Session, benchmark: Any) -> None:
    session.run(case, benchmark)
