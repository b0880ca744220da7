"""What one multiprocessor of each generation of NVIDIA GPUs has, and how many blocks it can hold.

From "CUDA C++ Programming Guide": the tables of technical specifications and of arithmetic throughput per compute
capability; units of allocation from cuda_occupancy.h of CUDA 13.
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65536  # of a multiprocessor, and the most of a block
REGISTERS_OF_A_THREAD = 255
SCHEDULERS = 4  # of a multiprocessor; each issues an instruction of one warp a cycle, and has a fourth of the registers
SHARED_BYTES_PER_CYCLE = 128
_REGISTER_UNIT = 256  # of a warp
_SHARED_UNIT = 128  # bytes


@dataclass(frozen=True)
class Architecture:
    """`shared` is in bytes, the system's share of `reserved` bytes a block included; lanes are fma a cycle."""

    warps: int
    blocks: int
    shared: int
    reserved: int
    float_lanes: int
    double_lanes: int

    @property
    def shared_of_a_block(self) -> int:
        return self.shared - self.reserved

    def resident_blocks(self, threads: int, registers: int, shared_bytes: int) -> int:
        """Return how many blocks of `threads`, with `registers` each, fit at the same time; 0 if none does."""
        warps = -(-threads // WARP)
        of_a_warp = _round_up(registers * WARP, _REGISTER_UNIT)
        by_registers = REGISTERS // SCHEDULERS // of_a_warp * SCHEDULERS // warps
        by_shared = self.shared // (_round_up(shared_bytes, _SHARED_UNIT) + self.reserved)
        return min(self.blocks, self.warps // warps, by_registers, by_shared)


def _round_up(size: int, unit: int) -> int:
    return max(-(-size // unit), 1) * unit


# From Turing to Blackwell, by compute capability.
ARCHITECTURES = {
    75: Architecture(32, 16, 64 * 1024, 0, 64, 2),
    80: Architecture(64, 32, 164 * 1024, 1024, 64, 32),
    86: Architecture(48, 16, 100 * 1024, 1024, 128, 2),
    89: Architecture(48, 24, 100 * 1024, 1024, 128, 2),
    90: Architecture(64, 32, 228 * 1024, 1024, 128, 64),
    100: Architecture(64, 32, 228 * 1024, 1024, 128, 64),
    120: Architecture(48, 24, 100 * 1024, 1024, 128, 2),
}
