// The data gradient as implicit GEMM, without the zeros that strides leave between windows.
//
// The pixels of x whose rows leave the same remainder when divided by stride_h, and their columns by stride_w, make up
// a phase. Along an axis window p has pixel h under tap r where p stride + r dilation = h + pad. So the taps that can
// meet a pixel are the same for a whole phase: every step-th one, step = stride / gcd(stride, dilation), and from one
// to the next p goes back by dilation / gcd(stride, dilation). That makes the phase a convolution of dz with strides of
// 1. A phase may have no tap at all: its sums are empty, and dx is 0 there.
#include "windows.cuh"

// Where STRIDED is 0 strides are 1, and the compiler shall know.
__device__ inline Geometry with_known_strides(Geometry g) {
    if (!STRIDED) g.stride_h = g.stride_w = 1;
    return g;
}

__device__ inline int greatest_common_divisor(int a, int b) {
    while (b != 0) {
        const int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// A phase along one axis: its pixel i is number `first + i * stride` of x, its tap j number `tap + j * step` of the
// filter, and the two meet in window `window + i - j * dilation`. There is one for each of the first `stride` pixels.
struct Phase {
    int first, pixels;
    int tap, taps, step;
    int window, dilation;

    __device__ inline Phase(int first, int size, int pad, int kernel, int stride, int dilation_of_kernel)
        : first(first),
          pixels((size - first + stride - 1) / stride),
          tap(first_tap(first + pad, stride, dilation_of_kernel, kernel)) {
        const int divisor = greatest_common_divisor(dilation_of_kernel, stride);
        step = stride / divisor;
        taps = (kernel - tap + step - 1) / step;
        window = (first + pad - tap * dilation_of_kernel) / stride;
        dilation = dilation_of_kernel / divisor;
    }
    // How many there are along an axis. The first has the most pixels.
    __device__ static inline int count(int size, int stride) { return stride == 1 || stride < size ? stride : size; }
};

// Where the rows of the block's tile begin in dx: found by division once, they wait in shared memory for the end of a
// chunk, as the tile's place does. With strides of 1 they are dx's own rows.
struct Rows {
    Index begin[STRIDED ? BM : 1];
};

// Where the sums of a phase go: row m of the product is the phase's pixel number m.
struct PixelsOfPhase : Output {
    const Rows& row;

    __device__ inline Index offset(Index m, Index n) const {
        return STRIDED ? row.begin[static_cast<unsigned>(m) % BM] + n : Output::offset(m, n);
    }
};

// Operand: element (channel, tap of the phase) = w[filter row, filter column, channel, filter], where a tap is (filter
// row, filter column, filter).
struct FiltersOfPhase {
    static constexpr bool K_RUNS = true;
    static constexpr bool IS_MEMORY = true;
    static constexpr int WIDTH = B_WIDTH;  // filters
    using Line = Index;                    // offset; negative outside
    using Step = Position<TapOffset>;

    const REAL* w;
    Index first, filters;  // offset of the first element; from a channel to the next
    int group_channels, rows;
    Walk<TapOffset> taps;

    __device__ inline FiltersOfPhase(const REAL* w, const Geometry& g, const Phase& row, const Phase& column, int group)
        : w(w),
          first((static_cast<Index>(row.tap) * g.kernel_width + column.tap) * g.group_channels * g.filters +
                group * g.group_filters),
          filters(g.filters),
          group_channels(g.group_channels),
          rows(row.taps),
          taps{{column.taps, g.group_filters},
               static_cast<TapOffset>(filters * g.group_channels * g.kernel_width * row.step),
               static_cast<TapOffset>(filters * g.group_channels * column.step), 1} {}

    __device__ inline Line line(Index i) const { return i < group_channels ? first + i * filters : -1; }
    __device__ inline Step step(Index k) const { return taps.at(k); }
    __device__ inline void advance(Step& step) const { taps.advance(step); }
    __device__ inline bool is_inside(Line line, const Step& step) const {
        return line >= 0 && step.digits.high < rows;
    }
    __device__ inline const REAL* address(Line line, const Step& step) const { return w + line + step.offset; }
    __device__ inline Pack<WIDTH> load(Line line, const Step& step) const {
        if (!is_inside(line, step)) return {};
        return read_pack<WIDTH>(address(line, step));
    }
};

// Fill `rows` for the tile that begins at `first_m`.
__device__ inline void find_rows(Rows& rows, const Geometry& g, const Phase& h, const Phase& w, Index first_m) {
    for (int i = threadIdx.x; i < BM; i += THREADS) {
        const Digits d = Radix{h.pixels, w.pixels}.split(first_m + i);
        const Index row = static_cast<Index>(d.high) * g.height + h.first + d.middle * g.stride_h;
        rows.begin[i] = (row * g.width + w.first + d.low * g.stride_w) * g.channels;
    }
    __syncthreads();
}

// Compute this block's part of the data gradient. `dz` are the values of dz, `by` is how they lie in memory, `dx` is
// where the sums of the block's split go, and `epilogue` stores those of its group. grid.x counts tiles as Part does,
// but a row of tiles of every phase comes before the next of any: so blocks that read the same part of dz are
// neighbours. A split of a phase with fewer taps than others may be empty; it stores zeros.
template <class Values, class Epilogue = Store>
__device__ inline void input_gradient(Tiles& tiles, Rows& rows, const Values& dz, const Spacing& by, const REAL* w,
                                      const Geometry& g, int images, REAL* dx, const Epilogue& epilogue = {}) {
    const int group = blockIdx.y;
    const Index row = blockIdx.x / ceil_div(g.group_channels, BN);
    const int columns = Phase::count(g.width, g.stride_w);
    const Index phases = static_cast<Index>(columns) * Phase::count(g.height, g.stride_h);
    const Index number = row % phases;
    Phase h(int(number / columns), g.height, g.top, g.kernel_height, g.stride_h, g.dilation_h);
    Phase v(int(number % columns), g.width, g.left, g.kernel_width, g.stride_w, g.dilation_w);
    if (v.taps == 0) {  // nor is there any in two directions
        h.taps = 0;
        v.taps = 1;
    }

    Part part(g.group_channels, static_cast<Index>(h.taps) * v.taps * g.group_filters);
    part.first_m = row / phases * BM;
    const Index pixels = static_cast<Index>(images) * h.pixels * v.pixels;
    if (part.first_m >= pixels) return;  // the first phase has more
    if constexpr (STRIDED) find_rows(rows, g, h, v, part.first_m);
    const PixelsOfPhase out{{dx + group * g.group_channels, pixels, g.group_channels, g.channels}, rows};
    const Axis rows_of_dz{g.out_height, h.window, h.pixels, 1, h.taps, -h.dilation};
    const Axis columns_of_dz{g.out_width, v.window, v.pixels, 1, v.taps, -v.dilation};
    const Windows<true, Values, TapOffset> windows(dz, images, rows_of_dz, columns_of_dz, by, group * g.group_filters,
                                                   g.group_filters);
    gemm(tiles, part, windows, FiltersOfPhase(w, g, h, v, group), out, nullptr, epilogue);
}
