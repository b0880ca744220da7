"""What Keras keeps in `keras.utils`, under the same names; each lives where it belongs."""

from gpunet.backend.random import set_random_seed
from gpunet.datasets.arrays import normalize, split_dataset, to_categorical
from gpunet.identifiers import custom_object_scope, get_registered_name, get_registered_object, register_serializable
from gpunet.layers.naming import clear_session
from gpunet.layers.symbolic import is_symbolic as is_keras_tensor
from gpunet.training.dataset import PyDataset, pack_x_y_sample_weight, unpack_x_y_sample_weight

CustomObjectScope = custom_object_scope
Sequence = PyDataset
register_keras_serializable = register_serializable

__all__ = [
    "CustomObjectScope",
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "get_registered_name",
    "get_registered_object",
    "is_keras_tensor",
    "normalize",
    "pack_x_y_sample_weight",
    "register_keras_serializable",
    "register_serializable",
    "set_random_seed",
    "split_dataset",
    "to_categorical",
    "unpack_x_y_sample_weight",
]
