// The two 16-point digits of a transform of 256 R points, for one of the R columns of a row, with all data in
// registers: contraction of X, twiddle, contraction of Y; and back.
#pragma once
#include "tensor_core.cuh"

// One operand of a matrix product: four words a lane, from a table of entries of 32 uint4.
struct Operand {
    Word w[4];

    DEVICE Operand() {}
    DEVICE Operand(const uint4 *entry)
    {
        const uint4 v = *entry;
        w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    }
    DEVICE Word operator[](int i) const { return w[i]; }
    DEVICE Operand negative() const
    {
        Operand result;
#pragma unroll
        for (int i = 0; i < 4; i++)
            result.w[i] = negate_bits(w[i]);
        return result;
    }
};

// result += left * (b0, b1)
template <typename Sum> DEVICE void from_left(Sum &sum, const Operand &left, Word b0, Word b1)
{
    multiply_matrices(sum, left[0], left[1], left[2], left[3], b0, b1);
}
// result += left * the columns `half` of a right operand of 16 x 16
template <typename Sum> DEVICE void from_right(Sum &sum, const Operand &left, const Operand &right, int half)
{
    multiply_matrices(sum, left[0], left[1], left[2], left[3], right[2 * half], right[2 * half + 1]);
}

// The four words of a 16 x 16 matrix of results, as the left operand of the next product.
template <bool PRECISE> DEVICE Operand as_left(const Result<PRECISE> (&tiles)[2])
{
    Operand left;
#pragma unroll
    for (int q = 0; q < 4; q++)
        left.w[q] = tiles[q >> 1].word(q & 1);
    return left;
}

// Elementwise product of 16 x 16 results with a table.
template <bool PRECISE>
DEVICE void twiddle(Result<PRECISE> (&re)[2], Result<PRECISE> (&im)[2], const Operand &factor_re, const Operand &factor_im)
{
#pragma unroll
    for (int q = 0; q < 4; q++)
        twiddle(re[q >> 1], im[q >> 1], q & 1, factor_re[q], factor_im[q]);
}

// Left times a complex right operand: (re, im) = left_re (right_re, right_im) + left_im (-right_im, right_re).
// All four products of a part are independent, and the two sums of one result far apart.
template <bool PRECISE>
DEVICE void complex_from_right(Result<PRECISE> (&re)[2], Result<PRECISE> (&im)[2], const Operand &left_re,
                               const Operand &left_im, const Operand &right_re, const Operand &right_im,
                               const Operand &right_negative_im)
{
#pragma unroll
    for (int n = 0; n < 2; n++) {
        from_right(re[n].sum, left_re, right_re, n);
        from_right(im[n].sum, left_re, right_im, n);
    }
#pragma unroll
    for (int n = 0; n < 2; n++) {
        from_right(re[n].sum, left_im, right_negative_im, n);
        from_right(im[n].sum, left_im, right_re, n);
    }
}

// A complex left operand times data: words z[q], q = 2 (column half) + row half, as right operands of columns half r.
template <bool PRECISE>
DEVICE void complex_from_left(Result<PRECISE> (&re)[2], Result<PRECISE> (&im)[2], const Operand &left_re,
                              const Operand &left_im, const Operand &left_negative_im, const Word (&z_re)[4],
                              const Word (&z_im)[4])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        from_left(re[r].sum, left_re, z_re[r], z_re[2 + r]);
        from_left(im[r].sum, left_im, z_re[r], z_re[2 + r]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        from_left(re[r].sum, left_negative_im, z_im[r], z_im[2 + r]);
        from_left(im[r].sum, left_re, z_im[r], z_im[2 + r]);
    }
}
