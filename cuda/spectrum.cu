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

#include "fft_f32.cuh"
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

// Layout of one (channel, kX): which frequency word `index` of M/2 real words holds in
// its low half (that of the high half is 16 further), where it and its imaginary twin lie.
template <int NY, int R> struct Layout {
    int frequency, real_word, imaginary_word;

    FFT_INLINE explicit Layout(int index)
    {
        constexpr int Q = NY / 4;                // units of 8 by 8 frequencies
        constexpr int VECTOR = R >= 4 ? 4 : R;   // words of one lane side by side
        int lane, q, j;
        if constexpr (R == 1 && NY == 8) {
            q = index % Q, lane = index / Q, j = 0;
            real_word = lane * 2 * Q + q;
            imaginary_word = real_word + Q;
        } else if constexpr (R == 1) {
            q = index % Q, lane = index / Q, j = 0;
            real_word = index;
            imaginary_word = real_word + 32 * Q;
        } else if constexpr (R == 2) {
            j = index % 2, lane = index / 2 % 32, q = index / 64;
            real_word = (q * 32 + lane) * 4 + j;
            imaginary_word = real_word + 2;
        } else {
            const int m = index % VECTOR, i = index / (32 * VECTOR) % (R / VECTOR);
            lane = index / VECTOR % 32;
            q = index / (32 * R);
            j = VECTOR * i + m;
            real_word = (((q * (R / VECTOR) + i) * 2) * 32 + lane) * VECTOR + m;
            imaginary_word = real_word + 32 * VECTOR;
        }
        const int row = (lane >> 2) + 8 * (q & 1);
        const int column = 2 * (lane & 3) + 8 * (q >> 1);
        // R is at most 16.
        const int reversed = R == 1 ? 0 : int(__brev(unsigned(j)) >> (32 - fft::log2(R)));
        frequency = row + 16 * column + 16 * NY * reversed;
    }
};

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

// The same for rows of P = first_points * 2048 samples in several passes (long_rows.cuh): row r of a channel has the
// frequencies kX + first_points k', kX = r / inner + first_points / inner * (r % inner). Every group reads the whole
// row of taps: `first_points` reads of each tap, which is what bounds it for the longest rows.
extern "C" __global__ void __launch_bounds__(128)
    spectrum_long(const __grid_constant__ Taps taps, unsigned *spectrum, float *unscale, int first_points, int inner)
{
    using Plan = fft::Plan<2048>;
    constexpr int R = 8, M = Plan::SIZE, THREADS = Plan::THREADS;
    static_assert(THREADS == 128, "one group a block");
    __shared__ Complex points[Plan::PADDED];
    __shared__ float warp_sums[THREADS / 32];

    const int t = threadIdx.x, size = first_points * M;
    const long long channel = blockIdx.x / first_points;
    const int r = blockIdx.x % first_points, outer = first_points / inner;
    const int first_frequency = r / inner + outer * (r % inner);
    const LongTapRow row(taps, channel, size);

    Complex x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        x[i] = {0, 0};
    }
    float squares = 0;
    // first_frequency - weight in quarters: exact, as is the product modulo a turn
    const int quarters = 4 * first_frequency - int(4 * taps.weight);
#pragma unroll 1
    for (int part = 0; part < first_points; part++) {
        const int turned = (quarters * part) & (4 * first_points - 1);
        Complex factor;
        sincospif(-2 * float(turned) / float(4 * first_points), &factor.im, &factor.re);
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
        for (int n = t; n < size; n += THREADS) {
            const float real = row.real[n] * scale, imaginary = row.minus_imaginary[n] * scale;
            scaled_squares = fmaf(real, real, fmaf(imaginary, imaginary, scaled_squares));
        }
        return scaled_squares;
    });
    fft::forward<Plan>(points, x, t, (float(first_frequency) - taps.weight) / first_points);

    fft::synchronise<THREADS>();
    fft::unroll<16>([&](auto j) {
        constexpr int from = fft::reverse_bits(j.value, 4);
        points[Plan::place(fft::frequency<Plan>(t, j.value))] = x[from];
    });
    fft::synchronise<THREADS>();
    if (t == 0 && r == 0) {
        unscale[channel] = scalbnf(1.0f, exponent);
    }
    unsigned *words = spectrum + (long long)blockIdx.x * M;
#pragma unroll
    for (int i = 0; i < M / 2 / THREADS; i++) {
        const Layout<16, R> layout(t + THREADS * i);
        const Complex low = points[Plan::place(layout.frequency)];
        const Complex high = points[Plan::place(layout.frequency + 16)];
        const auto scaled = [&](float value) { return scalbnf(value * (1.0f / R), -exponent); };
        const __half2 real = __floats2half2_rn(scaled(low.re), scaled(high.re));
        const __half2 imaginary = __floats2half2_rn(scaled(low.im), scaled(high.im));
        words[layout.real_word] = *reinterpret_cast<const unsigned *>(&real);
        words[layout.imaginary_word] = *reinterpret_cast<const unsigned *>(&imaginary);
    }
}
