// The running totals of a metric, to which every block of THREADS adds in a part of its own. Include reduce.cuh before.
//
//     for block b: state[b, 0] += sum_i w[i] value[i] / positions,  state[b, 1] += sum_i w[i] / positions
//
// over the rows i that its threads have taken. Sums are in double and in a fixed order.
struct Tally {
    double* state;  // (blocks, 2)
    Index positions;
    const REAL* weights;  // one for `repeats` neighbouring rows; null where every row has weight 1
    Index repeats, place, rest, step, step_rest;  // row = place repeats + rest: no division for every row, which spills
    double total, weight;

    // The rows that a thread takes begin with `first` and are `stride` apart.
    __device__ inline Tally(double* state, Index positions, const REAL* weights, Index repeats, Index first,
                            Index stride)
        : state(state), positions(positions), weights(weights), repeats(repeats), place(first / repeats),
          rest(first - place * repeats), step(stride / repeats), step_rest(stride - step * repeats), total(0),
          weight(0) {}

    // Add the value of the next row.
    __device__ inline void take(double value) {
        const double w = weights == nullptr ? 1 : static_cast<double>(weights[place]);
        total += w * value;
        weight += w;
        place += step;
        rest += step_rest;
        if (rest >= repeats) {
            rest -= repeats;
            ++place;
        }
    }

    // To be called by all threads of the block together.
    __device__ inline void finish(double* shared) {
        total = block_sum<THREADS>(total, shared);
        weight = block_sum<THREADS>(weight, shared);
        if (threadIdx.x != 0) return;
        state[2 * blockIdx.x] += total / static_cast<double>(positions);
        state[2 * blockIdx.x + 1] += weight / static_cast<double>(positions);
    }
};
