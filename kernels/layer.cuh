// What the kernels of Dense and of convolution share: elements that are read, the plain matrix operand, and the
// epilogue that adds the bias, applies the activation and drops elements.
#include "activation.cuh"
#include "dropping.cuh"
#include "gemm.cuh"

// Elements as they lie in memory.
struct Plain {
    static constexpr bool IS_MEMORY = true;
    const REAL* data;

    __device__ inline const REAL* address(Index offset) const { return data + offset; }

    template <int WIDTH>
    __device__ inline Pack<WIDTH> load(Index offset) const {
        return read_pack<WIDTH>(data + offset);
    }
};

// Blocks of a multiprocessor, as in loader.cuh: dropping's random numbers need registers too.
constexpr int FORWARD_BLOCKS = DROPS ? FEWER_BLOCKS : BLOCKS;
constexpr int GRADIENT_BLOCKS = ACTIVATION == LINEAR ? BLOCKS : FEWER_BLOCKS;

// dz = dy f'(z), computed as it is read; scaled where elements were dropped. `saved` is null for LINEAR, which does not
// need it.
struct OutputGradient {
    static constexpr bool IS_MEMORY = ACTIVATION == LINEAR;  // and nothing is dropped, as only ReLU's outputs are
    const REAL* dy;
    const REAL* saved;
    REAL scale = 1;

    __device__ inline const REAL* address(Index offset) const { return dy + offset; }
    template <int WIDTH>
    __device__ inline Pack<WIDTH> load(Index offset) const {
        Pack<WIDTH> dz = read_pack<WIDTH>(dy + offset);
        if constexpr (ACTIVATION != LINEAR) {
            const Pack<WIDTH> z = read_pack<WIDTH>(saved + offset);
#pragma unroll
            for (int e = 0; e < WIDTH; ++e) {
                dz.value[e] = gradient_before(dz.value[e], z.value[e], scale);
            }
        }
        return dz;
    }
};

// Operand: a matrix in memory, or a block of columns of one; each run starts `stride` elements after the one before,
// the first at `origin`. A run is a line if K_RUNS_, else it is all lines at one k.
template <bool K_RUNS_, int WIDTH_, class Values>
struct Matrix {
    static constexpr bool K_RUNS = K_RUNS_;
    static constexpr int WIDTH = WIDTH_;
    static constexpr bool IS_MEMORY = Values::IS_MEMORY;
    struct Line {
        Index offset;  // of the line's first element
        bool inside;
    };
    using Step = Index;  // what k adds to the place of an element

    Values values;
    Index lines, depth, stride, origin;

    __device__ inline Line line(Index i) const { return {origin + (K_RUNS ? i * stride : i), i < lines}; }
    __device__ inline Step step(Index k) const { return K_RUNS ? k : k * stride; }
    __device__ inline void advance(Step& step) const { step += K_RUNS ? BK : BK * stride; }
    __device__ inline bool is_inside(const Line& line, Step step) const {
        return line.inside && step < (K_RUNS ? depth : depth * stride);
    }
    __device__ inline const REAL* address(const Line& line, Step step) const {
        return values.address(line.offset + step);
    }
    __device__ inline Pack<WIDTH> load(const Line& line, Step step) const {
        if (!is_inside(line, step)) return {};
        return values.template load<WIDTH>(line.offset + step);
    }
};

// Epilogue: z = sum + b[n] and y = f(z), of which some are dropped; z is stored too if the gradient will need it. b may
// be null. A split stores its sums as they are, for finish.cu. `origin` is the number of the output's first element.
struct BiasActivation {
    const REAL* b;
    REAL* saved;
    bool is_split;
    Dropping dropping = {};
    Index origin = 0;

    template <class C>
    __device__ inline void operator()(const C& y, Index m, Index n, PackN pack) const {
        const Index offset = y.offset(m, n);
        const Index count = y.columns - n;
        if (!is_split) {
            if (b != nullptr) {
                const PackN bias = load_pack(b + n, count);
#pragma unroll
                for (int e = 0; e < PACK_N; ++e) pack.value[e] += bias.value[e];
            }
            if (SAVES_INPUT) store_pack(saved + offset, pack, count);
#pragma unroll
            for (int e = 0; e < PACK_N; ++e) pack.value[e] = activation(pack.value[e]);
            dropping.apply(pack.value, origin + offset);
        }
        store_pack(y.data + offset, pack, count);
    }
};
