// Tiles of the columns of long_rows.cuh: where they lie in shared memory, and in which order blocks take them.
//
// A block takes A rows of 64 samples, a tile, through shared memory, a warp 8 samples of them. X = B X' + j, and
// kX = k' + 16 k: X' by a matrix product that has the twiddle of j folded in, j by a butterfly over registers. A block
// stays at the same place m of one row after the other, for which it keeps the twiddles of m in registers; the blocks
// of all places take a row together.
#pragma once
#include "async_copy.cuh"
#include "long_rows.cuh"
#include "long_twiddles.cuh"
#include "row_stages.cuh"
#include "tensor_core.cuh"

// Shared memory of the columns: matrices [j][re or im][32 lanes], then a plane of real and one of imaginary parts:
// row X or k' B + k, 8 units of 8 samples, the unit number swizzled by X' or k'.
template <int B> struct Columns {
    static constexpr int A = 16 * B, TABLE = B * 64, PLANE = A * 128; // uint4, bytes
    static constexpr int VECTORS = B / 2; // of 8 samples, for each thread
    static DEVICE int place(int digit, int j, int unit) { return (digit * B + j) * 128 + ((unit ^ (digit & 7)) << 4); }
    static DEVICE int place(int row, int unit) { return row * 128 + ((unit ^ (row / B & 7)) << 4); }
};

// Has 8 neighbouring samples copied to shared memory, where this thread may read them after wait_for_copies.
template <Mode MODE, typename T> DEVICE void copy_samples(Word to, const T *row, int first, const Convolution &c)
{
    if (MODE == Mode::Whole) {
        copy_16_bytes(to, row + first);
    } else if (c.vectors) {
        copy_16_bytes(to, row + first, first < c.length);
    } else { // at once: they begin anywhere
        Word samples[4];
        load_samples<8, MODE>(samples, row, first, c);
        store_words(to, samples);
    }
}

// The rows of a group that a block takes one after the other, `step` apart.
struct RowSteps {
    int index, batch, channel, step, batch_step, channel_step;
    DEVICE RowSteps(const LongRows &a, int index, int step) : index(index), step(step)
    {
        const int number = a.first + index;
        channel = number / a.c.batch;
        batch = number - channel * a.c.batch;
        channel_step = step / a.c.batch;
        batch_step = step - channel_step * a.c.batch;
    }
    DEVICE void next(int batches)
    {
        index += step;
        batch += batch_step;
        channel += channel_step;
        if (batch >= batches) {
            batch -= batches;
            channel++;
        }
    }
    template <typename T> DEVICE Row<T> row(const LongRows &a) const { return Row<T>(a.c, batch, channel); }
};

// Calls body(first sample of a tile, its place, rows from the first of some to the end of others, rows from one to the
// next). Blocks of all places take a row together where there are so many; else each takes as many tiles as the others.
template <typename Body> DEVICE void for_each_place(const LongRows &a, const Body &body)
{
    const int places = a.points / TILE, blocks = gridDim.x;
    const bool together = blocks >= places;
    const int tiles = places * a.rows; // some thousands: the workspace is small
    int tile = together ? 0 : tiles * blockIdx.x / blocks;
    const int end = together ? 1 : tiles * (blockIdx.x + 1) / blocks;
#pragma unroll 1
    while (tile < end) {
        const int place = together ? blockIdx.x % places : tile / a.rows;
        const int row = together ? blockIdx.x / places : tile - place * a.rows;
        const int rows = together ? a.rows : min(a.rows, row + end - tile);
        body(place * TILE, place, row, rows, together ? blocks / places : 1);
        tile += together ? 1 : rows - row;
    }
}
