"""Benchmarks: gpunet beside what people would choose instead, on the same work, interleaved in one run."""
