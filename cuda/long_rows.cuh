// Convolution of rows of P = A M samples that are too long for the chip: A = 16 B, in three phases over groups of
// rows, whose intermediate results, complex f16, go through device memory.
//
// n = X M + m, frequencies kX + A k'.
// 1. Columns (long_columns.cuh): A-point DFTs over X, twiddle exp(-2 pi i (kX - weight) m / P), rows kX of M points
//    to the workspace.
// 2. Rows (long_last_rows.cuh): transform of M points, product with the spectrum, and back, in place.
// 3. The inverse of the columns (long_inverse_columns.cuh), real part, out-gate, store.
// Rows of M = 32768 take the columns of 16 points first, and last (long_middle_columns.cuh), where they do not fit the
// shared memory (long_block_rows.cuh).
//
// Scale: each tile is brought to the scale of its largest sample, which the rows undo when they know the sums of the
// squares of all tiles. The transforms are unitary, and the norm of the kernel is below 2. So, by the norms, no number
// exceeds 2 P r, r the root mean square of the scaled row: r below 2^14 / P.
//
// Bound by memory where groups are large: the passes take a tenth more than copies with the same accesses, which read
// and write three times what the convolution has to. Small groups stay in the L2, but a launch costs more than that gains.
#pragma once
#include "row_range.cuh"

struct LongRows {
    Convolution c;
    void *workspace; // [row of the group][kX][re or im][m], f16
    float2 *tiles;   // [row of the group][place]: what a tile was multiplied by, and the sum of squares after that
    float *unscale;  // [row of the group]: one over what the row was multiplied by
    int first, rows; // the group: rows by number channel * batch size + batch
    int points;      // M
    float weight;
};

constexpr int TILE = 64; // samples of a block of columns

extern __shared__ __align__(1024) uint4 shared_memory[];

// A power of two from the exponent of an f32 as its bits have it; 0 below their range, infinite above.
DEVICE float power_of_two(int biased) { return __int_as_float(min(max(biased, 0), 255) << 23); }
DEVICE int biased_exponent(float power) { return __float_as_int(power) >> 23; }

// The power of two that brings numbers up to this magnitude (the bits of an f32) below 1; 1 where they are not finite.
DEVICE float tile_scale(unsigned peak)
{
    const int exponent = peak >> 23;
    return exponent == 255 ? 1.f : power_of_two(max(253 - exponent, 1));
}
// Sums of squares are counted in fixed point, the same in any order: a unit, and the most of a thread, so that those of a
// block do not wrap.
constexpr float SQUARES_UNIT = 65536, MOST_SQUARES = 1 << 23;

// The exponent, as the bits have it, of the power of two that brings the root mean square of a row of `size` samples
// below 2^14 / size: from the least scale of its tiles and the sum of the squares, brought to that scale.
DEVICE int row_exponent(float least, float squares, int size)
{
    const float mean = squares / size;
    const int log_size = 31 - __clz(size);
    return mean > 0 ? min(max(biased_exponent(least) + 13 - log_size - (ilogbf(mean) >> 1), 1), 253) : 127;
}
// What the squares of a tile are multiplied by to be brought to the least scale.
DEVICE float squared_ratio(float least, float scale)
{
    const float ratio = power_of_two(127 + biased_exponent(least) - biased_exponent(scale));
    return ratio * ratio;
}

// Rows beyond one pass of rows: block for each row of the group; what is left of a tile is what it is yet to be
// multiplied by.
DEVICE void long_row_scales(const LongRows &a, int size)
{
    __shared__ float least_of_warps[8], squares_of_warps[8];
    const int places = a.points / TILE, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float2 *tiles = a.tiles + (size_t)blockIdx.x * places;
    float least = INFINITY;
    for (int i = threadIdx.x; i < places; i += 256)
        least = fminf(least, tiles[i].x);
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        least = fminf(least, __shfl_xor_sync(0xffffffffu, least, offset));
    if (lane == 0)
        least_of_warps[warp] = least;
    __syncthreads();
    for (int i = 0; i < 8; i++)
        least = fminf(least, least_of_warps[i]);
    float squares = 0;
    for (int i = threadIdx.x; i < places; i += 256)
        squares += tiles[i].y * squared_ratio(least, tiles[i].x);
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        squares += __shfl_xor_sync(0xffffffffu, squares, offset);
    if (lane == 0)
        squares_of_warps[warp] = squares;
    __syncthreads();
    squares = 0;
    for (int i = 0; i < 8; i++)
        squares += squares_of_warps[i];
    const int exponent = row_exponent(least, squares, size);
    for (int i = threadIdx.x; i < places; i += 256)
        tiles[i].x = power_of_two(127 + exponent - biased_exponent(tiles[i].x));
    if (threadIdx.x == 0)
        a.unscale[blockIdx.x] = power_of_two(254 - exponent);
}
