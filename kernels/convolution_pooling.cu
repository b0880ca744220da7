// Convolution with bias, activation and max-pooling by 2 x 2 with strides of 2, as one implicit GEMM: of the
// convolution's output only the maxima leave the chip. The gradients are in convolution_pooling_gradient.cu.
//
// Math:     z[n,p,q,f] as in convolution.cu; y[n,u,v,f] = the maximum of f(z[n, 2u + r, 2v + s, f]) over those r and s
//               in {0, 1} that lie inside; winner[n,u,v,f] = 2 r + s of the first maximum; saved = its z where f' needs
//               it
// Layout:   x (images, height, width, channels); w (kernel_height, kernel_width, channels / groups, filters);
//           b (filters); y, saved, winner (images, pooled_height, pooled_width, filters), winner in bytes. out_height
//           and out_width are those of z; pooled_height is out_height / 2, rounded down (padding 'valid') or up
//           ('same'), and so is pooled_width
// Launch:   THREADS a block, a block per tile of BM x BN and group: grid (tiles, groups). The product is (rows, taps)
//           (taps, filters), where the rows are the elements of the windows, and a thread has whole windows; k is not
//           split. A multiprocessor holds FEWER_BLOCKS at least (loader.cuh)
// Memory:   reads as convolution.cu; stores y, a fourth of f(z), and a byte for each element of it. Neighbouring
//           threads copy neighbouring taps of x, and store neighbouring filters
// Edges:    as convolution.cu. Where out_height or out_width is odd, a window of 'same' has only what lies inside, and
//           pixels at the edge are in no window of 'valid'. A NaN is greater than any number. b, saved and winner may
//           be null; without winner saved is not stored either
// Numerics: fma in one chain, in the order of convolution.cu. That file ends a chain after CHUNK terms: with at most
//           so many taps the bits are those of convolution.cu and pooling.cu
// Cost:     that of convolution.cu, and 3 comparisons a window; at least 4 (size of x + size of w) + 5 (size of y)
//           bytes for float
#include "maximum.cuh"
#include "windows.cuh"

constexpr int WINDOW = 4;
static_assert(TM % WINDOW == 0, "a thread's rows must be whole windows");

// Which window, and which of its elements, row i of the product is: such that sums number 4 j to 4 j + 3 of a thread
// (see tile_row) are one window.
struct Element {
    Index window;
    int number;
};
__device__ inline Index window_of_thread(Index first_row, int thread, int sum) {
    return first_row / WINDOW + sum / WINDOW * THREADS_M + thread;
}
__device__ inline Element element_of_row(Index i) {
    const int row = static_cast<int>(i % BM);
    const int pack = row / PACK_M;
    const int sum = pack / THREADS_M * PACK_M + row % PACK_M;
    return {window_of_thread(i - row, pack % THREADS_M, sum), sum % WINDOW};
}

// Operand: the windows of x, a line for each element of the pooling's windows. What it gives for elements outside z is
// of no account, as the maxima leave them out.
struct WindowsOfElements : WindowsOfInput<true, TapOffset> {
    Radix pooled;

    __device__ inline WindowsOfElements(const REAL* x, const Geometry& g, int images, int group, const Radix& pooled)
        : WindowsOfInput<true, TapOffset>(x, g, images, group), pooled(pooled) {}

    __device__ inline Line line(Index i) const {
        const Element element = element_of_row(i);
        Digits d = pooled.split(element.window);
        d.middle = 2 * d.middle + element.number / 2;
        d.low = 2 * d.low + element.number % 2;
        return WindowsOfInput<true, TapOffset>::line(d);
    }
};

// Where sums of several chunks would grow: a sum is one chunk here.
struct Nowhere {
    static constexpr bool GROWS = false;
};

// What becomes of finished sums: z = sum + b, y = f(z), and the maximum of each window. b may be null.
struct StoreMaxima {
    const REAL* b;
    REAL* y;
    REAL* saved;
    unsigned char* winner;
    Index windows;
    Radix pooled;
    int out_height, out_width, columns, stride;  // columns of this group, stride from window to window

    __device__ inline void operator()(const Tiles& tiles, const REAL (&sum)[TM][TN]) const {
#pragma unroll
        for (int i = 0; i < TM; i += WINDOW) {
            const Index window = window_of_thread(tiles.first_m, thread_row(), i);
            if (window >= windows) return;
            const Digits d = pooled.split(window);
            const bool below = 2 * d.middle + 1 < out_height, right = 2 * d.low + 1 < out_width;
#pragma unroll
            for (int j = 0; j < TN / PACK_N; ++j) {
                const Index n = tiles.first_n + tile_column(j);
                if (n < columns) store(window * stride + n, n, maximum(sum, i, j * PACK_N, n, below, right));
            }
        }
    }
    __device__ inline Maximum<PACK_N> maximum(const REAL (&sum)[TM][TN], int i, int j, Index n, bool below,
                                              bool right) const {
        Maximum<PACK_N> best;
        PackN bias = {};
        if (b != nullptr) bias = load_pack(b + n, columns - n);
#pragma unroll
        for (int number = 0; number < WINDOW; ++number) {
            if ((number / 2 == 1 && !below) || (number % 2 == 1 && !right)) continue;
            PackN z;
#pragma unroll
            for (int e = 0; e < PACK_N; ++e) {
                const REAL value = sum[i + number][j + e];
                z.value[e] = b != nullptr ? value + bias.value[e] : value;
            }
            best.meet(z, number);
        }
        return best;
    }
    __device__ inline void store(Index offset, Index n, const Maximum<PACK_N>& best) const {
        store_pack(y + offset, best.y, columns - n);
        if (winner == nullptr) return;  // nor is z wanted
        store_pack(winner + offset, best.winner, columns - n);
        if (SAVES_INPUT) store_pack(saved + offset, best.z, columns - n);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, FEWER_BLOCKS)
    convolution_pooling(const REAL* __restrict__ x, const REAL* __restrict__ w, const REAL* __restrict__ b,
                        REAL* __restrict__ y, REAL* __restrict__ saved, unsigned char* __restrict__ winner,
                        Index pooled_height, Index pooled_width, Index images, GEOMETRY) {
    __shared__ Tiles tiles;
    const Geometry g = GEOMETRY_IN_INTS;
    const int group = blockIdx.y;
    const Index taps = kernel_height * kernel_width * g.group_channels;
    const int first_filter = group * g.group_filters;
    const Radix pooled{int(pooled_height), int(pooled_width)};

    const Part part(g.group_filters, taps);
    const WindowsOfElements windows(x, g, images, group, pooled);
    const Matrix<false, B_WIDTH, Plain> w_columns{{w}, g.group_filters, taps, filters, first_filter};
    REAL sum[TM][TN] = {};
    add_products(tiles, part, windows, w_columns, Nowhere{}, nullptr, sum);
    const StoreMaxima store_maxima{b != nullptr ? b + first_filter : nullptr,
                                   y + first_filter,
                                   saved != nullptr ? saved + first_filter : nullptr,
                                   winner != nullptr ? winner + first_filter : nullptr,
                                   images * pooled_height * pooled_width,
                                   pooled,
                                   g.out_height,
                                   g.out_width,
                                   g.group_filters,
                                   g.filters};
    store_maxima(tiles, sum);
}
