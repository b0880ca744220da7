"""Layers from what `get_config` told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunet import arguments, identifiers, layers
from gpunet.layers.base import Layer


def serialize(layer: Layer) -> dict[str, Any]:
    """Return the class name and configuration of `layer`, in JSON's types."""
    return {"class_name": identifiers.get_registered_name(type(layer)), "config": layer.get_config()}


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """Return the layer that `serialize` described, with new weights.

    Its class is one of `gpunet.layers`, or of `custom_objects`, which holds own classes and functions by name.
    ValueError for a class that is in neither.
    """
    if not isinstance(config, Mapping) or not {"class_name", "config"} <= set(config):
        raise ValueError(f"layer: configuration must have 'class_name' and 'config'; got {arguments.shown(config)}")
    name = config["class_name"]
    with identifiers.custom_object_scope(custom_objects):
        known = isinstance(name, str) and name in layers.__all__
        custom = identifiers.custom_object(name) if isinstance(name, str) else None
        cls = custom or (getattr(layers, name) if known else None)
        if not (isinstance(cls, type) and issubclass(cls, Layer)):
            raise ValueError(
                f"layer: class_name must be one of {', '.join(layers.__all__)} or be given in custom_objects; "
                f"got {arguments.shown(name)}; pass custom_objects={{{name!r}: the class}}"
            )
        return cls.from_config(dict(config["config"]))
