// Arithmetic on words of two f16 numbers: two neighbouring points of a transform at once.
#pragma once
#include "word.cuh"
#include <cuda_fp16.h>

DEVICE __half2 as_half2(Word x) { return *reinterpret_cast<__half2 *>(&x); }
DEVICE Word as_word(__half2 x) { return *reinterpret_cast<Word *>(&x); }

DEVICE Word add(Word a, Word b) { return as_word(__hadd2(as_half2(a), as_half2(b))); }
DEVICE Word subtract(Word a, Word b) { return as_word(__hsub2(as_half2(a), as_half2(b))); }
DEVICE Word multiply(Word a, Word b) { return as_word(__hmul2(as_half2(a), as_half2(b))); }
DEVICE Word multiply_add(Word a, Word b, Word c)
{
    return as_word(__hfma2(as_half2(a), as_half2(b), as_half2(c)));
}
DEVICE Word larger_magnitude(Word a, Word b) { return as_word(__hmax2(__habs2(as_half2(a)), __habs2(as_half2(b)))); }
// By the sign bits: the compiler folds it into the operand of an addition or a product.
DEVICE Word negate(Word a) { return as_word(__hneg2(as_half2(a))); }
DEVICE Word negate_bits(Word a) { return a ^ 0x80008000u; }
DEVICE Word both(float x) { return as_word(__float2half2_rn(x)); }

DEVICE float low_half(Word x) { return __low2float(as_half2(x)); }
DEVICE float high_half(Word x) { return __high2float(as_half2(x)); }
DEVICE Word pack_half(float low, float high) { return as_word(__floats2half2_rn(low, high)); }

// (re, im) *= (factor_re, factor_im)
DEVICE void multiply_complex(Word &re, Word &im, Word factor_re, Word factor_im)
{
    const Word r = multiply_add(re, factor_re, negate(multiply(im, factor_im)));
    im = multiply_add(re, factor_im, multiply(im, factor_re));
    re = r;
}

// (re, im) *= the conjugate of (factor_re, factor_im)
DEVICE void multiply_conjugate(Word &re, Word &im, Word factor_re, Word factor_im)
{
    const Word r = multiply_add(re, factor_re, multiply(im, factor_im));
    im = multiply_add(im, factor_re, negate(multiply(re, factor_im)));
    re = r;
}

// The same, rounded once if PRECISE.
template <bool PRECISE> DEVICE void product(Word &re, Word &im, Word factor_re, Word factor_im)
{
    if constexpr (PRECISE) {
        const float x[2] = {low_half(re), high_half(re)}, y[2] = {low_half(im), high_half(im)};
        const float c[2] = {low_half(factor_re), high_half(factor_re)}, s[2] = {low_half(factor_im), high_half(factor_im)};
        re = pack_half(x[0] * c[0] - y[0] * s[0], x[1] * c[1] - y[1] * s[1]);
        im = pack_half(x[0] * s[0] + y[0] * c[0], x[1] * s[1] + y[1] * c[1]);
    } else {
        multiply_complex(re, im, factor_re, factor_im);
    }
}
template <bool PRECISE> DEVICE void conjugate_product(Word &re, Word &im, Word factor_re, Word factor_im)
{
    if constexpr (PRECISE)
        product<true>(re, im, factor_re, negate(factor_im));
    else
        multiply_conjugate(re, im, factor_re, factor_im);
}
