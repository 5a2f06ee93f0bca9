// Convolution of rows of P = 256 R samples, R = 2, 4 or 8: one row on one warp.
//
// n = (16 X + Y) R + j. A warp holds the R columns j in registers (4 words of two f16 each for the real and the
// imaginary part). X and Y are contracted by matrix products with no data movement between them, j by a butterfly
// over registers; then the spectrum, and back the same way: no shared memory for data and no barrier.
//
// Shared memory: 14 entries of tables (DFT matrices and twiddles, see WarpTable), then twiddles of j. Registers: 8 R
// words of data.
//
// Bound by issue slots (about 25 warp instructions a point) and by latency, for which several warps share a
// multiprocessor, each in its own phase.
#pragma once
#include "column_transform.cuh"
#include "row_range.cuh"

// Keeps the compiler from moving table loads up to where their registers are not yet free.
DEVICE void keep_order() { asm volatile("" ::: "memory"); }

// Entries of the table of a warp.
enum WarpTable {
    FORWARD_X_RE, FORWARD_X_IM, TWIDDLE_RE, TWIDDLE_IM, FORWARD_Y_RE, FORWARD_Y_IM, FORWARD_Y_NEGATIVE_IM,
    INVERSE_Y_RE, INVERSE_Y_IM, INVERSE_Y_NEGATIVE_IM, INVERSE_TWIDDLE_RE, INVERSE_TWIDDLE_IM, INVERSE_X_RE,
    INVERSE_X_NEGATIVE_IM, WARP_ENTRIES
};

template <int R> struct WarpRows {
    // in uint4
    static constexpr int MATRICES = WARP_ENTRIES * 32, TABLES = MATRICES + 2 * R * 32, SPECTRUM = 256 * R / 4;
};

// One row's worth of work of a warp.
template <typename K, int R, Mode MODE> struct WarpRow {
    typedef typename K::T T;
    static constexpr bool PRECISE = K::PRECISE;

    Group<1> group;
    const uint4 *matrices, *twiddles; // of this lane

    // The first sample of the words q = 2 (Y half) + X half: X = 2t + 8 (q & 1) (and X + 1, 16 R samples later).
    // For R <= 4 neighbouring lanes take neighbouring Y, so that the halves of Y are odd and even.
    DEVICE int first_sample(int q) const
    {
        const int g = group.lane >> 2, t = group.lane & 3;
        const int x = 2 * t + 8 * (q & 1), y = R <= 4 ? 2 * g + (q >> 1) : g + 8 * (q >> 1);
        return (16 * x + y) * R;
    }

    DEVICE Operand matrix(int entry) const { return Operand(matrices + entry * 32); }

    // Loads the row and transforms X and Y. Returns the larger magnitude of some samples.
    DEVICE Word forward(const Row<T> &row, float scale, Word (&z_re)[R][4], Word (&z_im)[R][4]) const
    {
        const T *u = row.u(), *in_gate = row.in_gate();
        const Part inputs = row.inputs();
        Word v[R][4], magnitude = 0;
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const int first = first_sample(q);
            Word a[R / 2], b[R / 2], ga[R / 2] = {}, gb[R / 2] = {};
            load_samples<R, MODE>(a, u, first, inputs, row.c);
            load_samples<R, MODE>(b, u, first + 16 * R, inputs, row.c);
            if (K::GATED) {
                load_samples<R, MODE>(ga, in_gate, first, inputs, row.c);
                load_samples<R, MODE>(gb, in_gate, first + 16 * R, inputs, row.c);
            }
#pragma unroll
            for (int j = 0; j < R / 2; j++)
                gate_in<K, MODE>(a[j], b[j], ga[j], gb[j], scale, v[2 * j][q], v[2 * j + 1][q]);
            magnitude = larger_magnitude(magnitude, v[0][q]);
        }
        keep_order();
        const Operand x_re = matrix(FORWARD_X_RE), x_im = matrix(FORWARD_X_IM);
        const Operand twiddle_re = matrix(TWIDDLE_RE), twiddle_im = matrix(TWIDDLE_IM);
        const Operand y_re = matrix(FORWARD_Y_RE), y_im = matrix(FORWARD_Y_IM), y_negative_im = matrix(FORWARD_Y_NEGATIVE_IM);
#pragma unroll
        for (int j = 0; j < R; j++) {
            Result<PRECISE> re[2], im[2];
#pragma unroll
            for (int n = 0; n < 2; n++) {
                from_left(re[n].sum, x_re, v[j][2 * n], v[j][2 * n + 1]);
                from_left(im[n].sum, x_im, v[j][2 * n], v[j][2 * n + 1]);
            }
            twiddle(re, im, twiddle_re, twiddle_im);
            Result<PRECISE> out_re[2], out_im[2];
            complex_from_right(out_re, out_im, as_left(re), as_left(im), y_re, y_im, y_negative_im);
#pragma unroll
            for (int q = 0; q < 4; q++) {
                z_re[j][q] = out_re[q >> 1].word(q & 1);
                z_im[j][q] = out_im[q >> 1].word(q & 1);
            }
        }
        return magnitude;
    }

    // The digit j: twiddle, butterfly, spectrum, and back.
    DEVICE void columns(const uint4 *spectrum, Word (&z_re)[R][4], Word (&z_im)[R][4]) const
    {
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
    }

    // Transforms back, multiplies by the out-gate and stores. Returns NaN where something was not finite.
    DEVICE float inverse(const Row<T> &row, float factor, const Word (&z_re)[R][4], const Word (&z_im)[R][4]) const
    {
        Word out[4][2][R / 2]; // [q as in first_sample][X or X + 1]: gates, then outputs
        if (K::GATED) {
            const T *out_gate = row.out_gate();
#pragma unroll
            for (int q = 0; q < 4; q++) {
                load_samples<R, MODE>(out[q][0], out_gate, first_sample(q), row.outputs(), row.c);
                load_samples<R, MODE>(out[q][1], out_gate, first_sample(q) + 16 * R, row.outputs(), row.c);
            }
        }
        keep_order();
        const Operand y_re = matrix(INVERSE_Y_RE), y_im = matrix(INVERSE_Y_IM), y_negative_im = matrix(INVERSE_Y_NEGATIVE_IM);
        const Operand twiddle_re = matrix(INVERSE_TWIDDLE_RE), twiddle_im = matrix(INVERSE_TWIDDLE_IM);
        const Operand x_re = matrix(INVERSE_X_RE), x_negative_im = matrix(INVERSE_X_NEGATIVE_IM);
        float watched = 0;
#pragma unroll
        for (int pair = 0; pair < R / 2; pair++) {
            Result<true> y[2][2]; // [column of the pair][X half]: rows Y, columns X
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int j = 2 * pair + k;
                Result<PRECISE> re[2], im[2]; // [kX half]: rows Y, columns kX
                complex_from_left(re, im, y_re, y_im, y_negative_im, z_re[j], z_im[j]);
                twiddle(re, im, twiddle_re, twiddle_im);
                const Operand left_re = as_left(re), left_im = as_left(im);
#pragma unroll
                for (int n = 0; n < 2; n++)
                    from_right(y[k][n].sum, left_re, x_re, n);
#pragma unroll
                for (int n = 0; n < 2; n++)
                    from_right(y[k][n].sum, left_im, x_negative_im, n);
                // Something not finite before the last product reaches every X of its Y.
                watch(watched, y[k][0].sum[0]);
                watch(watched, y[k][0].sum[2]);
            }
#pragma unroll
            for (int q = 0; q < 4; q++)
#pragma unroll
                for (int x = 0; x < 2; x++) {
                    const int i = 2 * (q >> 1) + x;
                    out[q][x][pair] = gate_out<K>(y[0][q & 1].sum[i], y[1][q & 1].sum[i], out[q][x][pair], factor);
                }
        }
        T *y_row = row.y();
#pragma unroll
        for (int q = 0; q < 4; q++) {
            store_samples<R, MODE>(y_row, first_sample(q), row.outputs(), row.c, out[q][0]);
            store_samples<R, MODE>(y_row, first_sample(q) + 16 * R, row.outputs(), row.c, out[q][1]);
        }
        return watched;
    }

    // Convolves a row and tells what this warp saw of its range.
    DEVICE Word convolve(const Row<T> &row, float scale) const
    {
        Word z_re[R][4], z_im[R][4];
        const Word magnitude = forward(row, scale, z_re, z_im);
        columns(static_cast<const uint4 *>(row.c.spectrum) + (size_t)row.channel * WarpRows<R>::SPECTRUM + group.lane, z_re, z_im);
        float factor = row.c.unscale[row.channel];
        if (MODE == Mode::General)
            factor /= scale;
        return seen(inverse(row, factor, z_re, z_im), magnitude);
    }
};

extern __shared__ uint4 shared_memory[];

// A warp's place in the block and in shared memory.
template <typename K, int R, Mode MODE> DEVICE WarpRow<K, R, MODE> warp_row()
{
    const Group<1> group(shared_memory + WarpRows<R>::TABLES);
    return {group, shared_memory + group.lane, shared_memory + WarpRows<R>::MATRICES + group.lane};
}

// A function of its own, so as not to take the registers of the common case.
template <typename K, int R> __device__ __noinline__ Word warp_row_in_general(const Convolution &c, int batch, int channel, int piece, float scale)
{
    return warp_row<K, R, Mode::General>().convolve(Row<typename K::T>(c, batch, channel, piece), scale);
}

template <typename K, int R, Mode MODE> DEVICE void warp_rows(const Convolution &c)
{
    for (int i = threadIdx.x; i < WarpRows<R>::TABLES; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(c.tables)[i];
    const auto warp = warp_row<K, R, MODE>();
    warp.group.clear();
    __syncthreads();
    const auto general = [&](const Row<typename K::T> &row, float scale) {
        return warp_row_in_general<K, R>(c, row.batch, row.channel, row.piece, scale);
    };
    for_each_row<K, MODE>(
        c, warp.group,
        [&](const Row<typename K::T> &row) {
            return MODE == Mode::General ? general(row, 1.f) : warp.convolve(row, 1.f);
        },
        general);
}
