// The gradients of the short convolution of channels-first tensors of 16-bit elements with up to 16 taps, on the tensor
// cores, in one pass, where rows begin at multiples of 16 bytes and hold whole units of 8 samples, or where those of x and dy
// begin as far behind such a multiple as those of dx; x and dy have the same length. As in depthwise_units.cuh, unit u of dx
// takes its samples from the three units from u + n on of dy,
//
//     8 n + shift = left - (taps - 1),     0 <= shift < 8,     shift + taps <= 17,
//
// and is a product of those with a matrix of the taps in the opposite order. The sums for the taps, and what NaN and
// infinity do to them: depthwise_unit_moments.cuh. Tiles come to shared memory by asynchronous copies, some of them ahead.
// Bound by device memory.
#pragma once

#include "depthwise_unit_moments.cuh"

// One sample of dx without the tensor cores.
template <class T> __device__ float input_gradient_at(const Gradient &g, int channel, const T *dy, int s)
{
    float sum = 0.0f;
    for (int j = 0; j < g.taps; j++) {
        const int at = s + g.left - j;
        const uint32_t bits = at >= 0 && at < g.output_length ? Element<T>::bits(dy + at) : 0;
        sum = fmaf(read(g.weight, channel, j), Element<T>::unpack(bits, 0), sum);
    }
    return sum;
}

// Threads: x over the lanes, y over UNIT_WARPS. Blocks: x over channels, y over pieces.
template <class T, bool SPLIT, RowStarts STARTS> __device__ void unit_gradients(const Gradient &g)
{
    typedef UnitTiles<T, UnitMoments<T, 2>::MATRICES, STARTS> Tiles;
    __shared__ typename Tiles::Stages stages[UNIT_WARPS];
    const int channel = blockIdx.x;
    const int start = g.left - (g.taps - 1), shift = start & 7; // from a place of dx to the first one of dy that it takes
    const int line = (shift - start) / 8;                       // the unit of dy in line with that of x
    T *const dx_rows = static_cast<T *>(g.dx) + static_cast<long long>(channel) * g.input_length;
    Tiles tiles(g, stages[threadIdx.y], channel, start - shift);
    const UnitTaps<T, 3, SPLIT> taps(g.weight, channel, g.taps, true, shift);
    UnitMoments<T, 2> sums;
    for (; tiles.now.batch < g.batch; tiles.now.advance()) {
        const uint4 *dy_units, *x_units;
        tiles.arrive(dy_units, x_units);
        const int first = tiles.first(), lead = tiles.lead();
        T *const dx = dx_rows + static_cast<long long>(tiles.now.batch) * g.channels * g.input_length;
        const WordStores<T, STARTS == RowStarts::Aligned> stores(dx, first + 2 * static_cast<int>(threadIdx.x) - lead,
                                                                 g.dx ? g.input_length : 0);
        uint32_t finite = 0; // NaN where dx is not finite
        sums.begin_tile();
        const auto make = [&](int round) {
            float values[4];
            const uint4 *const units = dy_units + 16 * round;
            taps.products(values, units, 0.0f);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint32_t pair = Element<T>::pack(values + 2 * half);
                note_not_finite<T>(finite, pair);
                stores.store(64 * round + 32 * half, pair);
            }
            sums.add(units, x_units + 16 * round, units + line, round == 0);
        };
#pragma unroll
        for (int round = 0; round < TILE_ROUNDS; round++) make(round);
        if (tiles.has_more()) make(TILE_ROUNDS);
        sums.end_tile();
        if (__any_sync(0xFFFFFFFFu, finite & 0x7FFF7FFFu)) {
            const int words = 64 * (TILE_ROUNDS + tiles.has_more());
#pragma unroll 1
            for (int word = 0; word < words; word += 32) {
                const int s = first + 2 * (static_cast<int>(threadIdx.x) + word) - lead;
                const float pair[2] = {input_gradient_at(g, channel, tiles.dy(), s),
                                       input_gradient_at(g, channel, tiles.dy(), s + 1)};
                stores.store(word, Element<T>::pack(pair));
            }
        }
    }
    if (wants_sums(g)) sums.leave(g, channel, 0, g.taps, shift);
}
