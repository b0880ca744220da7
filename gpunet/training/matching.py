"""Weights of a file under the names of a model whose layers are numbered otherwise."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeAlias

from gpunet.backend.arrays import HostArray
from gpunet.identifiers import snake_case
from gpunet.networks.network import Network

_Key: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]  # a path without automatic numbers, and these

_NUMBERED = re.compile(r"(.+?)(?:_(\d{1,9}))?")  # a file's numbers may be of any length


def matched(model: Network, weights: Mapping[str, HostArray], in_order: bool) -> Mapping[str, HostArray]:
    """Return `weights` by the paths of `model`; as they are where the names are the same, or have nothing in common.

    A layer without a name of its own is called by its class and a number that goes on through the process: the same
    code makes 'dense' first and 'dense_1' the next time. Where paths differ in such numbers only, weights belong to
    each other by their order: that of the model, if `in_order` says that `weights` are in it (in files since these keep
    it), else that of the numbers, in which layers were made.
    """
    own = list(model.parameters_by_path)
    if set(own) == set(weights):
        return weights
    automatic = {snake_case(type(layer).__name__) for _, layer in model.named_layers()}
    ours, theirs = ([(_key(path, automatic), path) for path in paths] for paths in (own, weights))
    if not in_order:
        ours, theirs = sorted(ours), sorted(theirs)
    if [key[0] for key, _ in ours] != [key[0] for key, _ in theirs]:
        return weights
    return {path: weights[saved] for (_, path), (_, saved) in zip(ours, theirs, strict=True)}


def _key(path: str, automatic: Collection[str]) -> _Key:
    *layers, weight = path.split("/")
    names, numbers = [], []
    for layer in layers:
        match = _NUMBERED.fullmatch(layer)
        is_automatic = match is not None and match[1] in automatic
        names.append(match[1] if match is not None and is_automatic else layer)
        numbers.append(int(match[2] or 0) if match is not None and is_automatic else 0)
    return (*names, weight), tuple(numbers)
