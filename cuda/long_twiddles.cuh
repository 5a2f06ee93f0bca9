// The butterflies and twiddles of the columns of long_rows.cuh, on words of two points.
#pragma once
#include "butterfly.cuh"

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
