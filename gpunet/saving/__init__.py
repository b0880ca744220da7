"""Files of models, and the own classes and functions that are known when one is loaded."""

from gpunet.identifiers import (
    custom_object_scope,
    get_registered_name,
    get_registered_object,
    register_serializable,
)

CustomObjectScope = custom_object_scope
register_keras_serializable = register_serializable  # as pasted code calls it

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "get_registered_name",
    "get_registered_object",
    "register_keras_serializable",
    "register_serializable",
]
