"""PyTorch: 'eager', 'channels_last', 'compile' (on a GPU with its own CUDA graphs) and 'tf32' (less exact products)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention

from bench.cases import adam as adam_case
from bench.cases import convolution_transposed as transposed_case
from bench.cases import dropout as dropout_case
from bench.cases import models
from bench.cases import moves as moves_case
from bench.cases import normalization as normalization_case
from bench.cases import rmsprop as rmsprop_case
from bench.cases.case import Data, HostArray
from bench.rivals.side import FLUSH_BYTES, Run, Side

Sizes = Mapping[str, Any]
Op = tuple[Run, Callable[[], list[Any]]]

_CONVOLUTION_PLAIN = ([1, 1], False, [0, 0])  # dilation, transposed, output padding


class TorchSide(Side):
    def __init__(self, mode: str, device: str, threads: int) -> None:
        super().__init__(mode, device, threads)
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode == "tf32"
        torch.backends.cudnn.benchmark = True
        # With NCHW images, torch.compile 2.13 on the CPU finds gradients of 0 for a convolution that is followed by
        # pooling, flatten, Dense and ReLU.
        self._channels_last = mode == "channels_last" or (mode == "compile" and device == "cpu")

    def versions(self) -> dict[str, str]:
        versions = {"PyTorch": torch.__version__}
        if self.device == "cuda":
            versions["cuDNN"] = str(torch.backends.cudnn.version())
        return versions

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def to_host(self, outputs: Any) -> HostArray:
        return outputs.detach().cpu().numpy() if isinstance(outputs, torch.Tensor) else np.asarray(outputs)

    def device_memory(self) -> int | None:
        return torch.cuda.max_memory_reserved() if self.device == "cuda" else None

    def device_seconds(self, run: Run, repetitions: int) -> list[float]:
        junk = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        pairs = []
        for _ in range(repetitions):
            junk.fill_(1)
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            pairs.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1e3 for start, end in pairs]

    def network(self, name: str, data: Data) -> tuple[Callable[[], float], Callable[[], Any]]:
        model = _Network(name, self._channels_last).to(self.device)
        x, y = self._images(data["x"]), torch.from_numpy(data["y"]).to(self.device)
        if self._channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), models.LEARNING_RATE, eps=models.EPSILON, fused=True)
        loss_of, output_of = model.loss, model.probabilities
        if self.mode == "compile":
            options: dict[str, Any] = {"mode": "reduce-overhead"} if self.device == "cuda" else {}
            loss_of, output_of = torch.compile(loss_of, **options), torch.compile(output_of, **options)

        def train() -> float:
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return float(loss.item())

        def infer() -> torch.Tensor:
            with torch.inference_mode():
                return output_of(x)

        return train, infer

    def _images(self, x: HostArray) -> torch.Tensor:
        """Return images NHWC as NCHW, in memory too unless the mode is channels_last; other arrays as they are."""
        tensor = torch.from_numpy(x).to(self.device)
        if x.ndim != 4:
            return tensor
        tensor = tensor.permute(0, 3, 1, 2)
        if self._channels_last:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor.contiguous()

    def _tensors(self, data: Data, *names: str) -> list[torch.Tensor]:
        return [torch.from_numpy(data[name]).to(self.device) for name in names]

    # Ops.

    def dense_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b = self._tensors(data, "x", "w", "b")
        w = w.t().contiguous()
        return _op(lambda: (F.relu(F.linear(x, w, b)),))

    def dense_backward(self, data: Data, sizes: Sizes) -> Op:
        x, w, b, dy = self._tensors(data, "x", "w", "b", "dy")
        inputs = [x, w.t().contiguous(), b]
        for tensor in inputs:
            tensor.requires_grad_()
        y = F.relu(F.linear(*inputs))

        def run() -> Any:
            return torch.autograd.grad(y, inputs, dy, retain_graph=True)

        def outputs() -> list[torch.Tensor]:
            dx, dw, db = run()
            return [dx, dw.t(), db]

        return run, outputs

    def _convolution(self, data: Data, sizes: Sizes) -> tuple[torch.Tensor, torch.Tensor, list[int], list[int]]:
        """Return images, filters, strides and pads; uneven pads are put on the images beforehand."""
        x = data["x"]
        pads = [0, 0]
        if sizes["padding"] == "same":
            total = max((sizes["p"] - 1) * sizes["stride"] + sizes["r"] - sizes["h"], 0)
            pads = [total // 2] * 2
            if total % 2:
                before = total // 2
                x = np.pad(x, ((0, 0), (before, total - before), (before, total - before), (0, 0)))
                pads = [0, 0]
        w = self._images(data["w"].transpose(3, 0, 1, 2))
        return self._images(x), w, [sizes["stride"]] * 2, pads

    def convolution_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w, strides, pads = self._convolution(data, sizes)
        (b,) = self._tensors(data, "b")
        how = {"stride": strides, "padding": pads, "groups": sizes["groups"]}
        run: Callable[[], Any] = lambda: F.relu(F.conv2d(x, w, b, **how))  # noqa: E731
        return run, lambda: [run().permute(0, 2, 3, 1)]

    def _gradient(self, data: Data, sizes: Sizes, wanted: list[bool]) -> Callable[[], Any]:
        x, w, strides, pads = self._convolution(data, sizes)
        dy = self._images(data["dy"])
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(dy, x, w, [sizes["f"]], strides, pads, *_CONVOLUTION_PLAIN, sizes["groups"], wanted)

    def convolution_data_gradient(self, data: Data, sizes: Sizes) -> Op:
        run = self._gradient(data, sizes, [True, False, False])

        return run, lambda: [_without_padding(run()[0], sizes)]

    def convolution_filter_gradient(self, data: Data, sizes: Sizes) -> Op:
        run = self._gradient(data, sizes, [False, True, True])

        def outputs() -> list[torch.Tensor]:
            _, dw, db = run()
            return [dw.permute(2, 3, 1, 0), db]

        return run, outputs

    # PyTorch chooses by itself how to convolve.
    winograd_forward = convolution_forward
    winograd_data_gradient = convolution_data_gradient

    def convolution_backward(self, data: Data, sizes: Sizes) -> Op:
        run = self._gradient(data, sizes, [True, True, True])

        def outputs() -> list[torch.Tensor]:
            dx, dw, db = run()
            return [_without_padding(dx, sizes), dw.permute(2, 3, 1, 0), db]

        return run, outputs

    def _convolution_pooling(self, data: Data, sizes: Sizes) -> tuple[Callable[[], torch.Tensor], list[torch.Tensor]]:
        x, w, strides, pads = self._convolution(data, sizes)
        (b,) = self._tensors(data, "b")

        def forward() -> torch.Tensor:
            return F.max_pool2d(F.relu(F.conv2d(x, w, b, stride=strides, padding=pads)), 2, ceil_mode=True)

        return forward, [x, w, b]

    def convolution_pooling_forward(self, data: Data, sizes: Sizes) -> Op:
        forward, inputs = self._convolution_pooling(data, sizes)
        for tensor in inputs:
            tensor.requires_grad_()
        return forward, lambda: [forward().permute(0, 2, 3, 1)]

    def convolution_pooling_backward(self, data: Data, sizes: Sizes) -> Op:
        forward, inputs = self._convolution_pooling(data, sizes)
        for tensor in inputs:
            tensor.requires_grad_()
        y, dy = forward(), self._images(data["dy"])
        run: Callable[[], Any] = lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)  # noqa: E731

        def outputs() -> list[torch.Tensor]:
            dx, dw, db = run()
            return [dx.permute(0, 2, 3, 1), dw.permute(2, 3, 1, 0), db]

        return run, outputs

    def convolution_transposed_forward(self, data: Data, sizes: Sizes) -> Op:
        x, w = self._images(data["x"]), self._images(data["w"].transpose(3, 0, 1, 2))
        (b,) = self._tensors(data, "b")
        how = {"stride": transposed_case.STRIDE, "padding": transposed_case.PADS}
        run: Callable[[], Any] = lambda: F.relu(F.conv_transpose2d(x, w, b, **how))  # noqa: E731
        return run, lambda: [run().permute(0, 2, 3, 1)]

    def max_pooling_forward(self, data: Data, sizes: Sizes) -> Op:
        x = self._images(data["x"])
        run: Callable[[], Any] = lambda: F.max_pool2d(x, 2, return_indices=True)  # noqa: E731
        return run, lambda: [run()[0].permute(0, 2, 3, 1)]

    def max_pooling_backward(self, data: Data, sizes: Sizes) -> Op:
        return self._pooling_backward(data, F.max_pool2d)

    def average_pooling_forward(self, data: Data, sizes: Sizes) -> Op:
        x = self._images(data["x"])
        run: Callable[[], Any] = lambda: F.avg_pool2d(x, 2)  # noqa: E731
        return run, lambda: [run().permute(0, 2, 3, 1)]

    def average_pooling_backward(self, data: Data, sizes: Sizes) -> Op:
        return self._pooling_backward(data, F.avg_pool2d)

    def _pooling_backward(self, data: Data, pool: Callable[..., torch.Tensor]) -> Op:
        x, dy = self._images(data["x"]).requires_grad_(), self._images(data["dy"])
        y = pool(x, 2)
        run: Callable[[], Any] = lambda: torch.autograd.grad(y, x, dy, retain_graph=True)[0]  # noqa: E731
        return run, lambda: [run().permute(0, 2, 3, 1)]

    def _normalization(self, data: Data) -> tuple[Callable[[], torch.Tensor], list[torch.Tensor]]:
        x, epsilon = self._images(data["x"]), normalization_case.EPSILON
        gamma, beta = self._tensors(data, "gamma", "beta")
        if x.ndim == 4:
            return lambda: F.batch_norm(x, None, None, gamma, beta, training=True, eps=epsilon), [x, gamma, beta]
        return lambda: F.layer_norm(x, x.shape[1:], gamma, beta, epsilon), [x, gamma, beta]

    def _normalization_forward(self, data: Data, sizes: Sizes) -> Op:
        run, _ = self._normalization(data)
        return run, lambda: [_channels_last(run())]

    def _normalization_backward(self, data: Data, sizes: Sizes) -> Op:
        forward, inputs = self._normalization(data)
        for tensor in inputs:
            tensor.requires_grad_()
        y, dy = forward(), self._images(data["dy"])
        run: Callable[[], Any] = lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)  # noqa: E731

        def outputs() -> list[torch.Tensor]:
            dx, dgamma, dbeta = run()
            return [_channels_last(dx), dgamma, dbeta]

        return run, outputs

    batch_normalization_forward = layer_normalization_forward = _normalization_forward
    batch_normalization_backward = layer_normalization_backward = _normalization_backward

    def softmax_cross_entropy(self, data: Data, sizes: Sizes) -> Op:
        logits, labels = self._tensors(data, "logits", "labels")
        logits.requires_grad_()

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            loss = F.cross_entropy(logits, labels)
            return loss.reshape(1), torch.autograd.grad(loss, logits)[0]

        return _op(run)

    def adam(self, data: Data, sizes: Sizes) -> Op:
        w, g = self._tensors(data, "w", "g")
        w.requires_grad_().grad = g
        case = adam_case
        optimizer = torch.optim.Adam([w], case.LEARNING_RATE, (case.BETA_1, case.BETA_2), case.EPSILON, fused=True)

        def outputs() -> list[torch.Tensor]:
            optimizer.step()
            return [w]

        return optimizer.step, outputs

    def add(self, data: Data, sizes: Sizes) -> Op:
        x0, x1 = self._tensors(data, "x0", "x1")
        return _op(lambda: (x0 + x1,))

    def concatenate(self, data: Data, sizes: Sizes) -> Op:
        x0, x1 = self._tensors(data, "x0", "x1")
        return _op(lambda: (torch.cat((x0, x1), 3),))

    def rmsprop(self, data: Data, sizes: Sizes) -> Op:
        w, g = self._tensors(data, "w", "g")
        w.requires_grad_().grad = g
        case = rmsprop_case
        optimizer = torch.optim.RMSprop([w], case.LEARNING_RATE, case.RHO, case.EPSILON, foreach=True)

        def outputs() -> list[torch.Tensor]:
            optimizer.step()
            return [w]

        return optimizer.step, outputs

    def dropout(self, data: Data, sizes: Sizes) -> Op:
        (x,) = self._tensors(data, "x")
        run: Callable[[], Any] = lambda: torch.native_dropout(x, dropout_case.RATE, True)  # noqa: E731
        return run, lambda: [dropout_case.summary(data["x"], self.to_host(run()[0]))]

    def mish(self, data: Data, sizes: Sizes) -> Op:
        x, dy = self._tensors(data, "x", "dy")
        return _op(lambda: (torch.nn.functional.mish(x), torch.ops.aten.mish_backward(dy, x)))

    def gather(self, data: Data, sizes: Sizes) -> Op:
        source, order = self._tensors(data, "source", "order")
        indices = order[: sizes["n"]]
        return _op(lambda: (source.index_select(0, indices).float(),))

    def resizing(self, data: Data, sizes: Sizes) -> Op:
        x = self._tensors(data, "x")[0].permute(0, 3, 1, 2)
        size = (sizes["to"], sizes["to"])
        return _op(lambda: (F.interpolate(x, size, mode=moves_case.RESIZING).permute(0, 2, 3, 1),))

    def embedding_backward(self, data: Data, sizes: Sizes) -> Op:
        x, dy = self._tensors(data, "x", "dy")
        indices, words = x.long(), sizes["words"]
        return _op(lambda: (torch.ops.aten.embedding_dense_backward(dy, indices, words, -1, False),))

    def nonfinite(self, data: Data, sizes: Sizes) -> Op:
        g, bad = self._tensors(data, "g", "bad")
        return lambda: torch.isfinite(g).all(), lambda: [torch.isfinite(one).all().float()[None] for one in (g, bad)]


def _op(run: Callable[[], Any]) -> Op:
    return run, lambda: list(run())


def _without_padding(dx: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    """Return a data gradient, channels last, of the images as they were before pads were put on."""
    before = max(dx.shape[2] - sizes["h"], 0) // 2
    inside = slice(before, before + sizes["h"])
    return dx.permute(0, 2, 3, 1)[:, inside, inside]


class _Network(torch.nn.Module):
    def __init__(self, name: str, channels_last: bool) -> None:
        super().__init__()
        self._network = models.NETWORKS[name]
        self._channels_last = channels_last
        self.kernels, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        images: tuple[int, ...] | None = None  # the shape that a Flatten before a Dense layer had
        pairs: Iterator[tuple[HostArray, HostArray]] = iter(self._network.weights())
        for layer, before, _ in self._network.shapes():
            if isinstance(layer, models.Flatten):
                images = before
            if not isinstance(layer, (models.Conv, models.Dense)):
                continue
            w, b = next(pairs)
            if w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            else:
                if images is not None and not channels_last:  # the weights are for H, W, C; images are C, H, W
                    w = w.reshape(*images, -1).transpose(2, 0, 1, 3).reshape(w.shape)
                w, images = w.T, None
            self.kernels.append(torch.from_numpy(np.ascontiguousarray(w)))
            self.biases.append(torch.from_numpy(b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        number = 0
        for layer in self._network.layers:
            match layer:
                case models.Conv(_, padding):
                    x = F.relu(F.conv2d(x, self.kernels[number], self.biases[number], padding=padding))
                    number += 1
                case models.Pool():
                    x = F.max_pool2d(x, 2, ceil_mode=True)
                case models.Flatten():
                    x = (x.permute(0, 2, 3, 1) if self._channels_last else x).flatten(1)
                case models.Dense():
                    x = F.linear(x, self.kernels[number], self.biases[number])
                    number += 1
                    x = x if layer is self._network.layers[-1] else F.relu(x)
        return x

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self(x), y)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        return F.softmax(self(x), dim=-1)


SIDE = TorchSide


def _channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return images as NHWC; other tensors as they are."""
    return images.permute(0, 2, 3, 1) if images.ndim == 4 else images
