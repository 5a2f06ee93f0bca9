// Convolution of rows of P = A M samples, M = 256 R: one row on A R / 8 warps.
//
// n = X M + m with A = 4, 8 or 16 values of X, and m = (16 X' + Y') R + j, R = 4 or 8.
// 1. X pass: A-point DFTs over X by matrix products; lanes hold 8 neighbouring samples, so that a warp reads whole
//    lines of A rows of M.
// 2. The row kX of M points each goes through shared memory to one warp.
// 3. Row pass: transform of row kX in registers, X' and Y' by matrix products, j by a butterfly; spectrum; back.
// 4. The same way back: inverse X pass, out-gate, store.
// The twiddle exp(-2 pi i kX m / P) costs nothing: its digits are folded into the DFT matrices, that of j into those
// of X (one set for each j), those of X' and Y' into theirs (one set for each kX).
//
// Shared memory: tables (X matrices [R][4], row matrices [A][8], inner twiddles [4], twiddles of j [4][R/2], entries
// of 32 uint4), then for each group of warps the row as f16: kX, re or im, column of 8 samples `jj`, unit of 8 m
// 16 bytes each, the unit number swizzled by kX so that both passes meet no bank conflict.
// Registers: 64 words of data in each pass.
//
// Bound by the shared-memory pipe and by latency: with two barriers a row, several rows have to be in flight on a
// multiprocessor (P = 32768 has room for one).
#pragma once
#include "column_transform.cuh"
#include "row_range.cuh"

template <int A, int R> struct BlockRows {
    static constexpr int M = 256 * R, P = A * M, WARPS = A * R / 8;
    // in uint4
    static constexpr int X_MATRICES = R * 4 * 32, ROW_MATRICES = A * 8 * 32, INNER = 4 * 32, TWIDDLES = 2 * R * 32;
    static constexpr int TABLES = X_MATRICES + ROW_MATRICES + INNER + TWIDDLES, EXCHANGE = P / 4;
};

extern __shared__ __align__(1024) uint4 shared_memory[];

// One row's worth of work of a warp. Addresses are computed anew in each phase, through a zero that the compiler
// does not know: kept over the phases they would be spilled.
template <typename K, int A, int R, Mode MODE> struct BlockRow {
    typedef BlockRows<A, R> Size;
    typedef typename K::T T;
    static constexpr int M = Size::M, WARPS = Size::WARPS, ROWS = A / WARPS; // rows kX of a warp
    static constexpr bool PRECISE = K::PRECISE;

    Group<WARPS> group;
    int zero_offset; // of the zero, in uint4

    struct Place {
        int lane, member, g, t;
        const uint4 *x_matrices, *row_matrices, *inner, *twiddles; // of this lane
    };
    DEVICE Place place() const
    {
        const int zero = *reinterpret_cast<volatile int *>(shared_memory + zero_offset);
        Place p;
        p.lane = group.lane + zero;
        p.member = group.member + zero;
        p.g = p.lane >> 2;
        p.t = p.lane & 3;
        p.x_matrices = shared_memory + p.lane;
        p.row_matrices = p.x_matrices + Size::X_MATRICES;
        p.inner = p.row_matrices + Size::ROW_MATRICES;
        p.twiddles = p.inner + Size::INNER;
        return p;
    }
    DEVICE Word exchange() const { return shared_address(shared_memory + Size::TABLES + group.index * Size::EXCHANGE); }

    static constexpr int COLUMN = 64 * R, IMAGINARY = 2 * M; // bytes

    // Where row kX holds unit `unit` of its real (part 0) or imaginary (part 1) parts, column 0.
    static DEVICE Word unit_address(Word base, int row, int part, int unit)
    {
        // What the X pass writes at once are 8 rows, or for A = 4 both parts of 4 rows.
        const int swizzle = (A == 4 ? row | part << 2 : row & 7) ^ ((unit >> 3) & 1);
        return base + row * (4 * M) + part * IMAGINARY + ((unit ^ swizzle) << 4);
    }

    // The first of 8 neighbouring samples q of lane 8t + g, in memory order: eight lanes take a line of 128 bytes. The
    // lane also takes X + 1, M samples later.
    // A = 16: X = 2t + 8 (q & 1), group g of unit 2 member + q / 2. A = 8: X = 2t, unit 4 member + q.
    // A = 4: X = 2 (t & 1), unit 8 member + 2 q + t / 2.
    static DEVICE int first_sample(const Place &p, int q)
    {
        const int t = p.lane >> 3, g = p.lane & 7;
        if constexpr (A == 16)
            return (2 * t + 8 * (q & 1)) * M + (16 * p.member + g + 8 * (q >> 1)) * 8;
        else if constexpr (A == 8)
            return 2 * t * M + (32 * p.member + g + 8 * q) * 8;
        else
            return 2 * (t & 1) * M + (64 * p.member + g + 16 * q + 8 * (t >> 1)) * 8;
    }
    // Operands of matrix products have the words of lane 8t + g in lane 4g + t. Read in that order, samples would take
    // four times as many turns of the memory pipe as lines.
    static DEVICE Word to_operand_order(const Place &p, Word w) { return __shfl_sync(0xffffffffu, w, 8 * p.t + p.g); }
    static DEVICE Word to_memory_order(const Place &p, Word w)
    {
        return __shfl_sync(0xffffffffu, w, 4 * (p.lane & 7) + (p.lane >> 3));
    }

    // This lane's row of the first (and, for A = 4, second) matrices of the X pass that hold real parts, and of those
    // that hold imaginary parts. A = 4: both parts are in one matrix; units 0 to 3, and 4 to 7.
    DEVICE void x_pass_addresses(const Place &p, Word &first, Word &second) const
    {
        if constexpr (A == 4) {
            const int unit = 8 * p.member + (p.lane >> 3);
            first = unit_address(exchange(), p.lane & 3, (p.lane >> 2) & 1, unit);
            second = unit_address(exchange(), p.lane & 3, (p.lane >> 2) & 1, unit + 4);
        } else {
            const int unit = A == 16 ? 2 * p.member + (p.lane >> 4) : 4 * p.member + (p.lane >> 3);
            first = unit_address(exchange(), p.lane & (A - 1), 0, unit);
            second = first + IMAGINARY;
        }
    }

    DEVICE Word x_pass(const Row<T> &row, float scale) const
    {
        const Place p = place();
        Word address, second_address;
        x_pass_addresses(p, address, second_address);
        const T *u = row.u(), *in_gate = row.in_gate();
        const Part inputs = row.inputs();
        Word v[8][4], magnitude = 0; // A = 16: q = 2 (unit) + X half
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const int first = first_sample(p, q);
            Word a[4], b[4], ga[4] = {}, gb[4] = {};
            load_samples<8, MODE>(a, u, first, inputs, row.c);
            load_samples<8, MODE>(b, u, first + M, inputs, row.c);
            if (K::GATED) {
                load_samples<8, MODE>(ga, in_gate, first, inputs, row.c);
                load_samples<8, MODE>(gb, in_gate, first + M, inputs, row.c);
            }
#pragma unroll
            for (int j = 0; j < 4; j++)
                gate_in<K, MODE>(a[j], b[j], ga[j], gb[j], scale, v[2 * j][q], v[2 * j + 1][q]);
            magnitude = larger_magnitude(magnitude, v[0][q]);
        }
#pragma unroll
        for (int q = 0; q < 4; q++)
#pragma unroll
            for (int jj = 0; jj < 8; jj++)
                v[jj][q] = to_operand_order(p, v[jj][q]);
#pragma unroll
        for (int j = 0; j < R; j++) {
            const uint4 *matrices = p.x_matrices + j * 4 * 32;
            const Operand re(matrices), im(matrices + (A == 16 ? 32 : 0)); // A < 16: both parts in one
#pragma unroll
            for (int jj = j; jj < 8; jj += R) { // column jj = R (m / R % (8 / R)) + j
                Word out_re[4], out_im[4];
                if constexpr (A == 16) {
#pragma unroll
                    for (int n = 0; n < 2; n++) {
                        Result<PRECISE> x, y;
                        from_left(x.sum, re, v[jj][2 * n], v[jj][2 * n + 1]);
                        from_left(y.sum, im, v[jj][2 * n], v[jj][2 * n + 1]);
                        out_re[2 * n] = x.word(0), out_re[2 * n + 1] = x.word(1);
                        out_im[2 * n] = y.word(0), out_im[2 * n + 1] = y.word(1);
                    }
                } else { // one product makes real and imaginary parts (A = 4: of two units, one after the other)
#pragma unroll
                    for (int n = 0; n < 4; n++) {
                        Result<PRECISE> x;
                        multiply_matrices(x.sum, re[0], re[1], v[jj][n]);
                        if constexpr (A == 8) {
                            out_re[n] = x.word(0);
                            out_im[n] = x.word(1);
                        } else {
                            Word(&out)[4] = n < 2 ? out_re : out_im;
                            out[2 * (n & 1)] = x.word(0);
                            out[2 * (n & 1) + 1] = x.word(1);
                        }
                    }
                }
                store_matrices<false>(address + jj * COLUMN, out_re);
                store_matrices<false>(second_address + jj * COLUMN, out_im);
            }
        }
        return magnitude;
    }

    // Forward, spectrum, inverse of row kX.
    DEVICE void row_pass(const Place &p, int row, const uint4 *spectrum) const
    {
        const uint4 *matrices = p.row_matrices + row * 8 * 32;
        // Matrices of 8 X' and 8 Y': X' = lane % 16, and the halves of Y' are the units' parity (R = 8) or columns
        // 4 to 7 (R = 4).
        const int x = p.lane & 15, half = p.lane >> 4;
        const int unit = R == 8 ? 2 * x + half : x, column = R == 4 ? half * 4 * COLUMN : 0;
        const Word address = unit_address(exchange(), row, 0, unit) + column;
        const Word imaginary_address = A == 4 ? unit_address(exchange(), row, 1, unit) + column : address + IMAGINARY;
        Word z_re[R][4], z_im[R][4];
        {
            const Operand x_re(matrices), x_im(matrices + 32), y_re(matrices + 64), y_im(matrices + 96);
            const Operand twiddle_re(p.inner), twiddle_im(p.inner + 32);
#pragma unroll
            for (int j = 0; j < R; j++) {
                Word re[4], im[4]; // q = 2 (Y' half) + X' half
                load_matrices<true>(re, address + j * COLUMN);
                load_matrices<true>(im, imaginary_address + j * COLUMN);
                Result<PRECISE> c_re[2], c_im[2];
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(c_re[n].sum, x_re, re[2 * n], re[2 * n + 1]);
                    from_left(c_im[n].sum, x_im, re[2 * n], re[2 * n + 1]);
                }
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(c_re[n].sum, x_im, negate_bits(im[2 * n]), negate_bits(im[2 * n + 1]));
                    from_left(c_im[n].sum, x_re, im[2 * n], im[2 * n + 1]);
                }
                twiddle(c_re, c_im, twiddle_re, twiddle_im);
                Result<PRECISE> d_re[2], d_im[2];
                complex_from_right(d_re, d_im, as_left(c_re), as_left(c_im), y_re, y_im);
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
            ColumnTransform<R, PRECISE>::apply(p.twiddles + q * (R / 2) * 32, spectrum + q * (R / 2) * 32, re, im);
#pragma unroll
            for (int j = 0; j < R; j++)
                z_re[j][q] = re[j], z_im[j][q] = im[j];
        }
        {
            const Operand y_re(matrices + 128), y_im(matrices + 160), x_re(matrices + 192), x_im(matrices + 224);
            const Operand twiddle_re(p.inner + 64), twiddle_im(p.inner + 96);
#pragma unroll
            for (int j = 0; j < R; j++) {
                Result<PRECISE> d_re[2], d_im[2]; // [kX' half]: rows Y', columns kX'
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(d_re[n].sum, y_re, z_re[j][n], z_re[j][2 + n]);
                    from_left(d_im[n].sum, y_im, z_re[j][n], z_re[j][2 + n]);
                }
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(d_re[n].sum, y_im, negate_bits(z_im[j][n]), negate_bits(z_im[j][2 + n]));
                    from_left(d_im[n].sum, y_re, z_im[j][n], z_im[j][2 + n]);
                }
                twiddle(d_re, d_im, twiddle_re, twiddle_im);
                Result<PRECISE> e_re[2], e_im[2]; // [X' half]: rows Y', columns X'
                complex_from_right(e_re, e_im, as_left(d_re), as_left(d_im), x_re, x_im);
                Word re[4], im[4];
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    re[q] = e_re[q & 1].word(q >> 1);
                    im[q] = e_im[q & 1].word(q >> 1);
                }
                store_matrices<true>(address + j * COLUMN, re);
                store_matrices<true>(imaginary_address + j * COLUMN, im);
            }
        }
    }

    // left times a complex right operand
    static DEVICE void complex_from_right(Result<PRECISE> (&re)[2], Result<PRECISE> (&im)[2], const Operand &left_re,
                                          const Operand &left_im, const Operand &right_re, const Operand &right_im)
    {
#pragma unroll
        for (int n = 0; n < 2; n++) {
            from_right(re[n].sum, left_re, right_re, n);
            from_right(im[n].sum, left_re, right_im, n);
        }
        const Operand negative = left_im.negative();
#pragma unroll
        for (int n = 0; n < 2; n++) {
            from_right(re[n].sum, negative, right_im, n);
            from_right(im[n].sum, left_im, right_re, n);
        }
    }

    // Inverse of the X pass, after the barrier that it waits for; the gates are asked for before.
    DEVICE float inverse_x_pass(const Row<T> &row, float factor) const
    {
        const Place p = place();
        Word address, second_address;
        x_pass_addresses(p, address, second_address);
        Word out[4][2][4]; // [q][X or X + 1], in memory order: gates, then outputs
        if (K::GATED) {
            const T *out_gate = row.out_gate();
#pragma unroll
            for (int q = 0; q < 4; q++) {
                load_samples<8, MODE>(out[q][0], out_gate, first_sample(p, q), row.outputs(), row.c);
                load_samples<8, MODE>(out[q][1], out_gate, first_sample(p, q) + M, row.outputs(), row.c);
            }
        }
        group.barrier();
        float watched = 0;
#pragma unroll
        for (int pair = 0; pair < 4; pair++) {
            float y[2][4][2]; // [column of the pair][q][X or X + 1]
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int jj = 2 * pair + k;
                const uint4 *matrices = p.x_matrices + (jj % R * 4 + 2) * 32;
                const Operand x_re(matrices), x_negative_im(matrices + (A == 16 ? 32 : 0));
                Word re[4], im[4];
                load_matrices<true>(re, address + jj * COLUMN);
                load_matrices<true>(im, second_address + jj * COLUMN);
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    Result<true> result;
                    if constexpr (A == 16) { // rows: units; columns: X half n
                        multiply_matrices(result.sum, re[0], re[2], re[1], re[3], x_re[2 * n], x_re[2 * n + 1]);
                        multiply_matrices(result.sum, im[0], im[2], im[1], im[3], x_negative_im[2 * n],
                                          x_negative_im[2 * n + 1]);
                    } else if constexpr (A == 8) {
                        // rows: units 2n and 2n + 1; real and imaginary parts are the two halves of the terms
                        multiply_matrices(result.sum, re[2 * n], re[2 * n + 1], im[2 * n], im[2 * n + 1], x_re[0], x_re[1]);
                    } else {
                        // rows: units 4n (or 4n + 1, the second half of the terms) and 4n + 2 (or 4n + 3)
                        const Word(&m)[4] = n ? im : re;
                        multiply_matrices(result.sum, m[0], m[2], m[1], m[3], x_re[0], x_re[1]);
                    }
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        y[k][A == 16 ? 2 * (i >> 1) + n : 2 * n + (i >> 1)][i & 1] = result.sum[i];
                    // Something not finite reaches every X of its column: one X of each is looked at.
                    if (A < 16 || n == 0) {
                        watch(watched, result.sum[0]);
                        watch(watched, result.sum[2]);
                    }
                }
            }
#pragma unroll
            for (int q = 0; q < 4; q++)
#pragma unroll
                for (int x = 0; x < 2; x++) {
                    Word &word = out[q][x][pair];
                    const Word gate = K::GATED ? to_operand_order(p, word) : 0;
                    word = to_memory_order(p, gate_out<K>(y[0][q][x], y[1][q][x], gate, factor));
                }
        }
        T *y_row = row.y();
#pragma unroll
        for (int q = 0; q < 4; q++) {
            store_samples<8, MODE>(y_row, first_sample(p, q), row.outputs(), row.c, out[q][0]);
            store_samples<8, MODE>(y_row, first_sample(p, q) + M, row.outputs(), row.c, out[q][1]);
        }
        return watched;
    }

    DEVICE Word convolve(const Row<T> &row, float scale) const
    {
        const Word magnitude = x_pass(row, scale);
        group.barrier();
        {
            const Place p = place();
            const uint4 *spectrum = static_cast<const uint4 *>(row.c.spectrum) + (size_t)row.channel * (Size::P / 4) + p.lane;
#pragma unroll 1
            for (int i = 0; i < ROWS; i++) {
                const int k = p.member * ROWS + i;
                row_pass(p, k, spectrum + k * (M / 4));
            }
        }
        float factor = row.c.unscale[row.channel];
        if (MODE == Mode::General)
            factor /= scale;
        return seen(inverse_x_pass(row, factor), magnitude);
    }
};

// A warp's place in the block and in shared memory.
template <typename K, int A, int R, Mode MODE> DEVICE BlockRow<K, A, R, MODE> block_row()
{
    typedef BlockRows<A, R> Size;
    const int end = Size::TABLES + blockDim.x / (32 * Size::WARPS) * Size::EXCHANGE;
    return {Group<Size::WARPS>(shared_memory + end + 1), end};
}

// A function of its own, so as not to take the registers of the common case.
template <typename K, int A, int R> __device__ __noinline__ Word block_row_in_general(const Convolution &c, int batch, int channel, int piece, float scale)
{
    return block_row<K, A, R, Mode::General>().convolve(Row<typename K::T>(c, batch, channel, piece), scale);
}

template <typename K, int A, int R, Mode MODE> DEVICE void block_rows(const Convolution &c)
{
    for (int i = threadIdx.x; i < BlockRows<A, R>::TABLES; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(c.tables)[i];
    const auto warp = block_row<K, A, R, MODE>();
    warp.group.clear();
    if (threadIdx.x == 0)
        *reinterpret_cast<volatile int *>(shared_memory + warp.zero_offset) = 0;
    __syncthreads();
    const auto general = [&](const Row<typename K::T> &row, float scale) {
        return block_row_in_general<K, A, R>(c, row.batch, row.channel, row.piece, scale);
    };
    for_each_row<K, MODE>(
        c, warp.group,
        [&](const Row<typename K::T> &row) {
            return MODE == Mode::General ? general(row, 1.f) : warp.convolve(row, 1.f);
        },
        general);
}
