// Activations by themselves, for where no matrix product comes right before them.
//
// Math:     activate: y[i] = f(x[i]);  activate_gradient: dx[i] = dy[i] f'(x[i]), with f' from `saved`, which is y, or
//           x for GELU and SILU
// Layout:   vectors of n elements, whatever shape they have outside
// Launch:   one thread per element, THREADS a block
// Memory:   2n and 3n elements moved; neighbouring threads touch neighbouring elements
// Edges:    n >= 1; threads past n do nothing
// Numerics: the formulas of activation.cuh: no overflow for any finite x; each within a few roundings of its largest
//           term
// Cost:     0 to some 40 flop an element, far fewer than the memory's time allows; 8n and 12n bytes for float
#include "activation.cuh"

extern "C" __global__ void __launch_bounds__(THREADS) activate(const REAL* __restrict__ x, REAL* __restrict__ y,
                                                               Index n) {
    const Index i = global_thread();
    if (i < n) y[i] = activation(x[i]);
}

extern "C" __global__ void __launch_bounds__(THREADS) activate_gradient(const REAL* __restrict__ dy,
                                                                        const REAL* __restrict__ saved,
                                                                        REAL* __restrict__ dx, Index n) {
    const Index i = global_thread();
    if (i < n) dx[i] = activation_gradient(dy[i], saved[i]);
}
