// A row of 256 R points in shared memory on one warp: transform, what is done with its frequencies (the product with the
// spectrum), and back, in place.
//
// m = (16 X' + Y') R + j, as in the second pass of block_rows.cuh; for each j an 8 x 8 matrix, rows X' (8 Y' side by
// side), of each half of X' and of Y'. Four matrices a row, 8 x 8 blocks in shared memory: X' re, im, Y' re, im, with
// their part of the twiddles of the pass before; the inverse ones are their conjugates, read transposed. Stages with a
// matrix on the left take three real products instead of four.
#pragma once
#include "cluster.cuh"
#include "column_transform.cuh"

constexpr int MATRIX_BYTES = 512;

// A complex left operand (re, im) of three real products.
struct ThreeProducts {
    Operand re, difference, negative_sum; // re, im - re, -(im + re)

    DEVICE ThreeProducts(const Operand &real, const Operand &imaginary)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            re.w[i] = real[i];
            difference.w[i] = subtract(imaginary[i], real[i]);
            negative_sum.w[i] = negate(add(imaginary[i], real[i]));
        }
    }
    // sum = first + left * (b0, b1)
    static DEVICE void add_product(Result<false> &sum, const Result<false> &first, const Operand &left, Word b0, Word b1)
    {
        asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1},{%2,%3,%4,%5},{%6,%7},{%8,%9};"
            : "=r"(sum.sum[0]), "=r"(sum.sum[1])
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(b0), "r"(b1), "r"(first.sum[0]), "r"(first.sum[1]));
    }
    // (out_re, out_im) = (re, im) * ((a0, a1) + i (b0, b1))
    DEVICE void multiply(Result<false> &out_re, Result<false> &out_im, Word a0, Word a1, Word b0, Word b1) const
    {
        Result<false> shared;
        from_left(shared.sum, re, add(a0, b0), add(a1, b1));
        add_product(out_im, shared, difference, a0, a1);
        add_product(out_re, shared, negative_sum, b0, b1);
    }
};

// left times a complex right operand
DEVICE void complex_from_right(Result<false> (&re)[2], Result<false> (&im)[2], const Operand &left_re, const Operand &left_im,
                                      const Operand &left_negative_im, const Operand &right_re, const Operand &right_im)
{
#pragma unroll
    for (int n = 0; n < 2; n++) {
        from_right(re[n].sum, left_re, right_re, n);
        from_right(im[n].sum, left_re, right_im, n);
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
        from_right(re[n].sum, left_negative_im, right_im, n);
        from_right(im[n].sum, left_im, right_re, n);
    }
}

// The product with a spectrum, of which this lane's entries begin at `entries`.
template <int R> struct SpectrumProduct {
    const uint4 *entries;
    DEVICE void operator()(int q, Word (&re)[R], Word (&im)[R]) const
    {
        ColumnTransform<R, false>::multiply_by({entries + q * (R / 2) * 32}, re, im);
    }
};

// `address_of(X' half, Y' half)` is that of this lane's row of a matrix of column 0, `at_column` goes from there to that of
// column j, and IMAGINARY bytes further lies the matrix of imaginary parts. `matrices` and `inner`: this lane's row of them.
// `multiply(q, re, im)` does the product of a quarter of the lane's frequencies, entries q R / 2 and on of its spectrum.
template <int R, int IMAGINARY, typename Multiply, typename Address, typename AtColumn>
DEVICE void row_pass(int lane, Word matrices, Word inner, const uint4 *twiddles, const Multiply &multiply, const Address &address_of,
                     const AtColumn &at_column)
{
    Word z_re[R][4], z_im[R][4];
    {
        const Word address = address_of(lane >> 3 & 1, lane >> 4);
        const ThreeProducts x(constant_matrix<false>(matrices), constant_matrix<false>(matrices + MATRIX_BYTES));
        const Operand y_re = constant_matrix<true>(matrices + 2 * MATRIX_BYTES), y_im = constant_matrix<true>(matrices + 3 * MATRIX_BYTES);
        const Operand twiddle_re = constant_matrix<false>(inner), twiddle_im = constant_matrix<false>(inner + MATRIX_BYTES);
#pragma unroll
        for (int j = 0; j < R; j++) {
            Word re[4], im[4]; // q = 2 (Y' half) + X' half
            load_matrices<true>(re, at_column(address, j));
            load_matrices<true>(im, at_column(address, j) + IMAGINARY);
            Result<false> c_re[2], c_im[2];
#pragma unroll
            for (int n = 0; n < 2; n++)
                x.multiply(c_re[n], c_im[n], re[2 * n], re[2 * n + 1], im[2 * n], im[2 * n + 1]);
            twiddle(c_re, c_im, twiddle_re, twiddle_im);
            Result<false> d_re[2], d_im[2];
            const Operand left_re = as_left(c_re), left_im = as_left(c_im);
            complex_from_right(d_re, d_im, left_re, left_im, left_im.negative(), y_re, y_im);
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
        typedef ColumnTransform<R, false> Column;
        const typename Column::Twiddles factors = {twiddles + q * (R / 2) * 32};
        Column::forward(factors, re, im);
        multiply(q, re, im);
        Column::inverse(factors, re, im);
#pragma unroll
        for (int j = 0; j < R; j++)
            z_re[j][q] = re[j], z_im[j][q] = im[j];
    }
    {
        // By the conjugate matrices: (re, im) conj(m) = conj(m (re, -im)), or i times m (im, re) conjugated.
        const Word address = address_of(lane >> 4, lane >> 3 & 1);
        const ThreeProducts y(constant_matrix<false>(matrices + 2 * MATRIX_BYTES), constant_matrix<false>(matrices + 3 * MATRIX_BYTES));
        const Operand x_re = constant_matrix<true>(matrices), x_im = constant_matrix<true>(matrices + MATRIX_BYTES);
        const Operand twiddle_re = constant_matrix<true>(inner), twiddle_im = constant_matrix<true>(inner + MATRIX_BYTES);
#pragma unroll
        for (int j = 0; j < R; j++) {
            Result<false> d_re[2], d_im[2]; // [kX' half]: rows Y', columns kX'
#pragma unroll
            for (int n = 0; n < 2; n++)
                y.multiply(d_im[n], d_re[n], z_im[j][n], z_im[j][2 + n], z_re[j][n], z_re[j][2 + n]);
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const int transposed = q >> 1 | (q & 1) << 1;
                multiply_conjugate(d_re[q >> 1].sum[q & 1], d_im[q >> 1].sum[q & 1], twiddle_re[transposed], twiddle_im[transposed]);
            }
            Result<false> e_re[2], e_im[2]; // [X' half]: rows Y', columns X'
            const Operand left_re = as_left(d_re), left_im = as_left(d_im);
            complex_from_right(e_im, e_re, left_im, left_re, left_re.negative(), x_re, x_im);
            Word re[4], im[4];
#pragma unroll
            for (int q = 0; q < 4; q++) {
                re[q] = e_re[q >> 1].word(q & 1);
                im[q] = e_im[q >> 1].word(q & 1);
            }
            store_matrices<true>(at_column(address, j), re);
            store_matrices<true>(at_column(address, j) + IMAGINARY, im);
        }
    }
}
