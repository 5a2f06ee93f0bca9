// Convolution of rows of P = 128 or 256 samples: several rows of one channel on a warp.
//
// n = NY X + Y with 16 X and NY = 8 or 16 Y: both digits are contracted by matrix products, the spectrum is read
// once for all rows of the warp, data stay in registers and shared memory holds only the tables. Lanes read runs of
// NY / 4 neighbouring samples, so that a warp's reads are whole lines; the transposition by movmatrix turns them
// into right operands. For NY = 16 a lane's four samples are two words whose columns are numbered
// Y(slot) = 4 (slot % 8 / 2) + 2 (slot / 8) + slot % 2.
//
// Bound by device memory; for few rows by the latency of one.
#pragma once
#include "row_range.cuh"
#include "tensor_core.cuh"

// Table entries are four words a lane.
struct TileTables {
    const uint4 *entries; // of this lane

    DEVICE void load(Word (&w)[4], int entry) const
    {
        const uint4 v = entries[entry * 32];
        w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    }
};

// P = 128. Real and imaginary part of the 8 Y are stacked where they fill one operand.
// Tables: DFT of X, re and im; twiddle; DFT of Y with stacked rows, to re and im; inverse DFT of Y with stacked
// columns; conjugate twiddle; inverse DFT of X, re and -im.
template <bool PRECISE> struct Tile8 {
    static constexpr int ENTRIES = 8, SPECTRUM_ENTRIES = 1;
    Word forward_re[4], forward_im[4], twiddles[4], second[4], inverse[4], inverse_twiddles[4], last_re[4], last_im[4];
    Word spectrum[4];

    DEVICE Tile8(const TileTables &tables, const TileTables &spectra)
    {
        tables.load(forward_re, 0);
        tables.load(forward_im, 1);
        tables.load(twiddles, 2);
        tables.load(second, 3);
        tables.load(inverse, 4);
        tables.load(inverse_twiddles, 5);
        tables.load(last_re, 6);
        tables.load(last_im, 7);
        spectra.load(spectrum, 0);
    }

    // v[X half][0]: a right operand over X, columns Y. y[0]: the outputs, rows X, columns Y.
    DEVICE void convolve(const Word (&v)[2][1], Result<true> (&y)[1]) const
    {
        Result<PRECISE> re, im;
        multiply_matrices(re.sum, forward_re[0], forward_re[1], forward_re[2], forward_re[3], v[0][0], v[1][0]);
        multiply_matrices(im.sum, forward_im[0], forward_im[1], forward_im[2], forward_im[3], v[0][0], v[1][0]);
#pragma unroll
        for (int half = 0; half < 2; half++)
            twiddle(re, im, half, twiddles[half], twiddles[2 + half]);
        Result<PRECISE> out_re, out_im;
        multiply_matrices(out_re.sum, re.word(0), re.word(1), im.word(0), im.word(1), second[0], second[1]);
        multiply_matrices(out_im.sum, re.word(0), re.word(1), im.word(0), im.word(1), second[2], second[3]);
        Word z[2][2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            twiddle(out_re, out_im, half, spectrum[half], spectrum[2 + half]);
            // rows of `back`: real parts of all Y, then imaginary parts
            Result<PRECISE> back;
            multiply_matrices(back.sum, inverse[0], inverse[1], inverse[2], inverse[3], out_re.word(half), out_im.word(half));
            z[half][0] = back.word(0);
            z[half][1] = back.word(1);
            product<PRECISE>(z[half][0], z[half][1], inverse_twiddles[half], inverse_twiddles[2 + half]);
        }
        multiply_matrices(y[0].sum, last_re[0], last_re[1], last_re[2], last_re[3], z[0][0], z[1][0]);
        multiply_matrices(y[0].sum, last_im[0], last_im[1], last_im[2], last_im[3], z[0][1], z[1][1]);
    }
};

// P = 256. Tables: DFT of X, re and im; twiddle, re and im; DFT of Y, re, im and -im; inverse DFT of Y, re, im and
// -im; conjugate twiddle, re and im; inverse DFT of X, re and -im.
template <bool PRECISE> struct Tile16 {
    static constexpr int ENTRIES = 14, SPECTRUM_ENTRIES = 2;
    TileTables tables;
    Word spectrum_re[4], spectrum_im[4];

    DEVICE Tile16(const TileTables &tables, const TileTables &spectra) : tables(tables)
    {
        spectra.load(spectrum_re, 0);
        spectra.load(spectrum_im, 1);
    }

    DEVICE void convolve(const Word (&v)[2][2], Result<true> (&y)[2]) const
    {
        Word a[4], b[4], c[4];
        Result<PRECISE> re[2], im[2];
        tables.load(a, 0);
        tables.load(b, 1);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            multiply_matrices(re[n].sum, a[0], a[1], a[2], a[3], v[0][n], v[1][n]);
            multiply_matrices(im[n].sum, b[0], b[1], b[2], b[3], v[0][n], v[1][n]);
        }
        tables.load(a, 2);
        tables.load(b, 3);
#pragma unroll
        for (int q = 0; q < 4; q++)
            twiddle(re[q >> 1], im[q >> 1], q & 1, a[q], b[q]);
        Result<PRECISE> out_re[2], out_im[2];
        tables.load(a, 4);
        tables.load(b, 5);
        tables.load(c, 6);
        const Word r[4] = {re[0].word(0), re[0].word(1), re[1].word(0), re[1].word(1)};
        const Word i[4] = {im[0].word(0), im[0].word(1), im[1].word(0), im[1].word(1)};
#pragma unroll
        for (int n = 0; n < 2; n++) {
            multiply_matrices(out_re[n].sum, r[0], r[1], r[2], r[3], a[2 * n], a[2 * n + 1]);
            multiply_matrices(out_im[n].sum, r[0], r[1], r[2], r[3], b[2 * n], b[2 * n + 1]);
            multiply_matrices(out_re[n].sum, i[0], i[1], i[2], i[3], c[2 * n], c[2 * n + 1]);
            multiply_matrices(out_im[n].sum, i[0], i[1], i[2], i[3], a[2 * n], a[2 * n + 1]);
        }
        Word z_re[4], z_im[4];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            twiddle(out_re[q >> 1], out_im[q >> 1], q & 1, spectrum_re[q], spectrum_im[q]);
            z_re[q] = out_re[q >> 1].word(q & 1);
            z_im[q] = out_im[q >> 1].word(q & 1);
        }
        tables.load(a, 7);
        tables.load(b, 8);
        tables.load(c, 9);
        Result<PRECISE> back_re[2], back_im[2]; // rows Y, columns kX
#pragma unroll
        for (int n = 0; n < 2; n++) {
            multiply_matrices(back_re[n].sum, a[0], a[1], a[2], a[3], z_re[n], z_re[2 + n]);
            multiply_matrices(back_im[n].sum, b[0], b[1], b[2], b[3], z_re[n], z_re[2 + n]);
            multiply_matrices(back_re[n].sum, c[0], c[1], c[2], c[3], z_im[n], z_im[2 + n]);
            multiply_matrices(back_im[n].sum, a[0], a[1], a[2], a[3], z_im[n], z_im[2 + n]);
        }
        tables.load(a, 10);
        tables.load(b, 11);
#pragma unroll
        for (int q = 0; q < 4; q++)
            twiddle(back_re[q >> 1], back_im[q >> 1], q & 1, a[q], b[q]);
        tables.load(a, 12);
        tables.load(b, 13);
#pragma unroll
        for (int n = 0; n < 2; n++) {
            multiply_matrices(y[n].sum, a[0], a[1], a[2], a[3], back_re[0].word(n), back_re[1].word(n));
            multiply_matrices(y[n].sum, b[0], b[1], b[2], b[3], back_im[0].word(n), back_im[1].word(n));
        }
    }
};

template <int NY, bool PRECISE> struct TileOf;
template <bool PRECISE> struct TileOf<8, PRECISE> {
    typedef Tile8<PRECISE> Type;
};
template <bool PRECISE> struct TileOf<16, PRECISE> {
    typedef Tile16<PRECISE> Type;
};

// The words of one row that a lane holds: X = g and g + 8, NY / 4 neighbouring samples each.
template <int NY> struct TileWords {
    static constexpr int C = NY / 4;
    Word x[2][C / 2];

    template <Mode MODE, typename T> DEVICE void load(const T *row, int lane, const Convolution &c)
    {
#pragma unroll
        for (int half = 0; half < 2; half++)
            load_samples<C, MODE>(x[half], row, lane * C + half * 8 * NY, c);
    }
};

// Convolves one row, with its `scale` if SCALED. Tells what this lane saw of its range: something not finite, and a
// sample that reaches SMALL.
template <typename K, int NY, Mode MODE, bool SCALED, typename Tile>
DEVICE void convolve_tile(const Tile &tile, const Row<typename K::T> &row, const TileWords<NY> &u,
                          const TileWords<NY> &in_gate, const TileWords<NY> &out_gate, int lane,
                          float scale, float factor, bool &overflow, bool &large)
{
    constexpr int C = NY / 4;
    Word v[2][C / 2], magnitude = 0;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int n = 0; n < C / 2; n++) {
            const Word a = u.x[half][n], g = in_gate.x[half][n];
            Word pair;
            if constexpr (!K::GATED && !SCALED) {
                pair = K::F::halves(a);
            } else {
                float low = K::F::low(a), high = K::F::high(a);
                if (SCALED) {
                    low *= scale;
                    high *= scale;
                }
                if (K::GATED) {
                    low *= K::F::low(g);
                    high *= K::F::high(g);
                }
                pair = pack_half(low, high);
            }
            magnitude = larger_magnitude(magnitude, pair);
            v[half][n] = transpose(pair);
        }
    Result<true> y[C / 2];
    tile.convolve(v, y);
    float watched = 0;
#pragma unroll
    for (int n = 0; n < C / 2; n++) {
        watch(watched, y[n].sum[0]);
        watch(watched, y[n].sum[1]);
    }
    overflow = seen_non_finite(watched);
    large = reaches_small(magnitude);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        Word out[C / 2];
#pragma unroll
        for (int n = 0; n < C / 2; n++)
            out[n] = gate_out<K>(y[n].sum[2 * half], y[n].sum[2 * half + 1], out_gate.x[half][n], factor);
        store_samples<C, MODE>(row.y(), lane * C + half * 8 * NY, row.c, out);
    }
}

// ROWS rows of one channel a warp, WARPS warps a block.
template <typename K, int NY, int ROWS, int WARPS, Mode MODE> DEVICE void tile_rows(const Convolution &c)
{
    typedef typename K::T T;
    typedef typename TileOf<NY, K::PRECISE>::Type Tile;
    const int lane = threadIdx.x & 31;
    const long long warp = (long long)blockIdx.x * WARPS + (threadIdx.x >> 5);
    const int channel = warp % c.channels;
    const long long first = warp / c.channels * ROWS;
    if (first >= c.batch)
        return;
    const int rows = min((long long)ROWS, c.batch - first);
    // All rows are asked for before the first is used.
    TileWords<NY> u[ROWS], in_gate[ROWS], out_gate[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const Row<T> row(c, first + (r < rows ? r : 0), channel);
        u[r].template load<MODE>(row.u(), lane, c);
        if (K::GATED) {
            in_gate[r].template load<MODE>(row.in_gate(), lane, c);
            out_gate[r].template load<MODE>(row.out_gate(), lane, c);
        }
    }
    const TileTables tables = {static_cast<const uint4 *>(c.tables) + lane};
    const TileTables spectra = {static_cast<const uint4 *>(c.spectrum) +
                                (size_t)channel * (Tile::SPECTRUM_ENTRIES * 32) + lane};
    const Tile tile(tables, spectra);
    const float unscale = c.unscale[channel];
    // Rows by bit. They are not asked about one by one: that would keep a row waiting for the one before it.
    Word overflow = 0, large = 0;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (r >= rows)
            break;
        bool overflows, is_large;
        convolve_tile<K, NY, MODE, false>(tile, Row<T>(c, first + r, channel), u[r], in_gate[r], out_gate[r], lane, 1.f,
                                          unscale, overflows, is_large);
        overflow |= (Word)overflows << r;
        large |= (Word)is_large << r;
    }
    overflow = __reduce_or_sync(0xffffffffu, overflow);
    large = __reduce_or_sync(0xffffffffu, large);
#pragma unroll 1
    for (Word again = (overflow | ~large) & ((1u << rows) - 1); again; again &= again - 1) {
        const Row<T> row(c, first + __ffs(again) - 1, channel);
        TileWords<NY> words, in_words, out_words;
        words.template load<MODE>(row.u(), lane, c);
        if (K::GATED) {
            in_words.template load<MODE>(row.in_gate(), lane, c);
            out_words.template load<MODE>(row.out_gate(), lane, c);
        }
        const float scale = scale_for(peak_of<K>(row, lane, 32, c.length));
        bool overflows, is_large;
        convolve_tile<K, NY, MODE, true>(tile, row, words, in_words, out_words, lane, scale, unscale / scale, overflows,
                                         is_large);
    }
}
