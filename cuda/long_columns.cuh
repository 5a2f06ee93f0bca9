// The columns of long_rows.cuh: the first pass over rows of A M samples, by the tiles of long_tiles.cuh, whose samples
// are asked for one or two tiles ahead.
//
// Bound by memory, see long_rows.cuh: a pass issues in 25 to 45 % of the slots.
#pragma once
#include "long_tiles.cuh"

// 8 neighbouring samples of u and of in_gate.
template <typename K, Mode MODE> struct Samples {
    typedef typename K::F F;
    Word u[4], gate[4];

    DEVICE void load(const Row<typename K::T> &row, int first)
    {
        load_samples<8, MODE>(u, row.u(), first, row.c);
        if (K::GATED)
            load_samples<8, MODE>(gate, row.in_gate(), first, row.c);
    }
    // The largest magnitude of the products, as bits of f32. Where words hold products without overflow, rounded: the
    // power of two below it is the same, or the next one.
    DEVICE unsigned peak() const
    {
        if constexpr (F::RANGE_OF_F32) {
            typedef typename F::Pair Pair;
            Pair largest = Pair();
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Pair a = *reinterpret_cast<const Pair *>(&u[i]), b = *reinterpret_cast<const Pair *>(&gate[i]);
                largest = __hmax2(largest, __habs2(K::GATED ? __hmul2(a, b) : a));
            }
            const Word bits = *reinterpret_cast<const Word *>(&largest);
            return max(bits << 16, bits & 0xffff0000u);
        } else {
            float v[8], largest = 0;
            product(v);
#pragma unroll
            for (int j = 0; j < 8; j++)
                largest = fmaxf(largest, fabsf(v[j]));
            return __float_as_uint(largest);
        }
    }
    DEVICE void product(float (&v)[8]) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = F::low(u[i]), v[2 * i + 1] = F::high(u[i]);
            if (K::GATED)
                v[2 * i] *= F::low(gate[i]), v[2 * i + 1] *= F::high(gate[i]);
        }
    }
};

// The samples of tiles on their way to the threads that asked for them, some tiles ahead, in shared memory at places of
// their own.
template <typename K, int B, Mode MODE> struct SamplesAhead {
    static constexpr int VECTORS = Columns<B>::VECTORS, OPERANDS = K::GATED ? 2 : 1, VECTOR = 256 * 16;
    static constexpr int TILES = B == 2 ? 2 : 1, TILE_BYTES = VECTORS * OPERANDS * VECTOR;
    Word asked, taken, first_place;

    DEVICE explicit SamplesAhead(Word shared) : asked(0), taken(TILES - 1), first_place(shared + threadIdx.x * 16) {}
    static DEVICE void next(Word &tile) { tile = tile + 1 == TILES ? 0 : tile + 1; }
    // Vectors `apart` samples apart, the first at sample `first`.
    DEVICE void ask(const Row<typename K::T> &row, int first, int apart)
    {
        const Word place = first_place + asked * TILE_BYTES;
#pragma unroll
        for (int n = 0; n < VECTORS; n++) {
            copy_samples<MODE>(place + n * OPERANDS * VECTOR, row.u(), first + n * apart, row.c);
            if (K::GATED)
                copy_samples<MODE>(place + (n * OPERANDS + 1) * VECTOR, row.in_gate(), first + n * apart, row.c);
        }
        next(asked);
    }
    DEVICE void arrive()
    {
        wait_for_copies<TILES - 1>();
        next(taken);
    }
    DEVICE unsigned peak(int n) const { return arrived(n).peak(); }
    DEVICE void product(int n, float (&v)[8]) const { arrived(n).product(v); }
    DEVICE Samples<K, MODE> arrived(int n) const
    {
        const Word place = first_place + taken * TILE_BYTES + n * OPERANDS * VECTOR;
        Samples<K, MODE> samples;
        load_words(samples.u, place);
        if (K::GATED)
            load_words(samples.gate, place + VECTOR);
        return samples;
    }
};
// 256 points leave no room for that: in registers, when they are wanted.
template <typename K, Mode MODE> struct SamplesAhead<K, 16, MODE> {
    static constexpr int TILES = 0;
    Samples<K, MODE> samples[8];

    DEVICE explicit SamplesAhead(Word) {}
    DEVICE void ask(const Row<typename K::T> &row, int first, int apart)
    {
#pragma unroll
        for (int n = 0; n < 8; n++)
            samples[n].load(row, first + n * apart);
    }
    DEVICE void arrive() {}
    DEVICE unsigned peak(int n) const { return samples[n].peak(); }
    DEVICE void product(int n, float (&v)[8]) const { samples[n].product(v); }
};

// Phase 1.
template <typename K, int B, Mode MODE> DEVICE void long_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
    typedef SamplesAhead<K, B, MODE> Ahead;
    __shared__ __align__(16) unsigned peaks[2][8], squares[2][8]; // of each warp; of this tile and the next in turns
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    unsigned char *const planes = reinterpret_cast<unsigned char *>(shared_memory + C::TABLE);
    const Word address = shared_address(planes);
    const int digit = lane & 15; // X' or k' of the matrix row that this lane addresses
    const float inverse_size = 1.f / size;
    int turns = 0;
    for_each_place(a, [&](int tile_first, int tile_place, int first_row, int end_row, int step) {
        Twiddles<K, B> twiddles;
        {
            const float m = tile_first + 8 * unit + 2 * t;
            const Turn steps[2] = {turn(-16 * inverse_size * m), turn(-16 * inverse_size * (m + 1))};
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = g + 8 * half - a.weight;
                twiddles.set(half, turn(-k * m * inverse_size), turn(-k * (m + 1) * inverse_size), steps);
            }
        }
        Ahead samples(address + 2 * C::PLANE);
        const int first = (threadIdx.x >> 3) * a.points + tile_first + 8 * (threadIdx.x & 7);
        RowSteps rows(a, first_row, step), ahead = rows;
        const auto ask = [&] {
            if (ahead.index < end_row)
                samples.ask(ahead.row<T>(a), first, 32 * a.points);
            end_group_of_copies(); // an empty one after the last tile: as many groups as tiles are waited for
            ahead.next(a.c.batch);
        };
#pragma unroll
        for (int i = 0; i < Ahead::TILES; i++)
            ask();
#pragma unroll 1
        for (; rows.index < end_row; rows.next(a.c.batch), turns ^= 1) {
            if (Ahead::TILES == 0)
                samples.ask(rows.row<T>(a), first, 32 * a.points);
            samples.arrive();
            unsigned peak = 0;
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++)
                peak = max(peak, samples.peak(n));
            const unsigned peak_of_warp = __reduce_max_sync(0xffffffffu, peak);
            if (lane == 0)
                peaks[turns][unit] = peak_of_warp;
            __syncthreads(); // the tile before has left
            const uint4 some = *reinterpret_cast<const uint4 *>(peaks[turns]), others = *reinterpret_cast<const uint4 *>(peaks[turns] + 4);
            const float scale = tile_scale(max(max(max(some.x, some.y), max(some.z, some.w)), max(max(others.x, others.y), max(others.z, others.w))));
            // Of squares: of the tile's largest ones, at least a quarter, some eight bits are wanted.
            Word sums = 0;
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                float v[8];
                samples.product(n, v);
                Word words[4];
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    words[j] = pack_half(v[2 * j] * scale, v[2 * j + 1] * scale);
                    sums = multiply_add(words[j], words[j], sums);
                }
                *reinterpret_cast<uint4 *>(planes + C::place(i >> 3, i & 7)) = make_uint4(words[0], words[1], words[2], words[3]);
            }
            const float sum = low_half(sums) + high_half(sums);
            const unsigned sum_of_warp = __reduce_add_sync(0xffffffffu, __float2uint_rn(fminf(sum * SQUARES_UNIT, MOST_SQUARES)));
            if (lane == 0)
                squares[turns][unit] = sum_of_warp;
            if (Ahead::TILES > 0)
                ask();
            __syncthreads();
            if (threadIdx.x == 0) {
                unsigned sum_of_tile = 0;
#pragma unroll
                for (int i = 0; i < 8; i++)
                    sum_of_tile += squares[turns][i];
                a.tiles[(size_t)rows.index * (a.points / TILE) + tile_place] = make_float2(scale, sum_of_tile / SQUARES_UNIT);
            }
            // Words of samples 2t and 2t + 1 at k' = g + 8 half.
            Word re[2][B], im[2][B];
#pragma unroll
            for (int j = 0; j < B; j += 2) {
                Word v[4];
                load_matrices<true>(v, address + C::place(digit, j + (lane >> 4), unit));
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const uint4 *matrices = shared_memory + (j + i) * 64 + lane;
                    Result<K::PRECISE> x, y;
                    from_left(x.sum, Operand(matrices), v[2 * i], v[2 * i + 1]);
                    from_left(y.sum, Operand(matrices + 32), v[2 * i], v[2 * i + 1]);
                    re[0][j + i] = x.word(0), re[1][j + i] = x.word(1);
                    im[0][j + i] = y.word(0), im[1][j + i] = y.word(1);
                }
            }
            __syncwarp();
#pragma unroll
            for (int half = 0; half < 2; half++) {
                word_butterfly<B, false, K::PRECISE>(re[half], im[half]);
                twiddles.apply(half, re[half], im[half]);
            }
#pragma unroll
            for (int k = 0; k < B; k++) {
                const int j = reversed(k, B);
                const Word words[4] = {re[0][j], re[1][j], im[0][j], im[1][j]};
                store_matrices<false>(address + (lane >> 4) * C::PLANE + C::place(digit, k, unit), words);
            }
            __syncthreads();
            __half *out = static_cast<__half *>(a.workspace) + (size_t)rows.index * 2 * size + tile_first;
#pragma unroll
            for (int n = 0; n < 2 * C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n, row = i >> 4, plane = i >> 3 & 1;
                *reinterpret_cast<uint4 *>(out + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7)) =
                    *reinterpret_cast<const uint4 *>(planes + plane * C::PLANE + C::place(row, i & 7));
            }
        }
    });
}
