// The gradients of the short convolution of channels-last tensors, as `depthwise_row_gradients.cuh`
// has them: one pass over tiles of x and dy in shared memory, the next ones under way, in which
// each thread owns C channels and slides along frames with the last K of dz in registers.
#pragma once

#include "depthwise_tiles.cuh"

constexpr int GRADIENT_FRAMES = 4; // of dx, that a thread makes at a time

// C floats, loaded and stored at once.
template <int C> struct alignas(4 * C) Floats {
    float values[C];
};

// Blocks: x over groups of channels, y over every so many-th tile of all batch items. Exactly K taps. The channels are whole
// groups of C, and the pieces begin at a multiple of 16 bytes.
template <class T, int K, int C, bool SILU> __device__ void frame_gradients(const Gradient &g)
{
    constexpr int TILE_FRAMES = TILE_LINES * GRADIENT_FRAMES;
    // The frames of dy that a tile reads begin `left` - (K - 1) behind its own, those of x K - 1 before or, without
    // the activation, with its own.
    constexpr int DY_ROWS = TILE_FRAMES + K - 1, BEFORE = SILU ? K - 1 : 0, X_ROWS = TILE_FRAMES + 2 * BEFORE;
    using Parameters = TileParameters<T, K, C>;
    using FrameTile = Tile<T, C>;
    constexpr int WIDTH = FrameTile::WIDTH;
    const int first_channel = blockIdx.x * WIDTH, channel = first_channel + threadIdx.x * C;
    const int count = g.channels - first_channel;
    float *const shared = reinterpret_cast<float *>(depthwise_shared);
    T *const stages = reinterpret_cast<T *>(shared + Parameters::FLOATS);
    const int dy_length = min(g.output_length, g.input_length + g.left); // what x reaches
    TilesInTurn<TILE_FRAMES> now(g.input_length, blockIdx.y, gridDim.y), ahead = now;
    int next_stage = 0;
    const auto load_next = [&] {
        if (ahead.batch >= g.batch) return;
        const int s = ahead.tile * TILE_FRAMES;
        const T *x = static_cast<const T *>(g.x.data) + ahead.batch * g.x.batch_stride + first_channel;
        const T *dy = static_cast<const T *>(g.dy.data) + ahead.batch * g.dy.batch_stride + first_channel;
        T *to = stages + next_stage * (DY_ROWS + X_ROWS) * WIDTH;
        FrameTile::template fill<DY_ROWS>(to, dy, g.dy.line_stride, s + g.left - (K - 1), dy_length, count);
        to += DY_ROWS * WIDTH;
        FrameTile::template fill<X_ROWS>(to, x, g.x.line_stride, s - BEFORE, g.input_length, count);
        ahead.advance();
        next_stage ^= 1;
    };

    // Two tiles are under way at once.
    load_next();
    Parameters::stage(shared, g, first_channel, count);
    end_group_of_copies();
    load_next();
    end_group_of_copies();
    wait_for_copies<1>();
    __syncthreads();
    float weight[K][C], bias[C], dweight[K][C] = {}, dbias[C] = {};
    Parameters::load(shared, weight, bias);
    int stage = 0;
    for (; now.batch < g.batch; now.advance()) {
        const int s = now.tile * TILE_FRAMES + threadIdx.y * GRADIENT_FRAMES;
        const T *from_dy = stages + (stage * (DY_ROWS + X_ROWS) + threadIdx.y * GRADIENT_FRAMES) * WIDTH + threadIdx.x * C;
        const T *from_x = from_dy + DY_ROWS * WIDTH;
        T *dx = static_cast<T *>(g.dx) + (static_cast<long long>(now.batch) * g.input_length + s) * g.channels + channel;
        Group<T, C> group;
        // Frame i of dz, which is `left` - (K - 1) + i behind s, at i % K. With SiLU frame i of x, K - 1 before, likewise.
        float dz[K][C], x_window[K][C];
        if constexpr (SILU) {
#pragma unroll
            for (int i = 0; i < K - 1; i++) {
                group.load(from_x + i * WIDTH);
                group.unpack(x_window[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < GRADIENT_FRAMES + K - 1; i++) {
            const int u = i - (K - 1);
            group.load(from_dy + i * WIDTH);
            group.unpack(dz[i % K]);
            if constexpr (SILU) {
                group.load(from_x + (i + K - 1) * WIDTH);
                group.unpack(x_window[(i + K - 1) % K]);
                float z[C];
#pragma unroll
                for (int k = 0; k < C; k++) z[k] = bias[k];
#pragma unroll
                for (int j = 0; j < K; j++) {
#pragma unroll
                    for (int k = 0; k < C; k++) z[k] = fmaf(weight[j][k], x_window[(i + j) % K][k], z[k]);
                }
#pragma unroll
                for (int k = 0; k < C; k++) dz[i % K][k] *= silu_slope<T>(z[k]);
            }
            if (u < 0) continue;
#pragma unroll
            for (int k = 0; k < C; k++) dbias[k] += dz[i % K][k];
            if (u == 0 && s == 0) { // elsewhere those before are another thread's
#pragma unroll
                for (int before = 0; before < K - 1; before++) {
#pragma unroll
                    for (int k = 0; k < C; k++) dbias[k] += dz[before][k];
                }
            }
            if constexpr (!SILU) {
                group.load(from_x + u * WIDTH);
                group.unpack(x_window[0]);
            }
            float sums[C] = {};
#pragma unroll
            for (int j = 0; j < K; j++) {
                const float *x_now = x_window[SILU ? i % K : 0], *dz_then = dz[(i + K - j) % K];
#pragma unroll
                for (int k = 0; k < C; k++) {
                    sums[k] = fmaf(weight[j][k], dz_then[k], sums[k]);
                    dweight[j][k] = fmaf(x_now[k], dz_then[k], dweight[j][k]);
                }
            }
            if (g.dx && s + u < g.input_length && channel < g.channels) {
                group.pack(sums);
                group.store(dx);
            }
            dx += g.channels;
        }
        __syncthreads(); // all have read the tile
        load_next();
        end_group_of_copies();
        wait_for_copies<1>();
        __syncthreads();
        stage ^= 1;
    }
    if (!wants_sums(g)) return;

    // The sums of all lines of threads, where parameters and tiles were. Those of a thread's channels lie as in the pieces,
    // UNITS units of C floats; an odd distance between threads keeps them in different banks.
    constexpr int UNITS = K + 1, PITCH = (UNITS | 1) * C;
    typedef Floats<C> Unit;
    Unit units[UNITS];
#pragma unroll
    for (int k = 0; k < C; k++) {
#pragma unroll
        for (int j = 0; j <= K; j++) {
            const int at = k * UNITS + j;
            units[at / C].values[at % C] = j < K ? dweight[j < K ? j : 0][k] : dbias[k];
        }
    }
    const int thread = threadIdx.y * TILE_THREADS + threadIdx.x;
    Unit *const own = reinterpret_cast<Unit *>(shared + thread * PITCH);
#pragma unroll
    for (int i = 0; i < UNITS; i++) own[i] = units[i];
    __syncthreads();
    for (int i = thread; i < min(WIDTH, count) / C * UNITS; i += FrameTile::THREADS) {
        const Unit *const from = reinterpret_cast<const Unit *>(shared + i / UNITS * PITCH) + i % UNITS;
        Unit sum = {};
#pragma unroll
        for (int line = 0; line < TILE_LINES; line++) {
            const Unit part = from[line * (TILE_THREADS * PITCH / C)];
#pragma unroll
            for (int k = 0; k < C; k++) sum.values[k] += part.values[k];
        }
        if (g.pieces) {
            const long long first = (blockIdx.y * static_cast<long long>(g.channels) + first_channel) * UNITS;
            reinterpret_cast<Unit *>(g.pieces + first)[i] = sum;
        } else {
#pragma unroll
            for (int k = 0; k < C; k++) {
                const int at = i * C + k;
                write_sum(g.weight_gradient, g.bias_gradient, K, first_channel + at / UNITS, at % UNITS, sum.values[k]);
            }
        }
    }
}
