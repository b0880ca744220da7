// Position: the place in a pass over the samples, moved on by the device itself.
//
// Math:     position += count
// Layout:   position (1), in device memory: a captured graph moves on at every replay
// Launch:   one thread
// Memory:   one number read and written
// Edges:    none
// Numerics: exact below 2^63
// Cost:     one addition
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(1) move_on(Index* __restrict__ position, Index count) {
    position[0] += count;
}
