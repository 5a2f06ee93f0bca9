// Matrix products of a warp on the tensor cores, and the transpositions between their layouts.
//
// With g = lane / 4 and t = lane % 4 a warp holds, two numbers (neighbouring columns, or rows of a right operand)
// to a word,
//   a left operand, 16 x 16:    words (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8)      (row, first column)
//   a right operand, 16 x 8:    words (2t, g), (2t+8, g)                              (first row, column)
//   a result, 16 x 8:           words (g, 2t), (g+8, 2t)                              (row, first column).
// So results are, word for word, a left operand of a product over their columns, and a right operand of a product
// over their columns too (transposed): a transform of two digits needs no data movement between its stages.
#pragma once
#include "matrices.cuh"
#include "packed_half.cuh"

// result += left * right, accumulated in f16
DEVICE void multiply_matrices(Word (&result)[2], Word a0, Word a1, Word a2, Word a3, Word b0, Word b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1},{%2,%3,%4,%5},{%6,%7},{%0,%1};"
        : "+r"(result[0]), "+r"(result[1])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// result += left * right, accumulated in f32
DEVICE void multiply_matrices(float (&result)[4], Word a0, Word a1, Word a2, Word a3, Word b0, Word b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(result[0]), "+f"(result[1]), "+f"(result[2]), "+f"(result[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The same with 8 instead of 16 terms: left operand 16 x 8, right operand 8 x 8.
DEVICE void multiply_matrices(Word (&result)[2], Word a0, Word a1, Word b0)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0,%1},{%2,%3},{%4},{%0,%1};"
        : "+r"(result[0]), "+r"(result[1])
        : "r"(a0), "r"(a1), "r"(b0));
}
DEVICE void multiply_matrices(float (&result)[4], Word a0, Word a1, Word b0)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
        : "+f"(result[0]), "+f"(result[1]), "+f"(result[2]), "+f"(result[3])
        : "r"(a0), "r"(a1), "r"(b0));
}

// A 16 x 8 result while its terms are summed: in f16, or in f32 where the caller needs the precision.
template <bool PRECISE> struct Result;

template <> struct Result<false> {
    Word sum[2] = {0, 0};
    DEVICE Word word(int row_half) const { return sum[row_half]; }
};

template <> struct Result<true> {
    float sum[4] = {0, 0, 0, 0};
    DEVICE Word word(int row_half) const { return pack_half(sum[2 * row_half], sum[2 * row_half + 1]); }
};

// (re, im) *= (factor_re[row half], factor_im[row half]), elementwise
DEVICE void twiddle(Result<false> &re, Result<false> &im, int row_half, Word factor_re, Word factor_im)
{
    multiply_complex(re.sum[row_half], im.sum[row_half], factor_re, factor_im);
}
DEVICE void twiddle(Result<true> &re, Result<true> &im, int row_half, Word factor_re, Word factor_im)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float c = i ? high_half(factor_re) : low_half(factor_re);
        const float s = i ? high_half(factor_im) : low_half(factor_im);
        float &x = re.sum[2 * row_half + i], &y = im.sum[2 * row_half + i];
        const float r = x * c - y * s;
        y = x * s + y * c;
        x = r;
    }
}

// The transposed 8 x 8 matrix, of which each lane holds row g, columns 2t and 2t+1.
DEVICE Word transpose(Word a)
{
    Word d;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0,%1;" : "=r"(d) : "r"(a));
    return d;
}

// Four 8 x 8 matrices to shared memory; lane 8m + r gives the address of row r of matrix m (16 bytes).
template <bool TRANSPOSED> DEVICE void store_matrices(Word address, const Word (&m)[4])
{
#if __CUDA_ARCH__ >= 900
    if (TRANSPOSED)
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0],{%1,%2,%3,%4};" ::"r"(address), "r"(m[0]),
                     "r"(m[1]), "r"(m[2]), "r"(m[3])
                     : "memory");
    else
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0],{%1,%2,%3,%4};" ::"r"(address), "r"(m[0]),
                     "r"(m[1]), "r"(m[2]), "r"(m[3])
                     : "memory");
#else
    const int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const Word row = __shfl_sync(0xffffffffu, address, 8 * i + (lane >> 2));
        const Word word = TRANSPOSED ? transpose(m[i]) : m[i];
        asm volatile("st.shared.b32 [%0],%1;" ::"r"(row + 4 * (lane & 3)), "r"(word) : "memory");
    }
#endif
}
