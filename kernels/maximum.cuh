// The maximum over a window of pooling by 2 x 2, where sums of a convolution end.
#include "activation.cuh"
#include "packs.cuh"

// Of COUNT neighbouring filters: the greatest y = f(z) so far, its z and its number in the window.
template <int COUNT>
struct Maximum {
    Pack<COUNT> y, z;
    Pack<COUNT, unsigned char> winner;

    __device__ inline void meet(const Pack<COUNT>& other, int number) {
#pragma unroll
        for (int e = 0; e < COUNT; ++e) {
            const REAL value = activation(other.value[e]);
            const REAL best = y.value[e];
            if (number == 0 || (!(value <= best) && best == best)) {  // the first, greater, or the first NaN
                y.value[e] = value;
                z.value[e] = other.value[e];
                winner.value[e] = static_cast<unsigned char>(number);
            }
        }
    }
};
