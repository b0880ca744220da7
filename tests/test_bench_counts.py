"""The benchmark suite's arithmetic: flops and bytes of the cases, medians and ratios, the roofline."""

from __future__ import annotations

import numpy as np
import pytest

from bench import summary
from bench.cases import CASES, MODELS, OPS, Case, models
from bench.cases.convolution import output_size
from bench.cases.dense import backward_flops, forward_flops
from bench.measure import check_agreement
from bench.processes import LibraryError
from bench.rivals.gpunet_side import GpunetSide
from bench.roofline import measure
from gpunet.inspection.roofline import Roofline
from gpunet.ops import windows


def test_names_are_unique_and_all_sizes_are_there() -> None:
    assert len(CASES) == len(OPS) + len(MODELS)
    for name in (
        "dense_backward[4096x4096x4096]",
        "convolution_filter_gradient[128x50x50x1-k3s1f16]",
        "convolution_data_gradient[32x14x14x256-k3s2f512]",
        "convolution_forward[32x224x224x3-k7s2f64]",
        "convolution_forward[32x56x56x64-k1s1f256]",
        "convolution_backward[32x112x112x64-k3s2f64g64]",
        "softmax_cross_entropy[256x1000]",
        "adam[1e7]",
        "training_step[vgg-512]",
        "inference[cnn50-1]",
    ):
        assert name in CASES
    assert {case.op for case in OPS if case.quick} >= {"dense_forward", "convolution_forward", "adam", "dropout"}


def _counted_dense(m: int, k: int, n: int) -> tuple[int, int]:
    """Count the additions and products of Dense forward and backward, one by one."""
    forward = backward = 0
    for _ in range(m):
        for _ in range(n):
            forward += 2 * k + 2  # a product and an addition a term, the bias, ReLU's comparison
            backward += 2  # ReLU's gradient; one addition to db
            backward += 2 * k  # of dw: each of the k n sums gets a term from each row
    backward += m * k * 2 * n  # dx: m k sums of n terms
    return forward, backward


def test_flops_of_dense() -> None:
    assert (forward_flops(3, 5, 7), backward_flops(3, 5, 7)) == _counted_dense(3, 5, 7)


def test_flops_of_convolution() -> None:
    case = CASES["convolution_forward[128x24x24x16-k3s1f32]"]
    assert case.flops == 128 * 22 * 22 * 32 * (2 * 3 * 3 * 16 + 2)
    assert CASES["convolution_data_gradient[128x24x24x16-k3s1f32]"].flops == 128 * 22 * 22 * 32 * 2 * 144
    assert CASES["convolution_filter_gradient[128x24x24x16-k3s1f32]"].flops == 128 * 22 * 22 * 32 * (2 * 144 + 1)
    assert CASES["convolution_backward[128x24x24x16-k3s1f32]"].flops == 128 * 22 * 22 * 32 * (4 * 144 + 1)
    assert CASES["convolution_transposed_forward[32x8x8x512-k4s2f256]"].flops == (
        32 * 8 * 8 * 512 * 2 * 16 * 256 + 32 * 16 * 16 * 256 * 2
    )
    assert CASES["convolution_backward[32x14x14x512-k3s1f512g512]"].flops == 32 * 14 * 14 * 512 * (4 * 9 + 1)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_output_sizes_are_gpunets(padding: str) -> None:
    for size, kernel, stride in ((50, 3, 1), (224, 7, 2), (56, 3, 2), (7, 3, 1), (9, 2, 2)):
        assert output_size(size, kernel, stride, padding) == windows.output_size(size, kernel, stride, 1, padding)


# For each op the inputs that it reads, by name.
READS = {
    "dense_forward": "x w b",
    "dense_backward": "x w y dy",
    "convolution_forward": "x w b",
    "convolution_data_gradient": "w dy",
    "convolution_filter_gradient": "x dy",
    "convolution_backward": "x w dy",
    "convolution_pooling_forward": "x w b",
    "convolution_pooling_backward": "x w dy",
    "convolution_transposed_forward": "x w b",
    "max_pooling_backward": "dy",
    "average_pooling_forward": "x",
    "average_pooling_backward": "dy",
    "batch_normalization_forward": "x gamma beta",
    "batch_normalization_backward": "x dy gamma",
    "layer_normalization_forward": "x gamma beta",
    "layer_normalization_backward": "x dy gamma",
}


@pytest.mark.parametrize("case", [case for case in OPS if case.op in READS and case.quick], ids=lambda case: case.name)
def test_bytes_are_those_of_all_arrays_once(case: Case) -> None:
    data = case.data()
    side = GpunetSide("", "cpu", 1)
    results = side.prepare(case)
    touched = sum(data[name].nbytes for name in READS[case.op].split()) + sum(result.nbytes for result in results)
    dy = data.get("dy", np.empty(0))
    kept = {  # what forward leaves for backward: winners, in four bytes or in one, and y
        "max_pooling_backward": dy.nbytes,
        "convolution_pooling_forward": dy.size,
        "convolution_pooling_backward": dy.size + dy.nbytes,
    }
    assert case.bytes == touched + kept.get(case.op, 0)
    assert all(array.any() for array in data.values()), "nothing is timed on zeros"


def test_bytes_of_gather_are_those_of_the_batch() -> None:
    case = CASES["gather[128x784]"]
    (batch,) = GpunetSide("", "cpu", 1).prepare(case)
    data = case.data()
    np.testing.assert_array_equal(batch, data["source"][data["order"][:128]])
    assert case.bytes == 128 * data["order"].itemsize + data["source"][:128].nbytes + batch.nbytes
    assert case.flops == batch.size


def test_parameters_and_flops_of_networks() -> None:
    cnn50, mlp = models.NETWORKS["cnn50"], models.NETWORKS["mlp"]
    assert models.parameters(cnn50) == 160 + 4640 + 18496 + 204928 + 1290
    assert sum(w.size + b.size for w, b in cnn50.weights()) == models.parameters(cnn50)
    first = 48 * 48 * 16 * 9 * 2
    rest = 2 * (22 * 22 * 32 * 144 + 9 * 9 * 64 * 288 + 1600 * 128 + 128 * 10)
    assert models.flops(cnn50, training=False) == first + rest
    assert models.flops(cnn50, training=True) == 2 * first + 3 * rest
    products = 784 * 512 + 512 * 512 + 512 * 10
    assert models.flops(mlp, training=True) == 2 * (3 * products - 784 * 512)
    inference = 4 * (8 * (784 + 2 * (512 + 512 + 10)) + models.parameters(mlp))
    assert models.traffic(mlp, 8, training=False) == inference
    training = 4 * (3 * 8 * (784 + 2 * (512 + 512 + 10)) + 10 * models.parameters(mlp))
    assert models.traffic(mlp, 8, training=True) == training


def test_networks_have_the_shapes_of_gpunet() -> None:
    side = GpunetSide("", "cpu", 1)
    for name, network in models.NETWORKS.items():
        data = models.data({"network": name, "batch": 2})
        train, infer = side.network(name, data)
        assert infer().shape == (2, network.classes)
        assert train() > 0


def test_medians_and_quartiles() -> None:
    assert summary.summarize([5.0]) == summary.Summary(5, 5, 5)
    assert summary.summarize([4.0, 1.0, 3.0, 2.0, 5.0]) == summary.Summary(3, 2, 4)
    assert summary.times([[1.0, 2.0], [9.0]]).median == 2
    with pytest.raises(ValueError, match="must not be empty"):
        summary.summarize([])


def test_a_ratio_compares_within_rounds() -> None:
    """The third round, in which the machine is ten times slower, disturbs both libraries alike."""
    mine = [[1.0, 1.0, 1.2], [2.0], [10.0, 11.0, 10.0]]
    theirs = [[2.0, 2.0, 9.0], [3.0], [20.0]]
    assert summary.ratio(theirs, mine) == summary.Summary(2.0, 1.75, 2.0)


def test_roofline() -> None:
    limits = Roofline(flops=100.0, bandwidth=10.0)
    assert limits.least_seconds(flops=1000, touched=10) == 10  # bound by arithmetic
    assert limits.least_seconds(flops=10, touched=1000) == 100  # bound by memory
    assert limits.share(flops=1000, touched=10, seconds=20) == 0.5


def test_the_machines_limits_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import roofline

    monkeypatch.setattr(roofline, "_MATRIX", {"cpu": 256})
    monkeypatch.setattr(roofline, "_COPIED_BYTES", {"cpu": 2**22})
    limits = measure(GpunetSide("", "cpu", 1))
    assert 1e8 < limits.flops < 1e14 and 1e8 < limits.bandwidth < 1e13  # between a very old and no machine


def test_agreement() -> None:
    mine = [np.float32([1, -4]), np.float32([0])]
    check_agreement(mine, [np.float32([1.003, -4]), np.float32([0])], tolerance=1e-3)
    for other, message in (
        ([np.float32([1.005, -4]), np.float32([0])], "differs by 0.005, of 4 at most"),
        ([np.float32([1, np.inf]), np.float32([0])], "differs by inf"),
        ([np.float32([1, -4])], "1 outputs, gpunet has 2"),
        ([np.float32([1, -4, 0]), np.float32([0])], r"output of shape \(3,\)"),
    ):
        with pytest.raises(LibraryError, match=f"refused: {message}"):
            check_agreement(mine, other, tolerance=1e-3)
