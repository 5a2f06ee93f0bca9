// Convolution of rows of P = A M samples that are too long for the chip: A = 16 B, in three phases over groups of
// rows, whose intermediate results, complex f16, go through device memory (better: through the L2).
//
// n = X M + m, frequencies kX + A k'.
// 0. Sums of squares, from which each row gets the power of two that keeps it in the range of f16.
// 1. Columns: A-point DFTs over X, twiddle exp(-2 pi i (kX - weight) m / P), rows kX of M points to the workspace.
// 2. Rows: transform of M points, product with the spectrum, and back, in place.
// 3. The inverse of the columns, real part, out-gate, store.
// Rows of M = 32768 take the columns of 16 points first, and last (long_middle_columns).
//
// Columns: a block takes A rows of 64 samples through shared memory, a warp 8 samples of them. X = B X' + j, and
// kX = k' + 16 k: X' by a matrix product that has the twiddle of j folded in, j by a butterfly over registers. The
// twiddle of m by recurrence over k, in f32.
//
// Scale: the transforms are unitary, and the norm of the kernel is below 2. So, by the norms, no number exceeds
// 2 P r, r the root mean square of the scaled row: r below 2^14 / P.
#pragma once
#include "column_transform.cuh"
#include "row_range.cuh"

struct LongRows {
    Convolution c;
    void *workspace; // [row of the group][kX][re or im][m], f16
    double *sums;    // [row of the group][PARTS], of squares
    float *scales;   // [row of the group]
    int first, rows; // the group: rows by number channel * batch size + batch
    int points;      // M
    float weight;
};

constexpr int PARTS = 32;         // sums of squares of a row
constexpr int TILE = 64;          // samples of a block of columns
constexpr int COLUMN_WARPS = TILE / 8;

extern __shared__ __align__(1024) uint4 shared_memory[];

template <typename T> DEVICE Row<T> row_of(const LongRows &a, int index)
{
    const int number = a.first + index, channel = number / a.c.batch;
    return Row<T>(a.c, number - channel * a.c.batch, channel);
}

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

// Phase 0: block (part, row), 256 threads.
template <typename K, Mode MODE> DEVICE void long_sums(const LongRows &a, int size)
{
    const Row<typename K::T> row = row_of<typename K::T>(a, blockIdx.y);
    const int part = size / PARTS, begin = blockIdx.x * part;
    double sum = 0;
#pragma unroll 4
    for (int first = begin + 8 * threadIdx.x; first < begin + part; first += 8 * 256) {
        Samples<K, MODE> samples;
        samples.load(row, first);
        float v[8];
        samples.product(v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum = fma((double)v[i], (double)v[i], sum);
    }
    __shared__ double warps[8];
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if ((threadIdx.x & 31) == 0)
        warps[threadIdx.x >> 5] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < 8; i++)
            sum += warps[i];
        a.sums[(size_t)blockIdx.y * PARTS + blockIdx.x] = sum;
    }
}

// The power of two that brings the root mean square of a row of `size` samples below 2^14 / size: a warp a row.
DEVICE void long_row_scales(const LongRows &a, int size)
{
    const int index = blockIdx.x * (blockDim.x / 32) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (index >= a.rows)
        return;
    double sum = a.sums[(size_t)index * PARTS + lane];
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    sum /= size;
    const bool is_usual = sum > 0 && sum < 1e300;
    const int log_size = 31 - __clz(size);
    if (lane == 0)
        a.scales[index] = is_usual ? ldexpf(1.f, min(max(13 - log_size - (ilogb(sum) >> 1), -126), 126)) : 1.f;
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

struct ColumnTile {
    int index, first; // row of the group, first sample of the tile
    DEVICE ColumnTile(const LongRows &a, int number)
    {
        const int tiles = a.points / TILE;
        index = number / tiles;
        first = (number - index * tiles) * TILE;
    }
};

// Phase 1.
template <typename K, int B, Mode MODE> DEVICE void long_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    unsigned char *const planes = reinterpret_cast<unsigned char *>(shared_memory + C::TABLE);
    const Word address = shared_address(planes);
    const int total = a.rows * (a.points / TILE);
    Samples<K, MODE> samples[C::VECTORS];
    const auto load = [&](int number) {
        const ColumnTile tile(a, number);
        const Row<T> row = row_of<T>(a, tile.index);
#pragma unroll
        for (int n = 0; n < C::VECTORS; n++) {
            const int i = threadIdx.x + 256 * n;
            samples[n].load(row, (i >> 3) * a.points + tile.first + 8 * (i & 7));
        }
    };
    if (C::AHEAD && blockIdx.x < total)
        load(blockIdx.x);
#pragma unroll 1
    for (int number = blockIdx.x; number < total; number += gridDim.x) {
        const ColumnTile tile(a, number);
        if (!C::AHEAD)
            load(number);
        const float scale = a.scales[tile.index];
#pragma unroll
        for (int n = 0; n < C::VECTORS; n++) {
            const int i = threadIdx.x + 256 * n;
            float v[8];
            samples[n].product(v);
#pragma unroll
            for (int j = 0; j < 8; j++)
                v[j] *= scale;
            *reinterpret_cast<uint4 *>(planes + C::place(i >> 3, i & 7)) =
                make_uint4(pack_half(v[0], v[1]), pack_half(v[2], v[3]), pack_half(v[4], v[5]), pack_half(v[6], v[7]));
        }
        if (C::AHEAD && number + gridDim.x < total)
            load(number + gridDim.x);
        __syncthreads();
        // Words of samples 2t and 2t + 1 at k' = g + 8 half.
        Word re[2][B], im[2][B];
        const int digit = lane & 15; // X' or k' of the matrix row that this lane addresses
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
        const float m = tile.first + 8 * unit + 2 * t, inverse_size = 1.f / size;
        const Turn step0 = turn(-16 * inverse_size * m), step1 = turn(-16 * inverse_size * (m + 1));
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float k = g + 8 * half - a.weight;
            word_butterfly<B, false, K::PRECISE>(re[half], im[half]);
            Turn factor[2] = {turn(-k * m * inverse_size), turn(-k * (m + 1) * inverse_size)};
            twiddle_words<B>(re[half], im[half], factor, step0, step1);
        }
#pragma unroll
        for (int k = 0; k < B; k++) {
            const int j = reversed(k, B);
            const Word words[4] = {re[0][j], re[1][j], im[0][j], im[1][j]};
            store_matrices<false>(address + (lane >> 4) * C::PLANE + C::place(digit, k, unit), words);
        }
        __syncthreads();
        __half *out = static_cast<__half *>(a.workspace) + (size_t)tile.index * 2 * size + tile.first;
#pragma unroll 4
        for (int i = threadIdx.x; i < C::A * 16; i += 256) {
            const int row = i >> 4, plane = i >> 3 & 1;
            *reinterpret_cast<uint4 *>(out + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7)) =
                *reinterpret_cast<const uint4 *>(planes + plane * C::PLANE + C::place(row, i & 7));
        }
        __syncthreads();
    }
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
    const int total = a.rows * (a.points / TILE);
    uint4 loaded[2 * C::VECTORS];
    const auto load = [&](int number) {
        const ColumnTile tile(a, number);
        const __half *in = static_cast<const __half *>(a.workspace) + (size_t)tile.index * 2 * size + tile.first;
#pragma unroll
        for (int n = 0; n < 2 * C::VECTORS; n++) {
            const int i = threadIdx.x + 256 * n, row = i >> 4, plane = i >> 3 & 1;
            loaded[n] = *reinterpret_cast<const uint4 *>(
                in + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7));
        }
    };
    if (C::AHEAD && blockIdx.x < total)
        load(blockIdx.x);
#pragma unroll 1
    for (int number = blockIdx.x; number < total; number += gridDim.x) {
        const ColumnTile tile(a, number);
        if (!C::AHEAD)
            load(number);
#pragma unroll
        for (int n = 0; n < 2 * C::VECTORS; n++) {
            const int i = threadIdx.x + 256 * n;
            *reinterpret_cast<uint4 *>(planes + (i >> 3 & 1) * C::PLANE + C::place(i >> 4, i & 7)) = loaded[n];
        }
        // The gates are on their way while the tile is computed.
        const Row<T> row = row_of<T>(a, tile.index);
        Word gates[C::VECTORS][4];
        const auto load_gates = [&] {
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                load_samples<8, MODE>(gates[n], row.out_gate(), (i >> 3) * a.points + tile.first + 8 * (i & 7), a.c);
            }
        };
        if (C::AHEAD) {
            if (K::GATED)
                load_gates();
            if (number + gridDim.x < total)
                load(number + gridDim.x);
        }
        __syncthreads();
        // Words of k' = 2t + 8 half and the next one, at sample g.
        Word re[2][B], im[2][B];
        const int digit = lane & 15;
#pragma unroll
        for (int k = 0; k < B; k++) {
            const int j = reversed(k, B);
            Word words[4];
            load_matrices<true>(words, address + (lane >> 4) * C::PLANE + C::place(digit, k, unit));
            re[0][j] = words[0], re[1][j] = words[1], im[0][j] = words[2], im[1][j] = words[3];
        }
        __syncwarp();
        const float m = tile.first + 8 * unit + g, inverse_size = 1.f / size;
        const Turn step = turn(16 * inverse_size * m);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const float k = 2 * t + 8 * half - a.weight;
            Turn factor[2] = {turn(k * m * inverse_size), turn((k + 1) * m * inverse_size)};
            twiddle_words<B>(re[half], im[half], factor, step, step);
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
        const float factor = a.c.unscale[row.channel] / a.scales[tile.index];
#pragma unroll
        for (int n = 0; n < C::VECTORS; n++) {
            const int i = threadIdx.x + 256 * n;
            const int first = (i >> 3) * a.points + tile.first + 8 * (i & 7);
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
            store_samples<8, MODE>(row.y(), first, a.c, y);
        }
        __syncthreads();
    }
}

// Between the columns and rows of 2048 where P = A 16 2048: the rows kX of 16 * 2048 complex points in columns of 16
// points, in place. Forward from planes [re or im][X][m] to [kX][re or im][m], inverse back.
template <bool INVERSE, bool PRECISE> DEVICE void long_middle_columns(const LongRows &a)
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
        const ColumnTile tile(a, number);
        __half *data = static_cast<__half *>(a.workspace) + (size_t)tile.index * 2 * size + tile.first + 8 * its_unit;
        *place = *reinterpret_cast<const uint4 *>(data + (INVERSE ? in_rows : in_planes));
        __syncthreads();
        const Word own = address + (lane >> 4) * C::PLANE + C::place(lane & 15, 0, unit);
        Word v[4]; // re, re, im, im of digits 2t + 8 half, sample g
        load_matrices<true>(v, own);
        __syncwarp();
        const float inverse_size = 1.f / size;
        const Turn none = {1, 0};
        if (INVERSE) {
            const float m = tile.first + 8 * unit + g;
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
            const float m = tile.first + 8 * unit + 2 * t;
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
    constexpr int R = 8, M = 256 * R, MATRICES = 8 * 32, INNER = 4 * 32, TWIDDLES = 2 * R * 32;
    const uint4 *tables = static_cast<const uint4 *>(a.c.tables);
    for (int i = threadIdx.x; i < MATRICES + INNER + TWIDDLES; i += blockDim.x)
        shared_memory[i] = tables[i];
    __syncthreads();
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const uint4 *matrices = shared_memory + lane, *inner = matrices + MATRICES, *twiddles = inner + INNER;
    const int total = a.rows * first_points, warps = gridDim.x * (blockDim.x / 32);
#pragma unroll 1
    for (int number = blockIdx.x * (blockDim.x / 32) + (threadIdx.x >> 5); number < total; number += warps) {
        const int index = number / first_points, k = number - index * first_points;
        const int channel = (a.first + index) / a.c.batch;
        const uint4 *spectrum =
            static_cast<const uint4 *>(a.c.spectrum) + ((size_t)channel * first_points + k) * (M / 4) + lane;
        // This lane's units: X = 2t, Y = g
        uint4 *const row = static_cast<uint4 *>(a.workspace) + (size_t)number * (M / 4) + 32 * t + g;
        Word z_re[R][4], z_im[R][4]; // q = 2 (Y half) + X half
        const auto place = [](int q) { return (q & 1) * 128 + (q >> 1) * 8; };
        const auto take = [&](Word(&z)[R][4], const uint4 *from) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const uint4 a = from[place(q)], b = from[place(q) + 16];
                const Word x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    z[2 * i][q] = __byte_perm(x[i], y[i], 0x5410);
                    z[2 * i + 1][q] = __byte_perm(x[i], y[i], 0x7632);
                }
            }
        };
        const auto give = [&](uint4 *to, const Word(&z)[R][4]) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                Word x[4], y[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    x[i] = __byte_perm(z[2 * i][q], z[2 * i + 1][q], 0x5410);
                    y[i] = __byte_perm(z[2 * i][q], z[2 * i + 1][q], 0x7632);
                }
                to[place(q)] = make_uint4(x[0], x[1], x[2], x[3]);
                to[place(q) + 16] = make_uint4(y[0], y[1], y[2], y[3]);
            }
        };
        take(z_re, row);
        take(z_im, row + M / 8);
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
        give(row, z_re);
        give(row + M / 8, z_im);
    }
}
