// The gradients of the short convolution in one pass that reads x and dy and writes dx:
//
//     dx[s]     = sum over j of weight[j] * dz[s + left - j]
//     dweight[j] = sum over s of x[s] * dz[s + left - j]
//     dbias      = sum over t of dz[t]
//
// where dz = dy or, with SiLU, dy times its derivative at the sum z, which is made again.
// Both of the first two read the same window of dz. Blocks leave their part of the sums as
// a piece; `depthwise_sum_pieces` adds the pieces in order, so results are reproducible.
// Bound by device memory.
#pragma once

#include "depthwise_frames.cuh"
#include "depthwise_rows.cuh"

// The derivative of z * sigmoid(z).
template <class T> __device__ inline float silu_slope(float z)
{
    const float s = sigmoid<T>(z);
    return fmaf(s * (1.0f - s), z, s);
}

// Channels-first. Threads: x over vectors of dx in rows of one channel. Blocks: x over channels, y over pieces.
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

    RowItems items(g.vectors_a_row, g.batch, blockIdx.y, gridDim.y);
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
    if (!g.pieces) return;

    __shared__ float warp_sums[32][K + 1];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int j = 0; j <= K; j++) {
        float sum = j < K ? dweight[j < K ? j : 0] : dbias;
#pragma unroll
        for (int distance = 16; distance; distance >>= 1) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
        if (lane == 0) warp_sums[warp][j] = sum;
    }
    __syncthreads();
    if (threadIdx.x <= g.taps) {
        float sum = 0.0f;
        for (int i = 0; i < blockDim.x >> 5; i++) sum += warp_sums[i][threadIdx.x < g.taps ? threadIdx.x : K];
        g.pieces[(blockIdx.y * static_cast<long long>(g.channels) + channel) * (g.taps + 1) + threadIdx.x] = sum;
    }
}

// As `FRAMES_A_TURN`, with fewer registers.
template <int K> constexpr int GRADIENT_FRAMES_A_TURN = K == 3 ? 6 : K == 5 ? 10 : K < 4 ? 4 : K;

// Channels-last. Threads: x over groups of channels, y over pieces of frames. Blocks: x over groups, y over pieces,
// z over every so many-th batch item. Exactly K taps or, where K = MANY_TAPS, at most so many.
template <class T, int K, int C, bool SILU, int FRAMES = GRADIENT_FRAMES_A_TURN<K>>
__device__ void frame_gradients(const Gradient &g)
{
    static_assert(FRAMES % K == 0);
    const int width = blockDim.x * C;
    const int first_channel = blockIdx.x * width;
    float *shared = stage_parameters<K>(g, first_channel, width);
    float weight[K][C], bias[C], dweight[K][C] = {}, dbias[C] = {};
#pragma unroll
    for (int j = 0; j < K; j++) copy_group<C>(shared + j * width + threadIdx.x * C, weight[j]);
    copy_group<C>(shared + K * width + threadIdx.x * C, bias);

    const int channel = first_channel + threadIdx.x * C;
    const long long piece = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    const bool active = channel < g.channels && piece * g.piece_length < g.input_length;
    const int start = active ? static_cast<int>(piece) * g.piece_length : 0;
    const int count = active ? min(g.input_length - start, g.piece_length) : 0;
    for (long long batch = blockIdx.z; active && batch < g.batch; batch += gridDim.z) {
        const Frames<T, C> x = {static_cast<const T *>(g.x.data) + batch * g.x.batch_stride + channel,
                                g.x.line_stride, g.input_length};
        const Frames<T, C> dy = {static_cast<const T *>(g.dy.data) + batch * g.dy.batch_stride + channel,
                                 g.dy.line_stride, g.output_length};
        T *dx = static_cast<T *>(g.dx) + (batch * g.input_length + start) * g.channels + channel;

        // Step m is at frame start - (K - 1) + m of x. The frame of dz that it needs last, `left`
        // further on, is at m % K of dz; with SiLU that of x which is K - 1 further on at
        // (m + K - 1) % K of x_window, whose oldest one is its own. The first K - 1 steps only fill dz.
        constexpr int AHEAD = SILU ? K - 1 : 0;
        float dz[K][C], x_window[SILU ? K : 1][C];
        const auto advance = [&](int m, const Group<T, C> &new_dy, const Group<T, C> &new_x) {
            new_x.unpack(x_window[SILU ? (m + K - 1) % K : 0]);
            new_dy.unpack(dz[m % K]);
            if (SILU) {
                float z[C];
#pragma unroll
                for (int k = 0; k < C; k++) z[k] = bias[k];
#pragma unroll
                for (int j = 0; j < K; j++) {
                    if (K == MANY_TAPS && j >= g.taps) break;
#pragma unroll
                    for (int k = 0; k < C; k++) z[k] = fmaf(weight[j][k], x_window[SILU ? (m + j) % K : 0][k], z[k]);
                }
#pragma unroll
                for (int k = 0; k < C; k++) dz[m % K][k] *= silu_slope<T>(z[k]);
            }
        };
        const auto add_to_bias = [&](int m) {
#pragma unroll
            for (int k = 0; k < C; k++) dbias[k] += dz[m % K][k];
        };

        Group<T, C> next_dy[FRAMES], next_x[FRAMES];
        if constexpr (K > 1) {
            Group<T, C> first_dy[K - 1], first_x[2 * (K - 1)] = {};
            dy.load(start - (K - 1) + g.left, first_dy);
            if constexpr (SILU) x.load(start - (K - 1), first_x);
            dy.load(start + g.left, next_dy);
            x.load(start + AHEAD, next_x);
            if constexpr (SILU) {
#pragma unroll
                for (int m = 0; m < K - 1; m++) first_x[m].unpack(x_window[m]);
            }
#pragma unroll
            for (int m = 0; m < K - 1; m++) {
                advance(m, first_dy[m], first_x[K - 1 + m]);
                if (start == 0) add_to_bias(m);
            }
        } else {
            dy.load(start + g.left, next_dy);
            x.load(start + AHEAD, next_x);
        }
        // A turn over FRAMES frames of dx; as each one is taken its place is loaded with that of the next turn.
        for (int s = 0; s < count; s += FRAMES) {
            const int coming_dy = start + s + FRAMES + g.left, coming_x = start + s + FRAMES + AHEAD;
            // INSIDE: no frame needs a check.
            const auto turn = [&](auto inside) {
                constexpr bool INSIDE = decltype(inside)::value;
                const T *at_dy = dy.data + coming_dy * dy.stride, *at_x = x.data + coming_x * x.stride;
#pragma unroll
                for (int u = 0; u < FRAMES; u++) {
                    if (!INSIDE && s + u >= count) break;
                    const int m = u + K - 1;
                    advance(m, next_dy[u], next_x[u]);
                    if (INSIDE) {
                        next_dy[u].load(at_dy);
                        next_x[u].load(at_x);
                        at_dy += dy.stride, at_x += x.stride;
                    } else if (s + FRAMES + u < count) {
                        next_dy[u] = dy[coming_dy + u];
                        next_x[u] = x[coming_x + u];
                    }
                    add_to_bias(m);
                    float sums[C] = {};
#pragma unroll
                    for (int j = 0; j < K; j++) {
                        if (K == MANY_TAPS && j >= g.taps) break;
                        const float *x_now = x_window[SILU ? m % K : 0], *dz_then = dz[(m + K - j) % K];
#pragma unroll
                        for (int k = 0; k < C; k++) {
                            sums[k] = fmaf(weight[j][k], dz_then[k], sums[k]);
                            dweight[j][k] = fmaf(x_now[k], dz_then[k], dweight[j][k]);
                        }
                    }
                    if (g.dx) {
                        Group<T, C> output;
                        output.pack(sums);
                        output.store(dx);
                    }
                    dx += g.channels;
                }
            };
            if (s + 2 * FRAMES <= count && coming_dy >= 0 && coming_dy <= dy.length - FRAMES &&
                coming_x <= x.length - FRAMES) {
                turn(Constant<true>{});
            } else {
                turn(Constant<false>{});
            }
        }
    }
    if (!g.pieces) return;

    const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
    const long long block_piece = static_cast<long long>(blockIdx.z) * gridDim.y + blockIdx.y;
    float *pieces = g.pieces + (block_piece * g.channels + first_channel) * (g.taps + 1);
#pragma unroll
    for (int j = 0; j <= K; j++) {
        if (K == MANY_TAPS && j >= g.taps && j < K) continue;
        __syncthreads();
#pragma unroll
        for (int k = 0; k < C; k++) {
            shared[threadIdx.y * width + threadIdx.x * C + k] = j < K ? dweight[j < K ? j : 0][k] : dbias[k];
        }
        __syncthreads();
        for (int i = thread; i < width && first_channel + i < g.channels; i += threads) {
            float sum = 0.0f;
            for (int row = 0; row < blockDim.y; row++) sum += shared[row * width + i];
            pieces[static_cast<long long>(i) * (g.taps + 1) + (j < K ? j : g.taps)] = sum;
        }
    }
}
