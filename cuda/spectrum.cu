// The spectrum of a kernel for the half families, f16, and its power-of-two scale.
//
// spectrum[channel][k] = FFT_P(c w^n)[k] / R * 2^-e, in the order in which the
// convolution's threads hold their frequencies; unscale[channel] = 2^e, where e
// brings the root of sum |c|^2 into [1, 2).
//
// P = A*M, M = 16*NY*R. One group of M/16 threads for each (channel, kX) gets the
// frequencies k = kX + A*k' by a transform of M points of
//
//   x[m] = sum_X c[X*M + m] exp(-2 pi i X (kX - weight)/A),   shift (kX - weight)/A,
//
// so every one of them reads the whole row, and sums up the same scale. Bound by
// the latency of one transform (fft_f32.cuh), for A = 16 by reading rows from the L2.

#include "half_layout.cuh"
#include "taps.cuh"
#include <cuda_fp16.h>

using fft::Complex;

// Sum over a group of THREADS threads, the same in each of them. `shared` holds a
// place for each warp.
template <int THREADS> FFT_INLINE float group_sum(float value, float *shared)
{
    constexpr int WIDTH = THREADS < 32 ? THREADS : 32;
#pragma unroll
    for (int step = WIDTH / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(0xffffffff, value, step);
    }
    if constexpr (THREADS > 32) {
        const int warp = threadIdx.x / 32;
        __syncthreads(); // the sum before this one has been read
        if (threadIdx.x % 32 == 0) {
            shared[warp] = value;
        }
        __syncthreads();
        value = 0;
        for (int i = 0; i < THREADS / 32; i++) {
            value += shared[i];
        }
    }
    return value;
}

// The exponent e of the root of a sum of squares over a group, root in [2^e, 2^(e+1)); 0
// for a sum that is zero or not finite. `rescaled(s)` is the thread's part of the
// sum of (s*x)^2: where the squares themselves leave the range of f32, which is rare.
template <int THREADS, class Rescaled>
FFT_INLINE int root_exponent(float squares, float *shared, const Rescaled &rescaled)
{
    constexpr float LARGE = 0x1p100f, SMALL = 0x1p-60f;
    constexpr int SHIFT = 80;
    float sum = group_sum<THREADS>(squares, shared);
    int shift = 0;
    // Small groups share warps, whose threads stay together.
    const bool is_usual = THREADS >= 32 ? sum > SMALL && sum < LARGE : __all_sync(0xffffffff, sum > SMALL && sum < LARGE);
    if (!is_usual) {
        const bool is_large = !(sum < LARGE), is_small = !(sum > SMALL);
        shift = is_large ? SHIFT : is_small ? -SHIFT : 0;
        sum = group_sum<THREADS>(rescaled(is_large ? 0x1p-80f : is_small ? 0x1p80f : 1.0f), shared);
        if (!(sum > 0) || isinf(sum)) {
            return 0;
        }
    }
    return min(max(ilogbf(sqrtf(sum)) + shift, -126), 127);
}

template <int A, int NY, int R> struct HalfSpectrum {
    static constexpr int M = 16 * NY * R;
    static constexpr int P = A * M;
    using Plan = fft::Plan<M>;
    static constexpr int THREADS = Plan::THREADS;
    static constexpr int BLOCK = THREADS < 64 ? 64 : THREADS;
    static constexpr int ROWS = BLOCK / THREADS; // (channel, kX) pairs in a block
    };

template <int A, int NY, int R>
FFT_INLINE void half_spectrum(const Taps &taps, unsigned *spectrum, float *unscale)
{
    using Shape = HalfSpectrum<A, NY, R>;
    using Plan = typename Shape::Plan;
    constexpr int M = Shape::M, THREADS = Shape::THREADS;
    __shared__ Complex points[Shape::ROWS * Plan::PADDED];
    __shared__ float warp_sums[THREADS > 32 ? THREADS / 32 : 1];

    const int t = threadIdx.x % THREADS;
    const int group = threadIdx.x / THREADS;
    const long long pair = (long long)blockIdx.x * Shape::ROWS + group;
    const bool active = pair < taps.channels * A;
    const long long channel = active ? pair / A : 0;
    const int first_frequency = active ? int(pair % A) : 0; // kX
    const TapRow<Shape::P> row(taps, channel);

    Complex x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        x[i] = {0, 0};
    }
    float squares = 0;
    const float shift = (float(first_frequency) - taps.weight) / A;
#pragma unroll 1
    for (int part = 0; part < A; part++) {
        Complex factor;
        sincospif(-2 * part * shift, &factor.im, &factor.re);
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const float value = row.real[part * M + t + THREADS * i];
            squares = fmaf(value, value, squares);
            x[i].re = fmaf(value, factor.re, x[i].re);
            x[i].im = fmaf(value, factor.im, x[i].im);
        }
        if (!row.minus_imaginary.is_empty()) {
#pragma unroll
            for (int i = 0; i < 16; i++) {
                const float value = row.minus_imaginary[part * M + t + THREADS * i];
                squares = fmaf(value, value, squares);
                x[i].re = fmaf(value, factor.im, x[i].re);
                x[i].im = fmaf(-value, factor.re, x[i].im);
            }
        }
    }
    const int exponent = root_exponent<THREADS>(squares, warp_sums, [&](float scale) {
        float scaled_squares = 0;
        for (int n = t; n < Shape::P; n += THREADS) {
            const float real = row.real[n] * scale, imaginary = row.minus_imaginary[n] * scale;
            scaled_squares = fmaf(real, real, fmaf(imaginary, imaginary, scaled_squares));
        }
        return scaled_squares;
    });

    Complex *shared = points + group * Plan::PADDED;
    fft::forward<Plan>(shared, x, t, shift);

    // To natural order, then out in the convolution's.
    fft::synchronise<THREADS>();
    fft::unroll<16>([&](auto j) {
        constexpr int from = fft::reverse_bits(j.value, 4);
        shared[Plan::place(fft::frequency<Plan>(t, j.value))] = x[from];
    });
    fft::synchronise<THREADS>();
    if (!active) {
        return;
    }
    if (t == 0 && first_frequency == 0) {
        unscale[channel] = scalbnf(1.0f, exponent);
    }
    unsigned *words = spectrum + pair * M;
#pragma unroll
    for (int i = 0; i < M / 2 / THREADS; i++) {
        const Layout<NY, R> layout(t + THREADS * i);
        const Complex low = shared[Plan::place(layout.frequency)];
        const Complex high = shared[Plan::place(layout.frequency + 16)];
        const auto scaled = [&](float value) { return scalbnf(value * (1.0f / R), -exponent); };
        const __half2 real = __floats2half2_rn(scaled(low.re), scaled(high.re));
        const __half2 imaginary = __floats2half2_rn(scaled(low.im), scaled(high.im));
        words[layout.real_word] = *reinterpret_cast<const unsigned *>(&real);
        words[layout.imaginary_word] = *reinterpret_cast<const unsigned *>(&imaginary);
    }
}

#define SPECTRUM_HALF(SIZE, A, NY, R)                                                                  \
    static_assert(HalfSpectrum<A, NY, R>::P == SIZE, "factors of the transform");                      \
    extern "C" __global__ void __launch_bounds__(HalfSpectrum<A, NY, R>::BLOCK) spectrum_half_p##SIZE( \
        const __grid_constant__ Taps taps, unsigned *spectrum, float *unscale)                      \
    {                                                                                               \
        half_spectrum<A, NY, R>(taps, spectrum, unscale);                                           \
    }

SPECTRUM_HALF(128, 1, 8, 1)
SPECTRUM_HALF(256, 1, 16, 1)
SPECTRUM_HALF(512, 1, 16, 2)
SPECTRUM_HALF(1024, 1, 16, 4)
SPECTRUM_HALF(2048, 1, 16, 8)
SPECTRUM_HALF(4096, 4, 16, 4)
SPECTRUM_HALF(8192, 8, 16, 4)
SPECTRUM_HALF(16384, 16, 16, 4)
SPECTRUM_HALF(32768, 16, 16, 8)
