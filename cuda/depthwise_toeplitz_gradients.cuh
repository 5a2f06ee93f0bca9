// The gradients of taps and bias of the short convolution of channels-first tensors of 16-bit elements, on the tensor
// cores, as pieces (see `depthwise_row_gradients.cuh`):
//
//     dweight[j] = sum over t of dy[t] * x[t + j - left],    dbias = sum over t of dy[t].
//
// With j = m + 16 n, 128 taps are the sum of a product for each 16 places p = 16 i + k of a row,
//
//     dweight[m + 16 n] = sum over i of sum over k of x[p + m - left] * dy[p - 16 n],
//
// of a matrix of 16 by 16 whose entries depend on k + m alone, so that its four registers hold three values, one of them
// from the product before, with one of 16 by 8, the last 8 stretches of 16 samples of dy. Both come from shared memory,
// where x lies twice, the second time one sample further: so that pairs that begin at odd samples are words, too.
//
// Beyond the ends of a row dy is zero, and meets samples of x there: NaN and infinity in x can reach taps of their channel
// that do not read them.
//
// Bound by shared memory and the instructions that bring a tile there: 76 % of the L1's rate, 66 % of the issue slots.
#pragma once

#include "depthwise_toeplitz.cuh"

constexpr int GRADIENT_PLACES = 1920;   // of a tile: its units of x and of dy are two a thread
constexpr int GRADIENT_STEP = 96;       // places of six products of a warp; a tile has a multiple of them
constexpr int GRADIENT_THREADS = 128;

template <class T> struct GradientTile {
    static constexpr int REACH = TAP_BLOCK - 16;                  // samples of dy before a tile that it takes
    static constexpr __host__ __device__ int x_units(int places) { return (places + 32) / 8; } // of 8 samples
    static constexpr __host__ __device__ int dy_units(int places) { return (places + REACH) / 8; }
    static constexpr int X_UNITS = x_units(GRADIENT_PLACES), DY_UNITS = dy_units(GRADIENT_PLACES);
    static constexpr int LOADS = (DY_UNITS + GRADIENT_THREADS - 1) / GRADIENT_THREADS;
    // The copies begin 16 banks apart: pairs from both lie in different ones.
    static constexpr int X_PITCH = (X_UNITS | 7) + 5;
    static_assert(X_UNITS <= DY_UNITS && DY_UNITS % 2 == 0 && X_PITCH % 8 == 4 && sizeof(T) == 2);
    uint4 x[2][X_PITCH];
    // Even units and odd ones: a product takes every other one.
    static constexpr int DY_PITCH = (DY_UNITS / 2 | 7) + 5;
    uint4 dy[2][DY_PITCH];
};

// Blocks: x over channels, y over pieces, z over blocks of 128 taps.
template <class T> __device__ void toeplitz_row_gradients(const Gradient &g)
{
    typedef GradientTile<T> Tile;
    constexpr int WARPS = GRADIENT_THREADS / 32, STEPS = GRADIENT_PLACES / GRADIENT_STEP / WARPS;
    static_assert(STEPS * GRADIENT_STEP * WARPS == GRADIENT_PLACES && GRADIENT_STEP % 32 == 0);
    __shared__ Tile tile;
    __shared__ float warp_sums[WARPS][TAP_BLOCK + 1];
    const int channel = blockIdx.x, first_tap = blockIdx.z * TAP_BLOCK;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row = lane >> 2, t = lane & 3;

    // The block's items: tiles of rows, one after the other. Behind the row's end its last stretches are still needed.
    const int reach = (min(TAP_BLOCK, g.taps - first_tap) - 1) & ~15;
    const int tiles = (g.output_length + reach + GRADIENT_PLACES - 1) / GRADIENT_PLACES;
    const long long items = static_cast<long long>(g.batch) * tiles, first_item = items * blockIdx.y / gridDim.y;
    int left_over = static_cast<int>(items * (blockIdx.y + 1) / gridDim.y - first_item);
    int batch = static_cast<int>(first_item / tiles), place = static_cast<int>(first_item % tiles) * GRADIENT_PLACES;

    // The next tile, under way.
    Window<T, 9> next_x[Tile::LOADS];
    Window<T, 8> next_dy[Tile::LOADS];
    int x_start, dy_start, x_misaligned, dy_misaligned, places;
    const auto start_load = [&] {
        const T *const x = static_cast<const T *>(g.x.data) + batch * g.x.batch_stride + channel * g.x.line_stride;
        const T *const dy = static_cast<const T *>(g.dy.data) + batch * g.dy.batch_stride + channel * g.dy.line_stride;
        x_start = place - g.left + first_tap, dy_start = place - Tile::REACH;
        x_misaligned = misalignment(x), dy_misaligned = misalignment(dy);
        places = min(GRADIENT_PLACES, g.output_length + reach - place);
        places = (places + GRADIENT_STEP - 1) / GRADIENT_STEP * GRADIENT_STEP;
#pragma unroll
        for (int i = 0; i < Tile::LOADS; i++) {
            const int unit = threadIdx.x + i * GRADIENT_THREADS;
            if (unit >= Tile::dy_units(places)) break;
            next_x[i].load(x, x_start + 8 * unit, g.input_length, x_misaligned);
            next_dy[i].load(dy, dy_start + 8 * unit, g.output_length, dy_misaligned);
        }
        place += GRADIENT_PLACES;
        if (place >= tiles * GRADIENT_PLACES) place = 0, batch++;
    };

    float sums[4] = {}, bias_sum = 0.0f; // taps row and row + 8, and 16 times 2 t and one more
    if (left_over > 0) start_load();
    for (; left_over > 0; left_over--) {
        __syncthreads(); // all have read the tile before
#pragma unroll
        for (int i = 0; i < Tile::LOADS; i++) {
            const int unit = threadIdx.x + i * GRADIENT_THREADS;
            if (unit >= Tile::dy_units(places)) break;
            next_x[i].align(x_start, x_misaligned);
            next_dy[i].align(dy_start, dy_misaligned);
            const uint32_t *const x = next_x[i].words, *const dy = next_dy[i].words;
            if (unit < Tile::X_UNITS) {
                tile.x[0][unit] = make_uint4(x[0], x[1], x[2], x[3]);
                tile.x[1][unit] = make_uint4(__byte_perm(x[0], x[1], 0x5432), __byte_perm(x[1], x[2], 0x5432),
                                             __byte_perm(x[2], x[3], 0x5432), __byte_perm(x[3], x[4], 0x5432));
            }
            tile.dy[unit & 1][unit / 2] = make_uint4(dy[0], dy[1], dy[2], dy[3]);
            if (unit >= Tile::REACH / 8) {
#pragma unroll
                for (int k = 0; k < 8; k++) bias_sum += next_dy[i][k];
            }
        }
        __syncthreads();
        const int first = warp * STEPS * GRADIENT_STEP, steps = min(STEPS, (places - first) / GRADIENT_STEP);
        if (left_over > 1) start_load();

        const uint32_t *x_words = reinterpret_cast<const uint32_t *>(tile.x[row & 1]) + first / 2 + row / 2 + t;
        const uint32_t *dy_words = reinterpret_cast<const uint32_t *>(tile.dy[0] + (Tile::REACH + first) / 16 - row) + t;
        float products[2][4] = {}; // apart from the sums of all tiles: less rounding
        uint32_t samples[4];       // of places k + m from 0, 8, 8 and 16 on
        samples[3] = x_words[0];
#pragma unroll 1
        for (int step = 0; step < steps; step++) {
#pragma unroll
            for (int i = 0; i < GRADIENT_STEP / 16; i++) {
                samples[0] = samples[3];
                samples[1] = samples[2] = x_words[8 * i + 4];
                samples[3] = x_words[8 * i + 8];
                multiply_add<T>(products[i & 1], samples, dy_words[4 * i], dy_words[4 * (i + Tile::DY_PITCH)]);
            }
            x_words += GRADIENT_STEP / 2, dy_words += GRADIENT_STEP / 4;
        }
#pragma unroll
        for (int k = 0; k < 4; k++) sums[k] += products[0][k] + products[1][k];
    }

#pragma unroll
    for (int k = 0; k < 4; k++) warp_sums[warp][row + 8 * (k / 2) + 16 * (2 * t + k % 2)] = sums[k];
#pragma unroll
    for (int distance = 16; distance; distance >>= 1) bias_sum += __shfl_xor_sync(0xFFFFFFFFu, bias_sum, distance);
    if (lane == 0) warp_sums[warp][TAP_BLOCK] = bias_sum;
    leave_sums(g, channel, first_tap, warp_sums);
}
