// The gradients of the short convolution of channels-first tensors in one pass that reads x and dy and writes dx:
//
//     dx[s]     = sum over j of weight[j] * dz[s + left - j]
//     dweight[j] = sum over s of x[s] * dz[s + left - j]
//     dbias      = sum over t of dz[t]
//
// where dz = dy or, with SiLU, dy times its derivative at the sum z, which is made again.
// Both of the first two read the same window of dz. Where several blocks share a channel each leaves
// its part of the sums as a piece; `depthwise_sum_pieces` adds the pieces in order, so results are
// reproducible.
// Bound by device memory.
#pragma once

#include "depthwise_rows.cuh"

// Threads: x over vectors of dx in rows of one channel, y over parts of the block's work. Blocks: x over channels, y over
// pieces.
// Exactly K taps or, where K = MANY_TAPS, at most so many. SHIFT: that of the window of dy, see
// `Window`; where it is known the rows of dx have to be like those of x and dy.
template <class T, int K, bool SILU, int SHIFT> __device__ void row_gradients(const Gradient &g)
{
    constexpr int V = VECTOR<T>;
    const int channel = blockIdx.x;
    float weight[K], dweight[K], dbias = 0.0f;
#pragma unroll
    for (int j = 0; j < K; j++) dweight[j] = 0.0f;
    read_taps<K>(g.weight, channel, K == MANY_TAPS ? g.taps : K, weight);
    const float bias = SILU ? read_bias(g.bias, channel) : 0.0f;

    RowItems items(g.vectors_a_row, g.batch, blockIdx.y * blockDim.y + threadIdx.y, gridDim.y * blockDim.y);
    const T *const x_rows = static_cast<const T *>(g.x.data) + channel * g.x.line_stride;
    const T *const dy_rows = static_cast<const T *>(g.dy.data) + channel * g.dy.line_stride;

    // At sample s of dx: dy_window starts at s + left - (K - 1), x_window at s - BEFORE.
    constexpr int BEFORE = SILU ? K - 1 : 0;
    using DyWindow = Window<T, V + K - 1, SHIFT>;
    using XWindow = Window<T, V + 2 * BEFORE, SHIFT < 0 ? ANY_SHIFT : SHIFT_OF<T, -BEFORE>>;
    DyWindow next_dy;
    XWindow next_x;
    T *next_dx;
    int next_s, x_misaligned, dy_misaligned;
    const auto start_load = [&] {
        const T *x = x_rows + items.batch * g.x.batch_stride, *dy = dy_rows + items.batch * g.dy.batch_stride;
        next_dx = static_cast<T *>(g.dx) + (static_cast<long long>(items.batch) * g.channels + channel) * g.input_length;
        x_misaligned = SHIFT < 0 ? misalignment(x) : 0, dy_misaligned = SHIFT < 0 ? misalignment(dy) : 0;
        next_s = items.position<T>();
        if (SHIFT < 0) next_s -= misalignment(next_dx);
        // Behind the row there is nothing to load.
        next_dy.load(dy, next_s + g.left - (K - 1), next_s < g.input_length ? g.output_length : 0, dy_misaligned);
        next_x.load(x, next_s - BEFORE, next_s < g.input_length ? g.input_length : 0, x_misaligned);
    };
    if (items.left_over > 0) start_load();
    while (items.left_over > 0) {
        DyWindow dy_window = next_dy;
        XWindow x_window = next_x;
        T *const dx = next_dx;
        const int s = next_s;
        dy_window.align(s + g.left - (K - 1), dy_misaligned);
        x_window.align(s - BEFORE, x_misaligned);
        items.advance(g.batch);
        if (items.left_over > 0) start_load();

        float dz[V + K - 1];
#pragma unroll
        for (int i = 0; i < V + K - 1; i++) {
            dz[i] = dy_window[i];
            if (SILU) {
                float z = bias;
#pragma unroll
                for (int j = 0; j < K; j++) {
                    if (K == MANY_TAPS && j >= g.taps) break;
                    z = fmaf(weight[j], x_window[i + j], z);
                }
                dz[i] *= silu_slope<T>(z);
            }
        }

        float sums[V] = {};
#pragma unroll
        for (int j = 0; j < K; j++) {
            if (K == MANY_TAPS && j >= g.taps) break;
#pragma unroll
            for (int u = 0; u < V; u++) {
                sums[u] = fmaf(weight[j], dz[u + K - 1 - j], sums[u]);
                dweight[j] = fmaf(x_window[u + BEFORE], dz[u + K - 1 - j], dweight[j]);
            }
        }
#pragma unroll
        for (int u = 0; u < V; u++) dbias += dz[u + K - 1];
        if (s <= 0) { // those that lie before all others
#pragma unroll
            for (int i = 0; i < K - 1; i++) dbias += dz[i];
        }
        if (g.dx) {
            uint32_t words[4];
            pack_vector<T>(sums, words);
            store_vector(dx, s, g.input_length, SHIFT < 0, words);
        }
    }
    if (!wants_sums(g)) return;

    __shared__ float warp_sums[32][K + 1];
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, lane = thread & 31, warp = thread >> 5;
#pragma unroll
    for (int j = 0; j <= K; j++) {
        float sum = j < K ? dweight[j < K ? j : 0] : dbias;
#pragma unroll
        for (int distance = 16; distance; distance >>= 1) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
        if (lane == 0) warp_sums[warp][j] = sum;
    }
    __syncthreads();
    if (thread <= g.taps) {
        float sum = 0.0f;
        const int warps = blockDim.x * blockDim.y >> 5;
        for (int i = 0; i < warps; i++) sum += warp_sums[i][thread < g.taps ? thread : K];
        leave_sum(g, channel, thread, sum);
    }
}
