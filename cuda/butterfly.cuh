// Complex DFTs of R = 2^r points over the registers of a thread: of two neighbouring points at once, as words of two
// f16 numbers, or of one in f32.
//
// Forward by decimation in frequency, which leaves the frequencies in bit-reversed order, and backward by
// decimation in time, which takes them in that order. Not normalised: both together multiply by R.
#pragma once
#include "packed_half.cuh"

constexpr double PI = 3.14159265358979323846;

// Series that the compiler can evaluate, for angles up to pi.
constexpr __host__ __device__ double cosine(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; k < 20; k++) {
        term *= -x * x / ((2 * k - 1) * (2 * k));
        sum += term;
    }
    return sum;
}
constexpr __host__ __device__ double sine(double x)
{
    double sum = x, term = x;
    for (int k = 1; k < 20; k++) {
        term *= -x * x / ((2 * k) * (2 * k + 1));
        sum += term;
    }
    return sum;
}

// The same names for f32.
DEVICE float add(float a, float b) { return a + b; }
DEVICE float subtract(float a, float b) { return a - b; }
DEVICE float multiply(float a, float b) { return a * b; }
DEVICE float negate(float a) { return -a; }
DEVICE void multiply_complex(float &re, float &im, float factor_re, float factor_im)
{
    const float r = re * factor_re - im * factor_im;
    im = re * factor_im + im * factor_re;
    re = r;
}
DEVICE void multiply_conjugate(float &re, float &im, float factor_re, float factor_im)
{
    multiply_complex(re, im, factor_re, -factor_im);
}

template <typename Value> DEVICE Value constant(float x);
template <> DEVICE Word constant<Word>(float x) { return both(x); }
template <> DEVICE float constant<float>(float x) { return x; }

// (re, im) *= exp(-2 pi i M / R), or its conjugate in the inverse. M < R / 2.
template <int R, int M, bool INVERSE, typename Value> DEVICE void rotate(Value &re, Value &im)
{
    if constexpr (M == 0) {
        return;
    } else if constexpr (4 * M == R) {
        const Value old = re;
        re = INVERSE ? negate(im) : im;
        im = INVERSE ? old : negate(old);
    } else if constexpr (8 * M == R || 8 * M == 3 * R) {
        constexpr float diagonal = (float)cosine(PI / 4);
        const Value sum = add(re, im), difference = INVERSE ? subtract(re, im) : subtract(im, re);
        const Value c = constant<Value>(diagonal);
        if constexpr (8 * M == R) {
            re = multiply(INVERSE ? difference : sum, c);
            im = multiply(INVERSE ? sum : difference, c);
        } else {
            re = multiply(INVERSE ? negate(sum) : difference, c);
            im = multiply(INVERSE ? difference : negate(sum), c);
        }
    } else {
        constexpr float c = (float)cosine(2 * PI * M / R), s = (float)sine(2 * PI * M / R);
        if (INVERSE)
            multiply_complex(re, im, constant<Value>(c), constant<Value>(s));
        else
            multiply_conjugate(re, im, constant<Value>(c), constant<Value>(s));
    }
}

// One stage: pairs M and M + R/2 of the R points from FIRST.
template <int R, int FIRST, int M, bool INVERSE, typename Value> DEVICE void butterfly_stage(Value *re, Value *im)
{
    constexpr int A = FIRST + M, B = A + R / 2;
    if (INVERSE)
        rotate<R, M, true>(re[B], im[B]);
    const Value a_re = re[A], a_im = im[A], b_re = re[B], b_im = im[B];
    re[A] = add(a_re, b_re);
    im[A] = add(a_im, b_im);
    re[B] = subtract(a_re, b_re);
    im[B] = subtract(a_im, b_im);
    if (!INVERSE)
        rotate<R, M, false>(re[B], im[B]);
    if constexpr (M + 1 < R / 2)
        butterfly_stage<R, FIRST, M + 1, INVERSE>(re, im);
}

// Where the butterflies have frequency i.
constexpr __host__ __device__ int reversed(int i, int count) // i < count = 2^r
{
    int result = 0;
    for (int bit = 1; bit < count; bit *= 2)
        result = 2 * result + (i / bit & 1);
    return result;
}

template <int R, int FIRST = 0, typename Value> DEVICE void forward_butterfly(Value *re, Value *im)
{
    if constexpr (R > 1) {
        butterfly_stage<R, FIRST, 0, false>(re, im);
        forward_butterfly<R / 2, FIRST>(re, im);
        forward_butterfly<R / 2, FIRST + R / 2>(re, im);
    }
}

template <int R, int FIRST = 0, typename Value> DEVICE void inverse_butterfly(Value *re, Value *im)
{
    if constexpr (R > 1) {
        inverse_butterfly<R / 2, FIRST>(re, im);
        inverse_butterfly<R / 2, FIRST + R / 2>(re, im);
        butterfly_stage<R, FIRST, 0, true>(re, im);
    }
}
