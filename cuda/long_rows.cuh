// Convolution of rows of P = A M samples that are too long for the chip: A = 16 B, in three phases over groups of
// rows, whose intermediate results, complex f16, go through device memory (better: through the L2).
//
// n = X M + m, frequencies kX + A k'.
// 1. Columns: A-point DFTs over X, twiddle exp(-2 pi i (kX - weight) m / P), rows kX of M points to the workspace.
// 2. Rows: transform of M points, product with the spectrum, and back, in place.
// 3. The inverse of the columns, real part, out-gate, store.
// Rows of M = 32768 take the columns of 16 points first, and last (long_middle_columns), where they do not fit the
// shared memory (long_block_rows.cuh).
//
// Columns: a block takes A rows of 64 samples, a tile, through shared memory, a warp 8 samples of them. X = B X' + j, and
// kX = k' + 16 k: X' by a matrix product that has the twiddle of j folded in, j by a butterfly over registers. A block
// stays at the same place m of one row after the other, for which it keeps the twiddles of m in registers; the blocks
// of all places take a row together.
//
// Scale: each tile is brought to the scale of its largest sample, which the rows undo when they know the sums of the
// squares of all tiles. The transforms are unitary, and the norm of the kernel is below 2. So, by the norms, no number
// exceeds 2 P r, r the root mean square of the scaled row: r below 2^14 / P.
//
// Bound by instructions issued and by latency: the traffic, from memory and to and from the L2, takes a third.
#pragma once
#include "column_transform.cuh"
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
constexpr int COLUMN_WARPS = TILE / 8;

extern __shared__ __align__(1024) uint4 shared_memory[];

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

struct Turn {
    float re, im;
};
DEVICE Turn turn(float turns)
{
    Turn z;
    __sincosf((float)(2 * PI) * (turns - rintf(turns)), &z.im, &z.re);
    return z;
}
DEVICE void operator*=(Turn &a, Turn b)
{
    const float re = a.re * b.re - a.im * b.im;
    a.im = a.re * b.im + a.im * b.re;
    a.re = re;
}

constexpr __host__ __device__ int reversed(int i, int count) // i < count = 2^r
{
    int result = 0;
    for (int bit = 1; bit < count; bit *= 2)
        result = 2 * result + (i / bit & 1);
    return result;
}

// Factors start * step^k of words (f16 points of two columns or rows).
template <int B> DEVICE void twiddle_words(Word (&re)[B], Word (&im)[B], Turn (&factor)[2], const Turn &step0, const Turn &step1)
{
#pragma unroll
    for (int k = 0; k < B; k++) {
        const int j = reversed(k, B);
        float x[2] = {low_half(re[j]), high_half(re[j])}, y[2] = {low_half(im[j]), high_half(im[j])};
        multiply_complex(x[0], y[0], factor[0].re, factor[0].im);
        multiply_complex(x[1], y[1], factor[1].re, factor[1].im);
        re[j] = pack_half(x[0], x[1]);
        im[j] = pack_half(y[0], y[1]);
        factor[0] *= step0;
        factor[1] *= step1;
    }
}

// Butterfly over words in f32 if PRECISE.
template <int B, bool INVERSE, bool PRECISE> DEVICE void word_butterfly(Word (&re)[B], Word (&im)[B])
{
    if constexpr (PRECISE) {
#pragma unroll
        for (int shift = 0; shift < 32; shift += 16) {
            float x[B], y[B];
#pragma unroll
            for (int j = 0; j < B; j++)
                x[j] = low_half(re[j] >> shift), y[j] = low_half(im[j] >> shift);
            if (INVERSE)
                inverse_butterfly<B>(x, y);
            else
                forward_butterfly<B>(x, y);
            const Word kept = 0xffff0000u >> shift;
#pragma unroll
            for (int j = 0; j < B; j++) {
                re[j] = (re[j] & kept) | pack_half(x[j], 0) << shift;
                im[j] = (im[j] & kept) | pack_half(y[j], 0) << shift;
            }
        }
    } else if (INVERSE)
        inverse_butterfly<B>(re, im);
    else
        forward_butterfly<B>(re, im);
}

// Shared memory of the columns: matrices [j][re or im][32 lanes], then a plane of real and one of imaginary parts:
// row X or k' B + k, 8 units of 8 samples, the unit number swizzled by X' or k'.
template <int B> struct Columns {
    static constexpr int A = 16 * B, TABLE = B * 64, PLANE = A * 128; // uint4, bytes
    static constexpr int VECTORS = B / 2; // of 8 samples, for each thread
    // Whether the next tile is asked for while this one is computed: registers permitting.
    static constexpr bool AHEAD = B <= 4;
    static DEVICE int place(int digit, int j, int unit) { return (digit * B + j) * 128 + ((unit ^ (digit & 7)) << 4); }
    static DEVICE int place(int row, int unit) { return row * 128 + ((unit ^ (row / B & 7)) << 4); }
};

// The twiddles of a place, (words of two points) by k: kept where there is room for them, else by recurrence.
template <int B, bool KEPT> struct TileTwiddles;
template <int B> struct TileTwiddles<B, true> {
    Word re[2][B], im[2][B];
    DEVICE TileTwiddles() {}
    // Turns of the two points for k' of both halves, and from one k to the next.
    DEVICE void set(int half, Turn first, Turn second, const Turn (&step)[2])
    {
#pragma unroll
        for (int k = 0; k < B; k++) {
            re[half][k] = pack_half(first.re, second.re);
            im[half][k] = pack_half(first.im, second.im);
            first *= step[0];
            second *= step[1];
        }
    }
    DEVICE void apply(int half, Word (&x)[B], Word (&y)[B]) const
    {
#pragma unroll
        for (int k = 0; k < B; k++)
            multiply_complex(x[reversed(k, B)], y[reversed(k, B)], re[half][k], im[half][k]);
    }
};
template <int B> struct TileTwiddles<B, false> {
    Turn start[2][2], step[2];
    DEVICE TileTwiddles() {}
    DEVICE void set(int half, Turn first, Turn second, const Turn (&steps)[2])
    {
        start[half][0] = first, start[half][1] = second;
        step[0] = steps[0], step[1] = steps[1];
    }
    DEVICE void apply(int half, Word (&x)[B], Word (&y)[B]) const
    {
        Turn factor[2] = {start[half][0], start[half][1]};
        // Else the compiler keeps all of them.
        asm volatile("" : "+f"(factor[0].re), "+f"(factor[0].im), "+f"(factor[1].re), "+f"(factor[1].im));
        twiddle_words<B>(x, y, factor, step[0], step[1]);
    }
};
template <typename K, int B> using Twiddles = TileTwiddles<B, !K::PRECISE && B <= 8>;

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
    const long long tiles = (long long)places * a.rows;
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

// Phase 1.
template <typename K, int B, Mode MODE> DEVICE void long_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
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
        Samples<K, MODE> samples[C::VECTORS];
        const int first = (threadIdx.x >> 3) * a.points + tile_first + 8 * (threadIdx.x & 7);
        const auto load = [&](const RowSteps &rows) {
            const Row<T> row = rows.row<T>(a);
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++)
                samples[n].load(row, first + 32 * n * a.points);
        };
        RowSteps rows(a, first_row, step), ahead = rows;
        if (C::AHEAD && rows.index < end_row)
            load(rows);
#pragma unroll 1
        for (; rows.index < end_row; rows.next(a.c.batch), turns ^= 1) {
            if (!C::AHEAD)
                load(rows);
            float peak = 0;
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                float v[8];
                samples[n].product(v);
#pragma unroll
                for (int j = 0; j < 8; j++)
                    peak = fmaxf(peak, fabsf(v[j]));
            }
            const unsigned peak_of_warp = __reduce_max_sync(0xffffffffu, __float_as_uint(peak));
            if (lane == 0)
                peaks[turns][unit] = peak_of_warp;
            __syncthreads(); // the tile before has left
            const uint4 some = *reinterpret_cast<const uint4 *>(peaks[turns]), others = *reinterpret_cast<const uint4 *>(peaks[turns] + 4);
            const float scale = tile_scale(max(max(max(some.x, some.y), max(some.z, some.w)), max(max(others.x, others.y), max(others.z, others.w))));
            float sum = 0;
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                float v[8];
                samples[n].product(v);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    v[j] *= scale;
                    sum = fmaf(v[j], v[j], sum);
                }
                *reinterpret_cast<uint4 *>(planes + C::place(i >> 3, i & 7)) =
                    make_uint4(pack_half(v[0], v[1]), pack_half(v[2], v[3]), pack_half(v[4], v[5]), pack_half(v[6], v[7]));
            }
            const unsigned sum_of_warp = __reduce_add_sync(0xffffffffu, __float2uint_rn(fminf(sum * SQUARES_UNIT, MOST_SQUARES)));
            if (lane == 0)
                squares[turns][unit] = sum_of_warp;
            if (C::AHEAD) {
                ahead.next(a.c.batch);
                if (ahead.index < end_row)
                    load(ahead);
            }
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

// Phase 3.
template <typename K, int B, Mode MODE> DEVICE void long_inverse_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
    typedef typename K::F F;
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    unsigned char *const planes = reinterpret_cast<unsigned char *>(shared_memory + C::TABLE);
    const Word address = shared_address(planes);
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
        uint4 loaded[2 * C::VECTORS];
        const auto load = [&](int index) {
            const __half *in = static_cast<const __half *>(a.workspace) + (size_t)index * 2 * size + tile_first;
#pragma unroll
            for (int n = 0; n < 2 * C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n, row = i >> 4, plane = i >> 3 & 1;
                loaded[n] = *reinterpret_cast<const uint4 *>(
                    in + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7));
            }
        };
        const int first = (threadIdx.x >> 3) * a.points + tile_first + 8 * (threadIdx.x & 7);
        RowSteps rows(a, first_row, step);
        if (C::AHEAD && rows.index < end_row)
            load(rows.index);
#pragma unroll 1
        for (; rows.index < end_row; rows.next(a.c.batch)) {
            if (!C::AHEAD)
                load(rows.index);
#pragma unroll
            for (int n = 0; n < 2 * C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                *reinterpret_cast<uint4 *>(planes + (i >> 3 & 1) * C::PLANE + C::place(i >> 4, i & 7)) = loaded[n];
            }
            // The gates are on their way while the tile is computed.
            const Row<T> row = rows.row<T>(a);
            Word gates[C::VECTORS][4];
            const auto load_gates = [&] {
#pragma unroll
                for (int n = 0; n < C::VECTORS; n++)
                    load_samples<8, MODE>(gates[n], row.out_gate(), first + 32 * n * a.points, a.c);
            };
            if (C::AHEAD) {
                if (K::GATED)
                    load_gates();
                if (rows.index + step < end_row)
                    load(rows.index + step);
            }
            const float factor = a.c.unscale[rows.channel] * a.unscale[rows.index];
            __syncthreads();
            // Words of k' = 2t + 8 half and the next one, at sample g.
            Word re[2][B], im[2][B];
#pragma unroll
            for (int k = 0; k < B; k++) {
                const int j = reversed(k, B);
                Word words[4];
                load_matrices<true>(words, address + (lane >> 4) * C::PLANE + C::place(digit, k, unit));
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
                store_matrices<false>(address + C::place(digit, j + (lane >> 4), unit), words);
            }
            if (!C::AHEAD && K::GATED)
                load_gates();
            __syncthreads();
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                const uint4 v = *reinterpret_cast<const uint4 *>(planes + C::place(i >> 3, i & 7));
                const Word words[4] = {v.x, v.y, v.z, v.w};
                Word y[4];
#pragma unroll
                for (int w = 0; w < 4; w++) {
                    float low = low_half(words[w]) * factor, high = high_half(words[w]) * factor;
                    if (K::GATED)
                        low *= F::low(gates[n][w]), high *= F::high(gates[n][w]);
                    y[w] = F::pack(low, high);
                }
                store_samples<8, MODE>(row.y(), first + 32 * n * a.points, a.c, y);
            }
            __syncthreads();
        }
    });
}

// Between the columns and rows of 2048 where P = A 16 2048: the rows kX of 16 * 2048 complex points in columns of 16
// points, in place. Forward from planes [re or im][X][m] to [kX][re or im][m], inverse back. Forward, tiles are
// multiplied by what they lack.
template <bool INVERSE, bool PRECISE> DEVICE void long_middle_columns(const LongRows &a, int first_points)
{
    typedef Columns<1> C;
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    unsigned char *const planes = reinterpret_cast<unsigned char *>(shared_memory + C::TABLE);
    const Word address = shared_address(planes);
    const int total = a.rows * (a.points / TILE);
    // What this thread moves.
    const int row = threadIdx.x >> 4, plane = threadIdx.x >> 3 & 1, its_unit = threadIdx.x & 7;
    uint4 *const place = reinterpret_cast<uint4 *>(planes + plane * C::PLANE + C::place(row, its_unit));
    const size_t in_planes = (size_t)(plane * 16 + row) * a.points, in_rows = (size_t)(row * 2 + plane) * a.points;
#pragma unroll 1
    for (int number = blockIdx.x; number < total; number += gridDim.x) {
        const int places = a.points / TILE, index = number / places, tile_place = number - index * places;
        const int tile_first = tile_place * TILE;
        __half *data = static_cast<__half *>(a.workspace) + (size_t)index * 2 * size + tile_first + 8 * its_unit;
        uint4 moved = *reinterpret_cast<const uint4 *>(data + (INVERSE ? in_rows : in_planes));
        if (!INVERSE) {
            const Word factor = both(a.tiles[(size_t)(index / first_points) * 16 * places + row * places + tile_place].x);
            moved.x = multiply(moved.x, factor), moved.y = multiply(moved.y, factor);
            moved.z = multiply(moved.z, factor), moved.w = multiply(moved.w, factor);
        }
        *place = moved;
        __syncthreads();
        const Word own = address + (lane >> 4) * C::PLANE + C::place(lane & 15, 0, unit);
        Word v[4]; // re, re, im, im of digits 2t + 8 half, sample g
        load_matrices<true>(v, own);
        __syncwarp();
        const float inverse_size = 1.f / size;
        const Turn none = {1, 0};
        if (INVERSE) {
            const float m = tile_first + 8 * unit + g;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = 2 * t + 8 * half;
                Turn factor[2] = {turn(k * m * inverse_size), turn((k + 1) * m * inverse_size)};
                Word re[1] = {v[half]}, im[1] = {v[2 + half]};
                twiddle_words<1>(re, im, factor, none, none);
                v[half] = re[0], v[2 + half] = im[0];
            }
        }
        const Operand left_re(shared_memory + lane), left_im(shared_memory + 32 + lane);
        Result<PRECISE> x, y;
        from_left(x.sum, left_re, v[0], v[1]);
        from_left(y.sum, left_im, v[0], v[1]);
        from_left(x.sum, left_im, negate_bits(v[2]), negate_bits(v[3]));
        from_left(y.sum, left_re, v[2], v[3]);
        Word out[4] = {x.word(0), x.word(1), y.word(0), y.word(1)};
        if (!INVERSE) {
            const float m = tile_first + 8 * unit + 2 * t;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = g + 8 * half;
                Turn factor[2] = {turn(-k * m * inverse_size), turn(-k * (m + 1) * inverse_size)};
                Word re[1] = {out[half]}, im[1] = {out[2 + half]};
                twiddle_words<1>(re, im, factor, none, none);
                out[half] = re[0], out[2 + half] = im[0];
            }
        }
        store_matrices<false>(own, out);
        __syncthreads();
        *reinterpret_cast<uint4 *>(data + (INVERSE ? in_planes : in_rows)) = *place;
        __syncthreads();
    }
}

// Phase 2, M = 2048 = 256 R: a row on a warp. m = (16 X + Y) R + j; as in the second pass of block_rows.cuh.
template <bool PRECISE> DEVICE void long_rows_2048(const LongRows &a, int first_points)
{
    constexpr int R = 8, M = 256 * R, MATRICES = 8 * 32, INNER = 4 * 32, TWIDDLES = 2 * R * 32, TABLES = MATRICES + INNER + TWIDDLES;
    const uint4 *tables = static_cast<const uint4 *>(a.c.tables);
    for (int i = threadIdx.x; i < TABLES; i += blockDim.x)
        shared_memory[i] = tables[i];
    __syncthreads();
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint4 *matrices = shared_memory + lane, *inner = matrices + MATRICES, *twiddles = inner + INNER;
    const bool scales = a.points == M; // of tiles have not been applied
    // This lane's units: X = 2t, Y = g; the n-th word of four: re or im, q, second half of its line
    uint4 *const lane_words = static_cast<uint4 *>(a.workspace) + 32 * t + g;
    const auto place = [](int n) { return (n >> 3) * (M / 8) + (n >> 1 & 1) * 128 + (n >> 2 & 1) * 8 + (n & 1) * 16; };
    const int total = a.rows * first_points, warps = gridDim.x * (blockDim.x / 32);
#pragma unroll 1
    for (int number = blockIdx.x * (blockDim.x / 32) + warp; number < total; number += warps) {
        const int index = number / first_points, k = number - index * first_points;
        const int channel = (a.first + index) / a.c.batch;
        const uint4 *spectrum =
            static_cast<const uint4 *>(a.c.spectrum) + ((size_t)channel * first_points + k) * (M / 4) + lane;
        uint4 *const row = lane_words + (size_t)number * (M / 4);
        const float2 tile = scales ? a.tiles[(size_t)index * 32 + lane] : make_float2(1, 0);
        Word z_re[R][4], z_im[R][4]; // q = 2 (Y half) + X half
        const auto take = [&](Word(&z)[R][4], int first) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const uint4 a = row[place(first + 2 * q)], b = row[place(first + 2 * q + 1)];
                const Word x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    z[2 * i][q] = __byte_perm(x[i], y[i], 0x5410);
                    z[2 * i + 1][q] = __byte_perm(x[i], y[i], 0x7632);
                }
            }
        };
        const auto give = [&](int first, const Word(&z)[R][4]) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                Word x[4], y[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    x[i] = __byte_perm(z[2 * i][q], z[2 * i + 1][q], 0x5410);
                    y[i] = __byte_perm(z[2 * i][q], z[2 * i + 1][q], 0x7632);
                }
                row[place(first + 2 * q)] = make_uint4(x[0], x[1], x[2], x[3]);
                row[place(first + 2 * q + 1)] = make_uint4(y[0], y[1], y[2], y[3]);
            }
        };
        take(z_re, 0);
        take(z_im, 8);
        if (scales) {
            float least = tile.x;
#pragma unroll
            for (int offset = 16; offset; offset >>= 1)
                least = fminf(least, __shfl_xor_sync(0xffffffffu, least, offset));
            float squares = tile.y * squared_ratio(least, tile.x);
#pragma unroll
            for (int offset = 16; offset; offset >>= 1)
                squares += __shfl_xor_sync(0xffffffffu, squares, offset);
            const int exponent = row_exponent(least, squares, M * first_points);
            if (k == 0 && lane == 0)
                a.unscale[index] = power_of_two(254 - exponent);
            const Word factor = both(power_of_two(127 + exponent - biased_exponent(tile.x)));
            // Words of four are of tile 4 t + 16 (q & 1) + (q >> 1), and of the second one after it.
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const int its = 4 * t + 16 * (q & 1) + (q >> 1);
                const Word low = __shfl_sync(0xffffffffu, factor, its), high = __shfl_sync(0xffffffffu, factor, its + 2);
                const Word both_tiles = __byte_perm(low, high, 0x5410);
#pragma unroll
                for (int j = 0; j < R; j++) {
                    z_re[j][q] = multiply(z_re[j][q], both_tiles);
                    z_im[j][q] = multiply(z_im[j][q], both_tiles);
                }
            }
        }
        {
            const Operand x_re(matrices), x_im(matrices + 32), y_re(matrices + 64), y_im(matrices + 96);
            const Operand twiddle_re(inner), twiddle_im(inner + 32);
#pragma unroll
            for (int j = 0; j < R; j++) {
                Result<PRECISE> c_re[2], c_im[2];
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(c_re[n].sum, x_re, z_re[j][2 * n], z_re[j][2 * n + 1]);
                    from_left(c_im[n].sum, x_im, z_re[j][2 * n], z_re[j][2 * n + 1]);
                }
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(c_re[n].sum, x_im, negate_bits(z_im[j][2 * n]), negate_bits(z_im[j][2 * n + 1]));
                    from_left(c_im[n].sum, x_re, z_im[j][2 * n], z_im[j][2 * n + 1]);
                }
                twiddle(c_re, c_im, twiddle_re, twiddle_im);
                Result<PRECISE> d_re[2], d_im[2];
                complex_from_right(d_re, d_im, as_left(c_re), as_left(c_im), y_re, y_im, y_im.negative());
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    z_re[j][q] = d_re[q >> 1].word(q & 1);
                    z_im[j][q] = d_im[q >> 1].word(q & 1);
                }
            }
        }
#pragma unroll
        for (int q = 0; q < 4; q++) {
            Word re[R], im[R];
#pragma unroll
            for (int j = 0; j < R; j++)
                re[j] = z_re[j][q], im[j] = z_im[j][q];
            ColumnTransform<R, PRECISE>::apply(twiddles + q * (R / 2) * 32, spectrum + q * (R / 2) * 32, re, im);
#pragma unroll
            for (int j = 0; j < R; j++)
                z_re[j][q] = re[j], z_im[j][q] = im[j];
        }
        {
            const Operand y_re(matrices + 128), y_im(matrices + 160), x_re(matrices + 192), x_im(matrices + 224);
            const Operand twiddle_re(inner + 64), twiddle_im(inner + 96);
#pragma unroll
            for (int j = 0; j < R; j++) {
                Result<PRECISE> d_re[2], d_im[2]; // [k(X) half]: rows Y, columns k(X)
                complex_from_left(d_re, d_im, y_re, y_im, y_im.negative(), z_re[j], z_im[j]);
                twiddle(d_re, d_im, twiddle_re, twiddle_im);
                Result<PRECISE> e_re[2], e_im[2]; // [X half]: rows Y, columns X
                complex_from_right(e_re, e_im, as_left(d_re), as_left(d_im), x_re, x_im, x_im.negative());
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    z_re[j][q] = e_re[q & 1].word(q >> 1);
                    z_im[j][q] = e_im[q & 1].word(q >> 1);
                }
            }
        }
        give(0, z_re);
        give(8, z_im);
    }
}
