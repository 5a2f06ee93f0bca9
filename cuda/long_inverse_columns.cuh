// The columns of long_rows.cuh back: the last pass over rows of A M samples, by the tiles of long_tiles.cuh, which are
// asked for one or two ahead.
//
// Bound by memory, see long_rows.cuh: a pass issues in 25 to 45 % of the slots.
#pragma once
#include "long_tiles.cuh"

// Where the tiles of the inverse columns arrive, TILES ahead: two planes as above, and out_gate, as the threads take it,
// where there is room.
template <typename K, int B> struct TileBuffers {
    typedef Columns<B> C;
    static constexpr int TILES = B == 2 ? 2 : B <= 8 ? 1 : 0, COUNT = TILES + 1;
    static constexpr bool GATES = K::GATED && B <= 4;
    static constexpr int BYTES = 2 * C::PLANE + (GATES ? C::VECTORS * 256 * 16 : 0);
    static DEVICE Word next(Word buffer) { return buffer + 1 == COUNT ? 0 : buffer + 1; }
};

// Phase 3.
template <typename K, int B, Mode MODE> DEVICE void long_inverse_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
    typedef typename K::F F;
    typedef TileBuffers<K, B> Buffers;
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    const Word address = shared_address(shared_memory + C::TABLE);
    const int digit = lane & 15;
    const float inverse_size = 1.f / size;
    for_each_place(a, [&](int tile_first, int, int first_row, int end_row, int step) {
        Twiddles<K, B> twiddles;
        {
            const float m = tile_first + 8 * unit + g;
            const Turn one = turn(16 * inverse_size * m), steps[2] = {one, one};
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = 2 * t + 8 * half - a.weight;
                twiddles.set(half, turn(k * m * inverse_size), turn((k + 1) * m * inverse_size), steps);
            }
        }
        const int first = (threadIdx.x >> 3) * a.points + tile_first + 8 * (threadIdx.x & 7);
        RowSteps rows(a, first_row, step), ahead = rows;
        Word asked = 0, taken = 0;
        const auto ask = [&] {
            const Word buffer = address + asked * Buffers::BYTES;
            if (ahead.index < end_row) {
                const __half *in = static_cast<const __half *>(a.workspace) + (size_t)ahead.index * 2 * size + tile_first;
#pragma unroll
                for (int n = 0; n < 2 * C::VECTORS; n++) {
                    const int i = threadIdx.x + 256 * n, row = i >> 4, plane = i >> 3 & 1;
                    copy_16_bytes(buffer + plane * C::PLANE + C::place(row, i & 7),
                                  in + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7));
                }
                const Row<T> row = ahead.row<T>(a);
#pragma unroll
                for (int n = 0; Buffers::GATES && n < C::VECTORS; n++)
                    copy_samples<MODE>(buffer + 2 * C::PLANE + (threadIdx.x + 256 * n) * 16, row.out_gate(), first + 32 * n * a.points, a.c);
            }
            end_group_of_copies();
            ahead.next(a.c.batch);
            asked = Buffers::next(asked);
        };
#pragma unroll
        for (int i = 0; i < Buffers::TILES; i++)
            ask();
#pragma unroll 1
        for (; rows.index < end_row; rows.next(a.c.batch), taken = Buffers::next(taken)) {
            if (Buffers::TILES == 0)
                ask();
            const Row<T> row = rows.row<T>(a);
            Word gates[C::VECTORS][4];
            const auto load_gates = [&] {
#pragma unroll
                for (int n = 0; n < C::VECTORS; n++)
                    load_samples<8, MODE>(gates[n], row.out_gate(), first + 32 * n * a.points, a.c);
            };
            const float factor = a.c.unscale[rows.channel] * a.unscale[rows.index];
            wait_for_copies<Buffers::TILES == 0 ? 0 : Buffers::TILES - 1>();
            __syncthreads(); // nobody reads the tile before any more, either
            if (Buffers::TILES > 0)
                ask();
            const Word buffer = address + taken * Buffers::BYTES;
            // Words of k' = 2t + 8 half and the next one, at sample g.
            Word re[2][B], im[2][B];
#pragma unroll
            for (int k = 0; k < B; k++) {
                const int j = reversed(k, B);
                Word words[4];
                load_matrices<true>(words, buffer + (lane >> 4) * C::PLANE + C::place(digit, k, unit));
                re[0][j] = words[0], re[1][j] = words[1], im[0][j] = words[2], im[1][j] = words[3];
            }
            __syncwarp();
#pragma unroll
            for (int half = 0; half < 2; half++) {
                twiddles.apply(half, re[half], im[half]);
                word_butterfly<B, true, K::PRECISE>(re[half], im[half]);
            }
#pragma unroll
            for (int j = 0; j < B; j += 2) {
                Word words[4];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const uint4 *matrices = shared_memory + (j + i) * 64 + lane;
                    Result<true> x;
                    from_left(x.sum, Operand(matrices), re[0][j + i], re[1][j + i]);
                    from_left(x.sum, Operand(matrices + 32), im[0][j + i], im[1][j + i]);
                    words[2 * i] = x.word(0), words[2 * i + 1] = x.word(1);
                }
                store_matrices<false>(buffer + C::place(digit, j + (lane >> 4), unit), words);
            }
            if (K::GATED && !Buffers::GATES)
                load_gates();
            __syncthreads();
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                Word words[4], y[4];
                load_words(words, buffer + C::place(i >> 3, i & 7));
                if (Buffers::GATES)
                    load_words(gates[n], buffer + 2 * C::PLANE + i * 16);
#pragma unroll
                for (int w = 0; w < 4; w++) {
                    float low = low_half(words[w]) * factor, high = high_half(words[w]) * factor;
                    if (K::GATED)
                        low *= F::low(gates[n][w]), high *= F::high(gates[n][w]);
                    y[w] = F::pack(low, high);
                }
                store_samples<8, MODE>(row.y(), first + 32 * n * a.points, a.c, y);
            }
            if (Buffers::TILES == 0)
                __syncthreads();
        }
        __syncthreads(); // the next place's tiles may come
    });
}
