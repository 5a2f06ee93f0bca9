// The spectrum of a kernel for long_rows.cu, f16, and its power-of-two scale, as cuda/spectrum.cu.
#include "spectrum.cu"

// kappa(block*P + n) for n in 0..P.
__device__ __forceinline__ Segment long_lags(const Taps &taps, const float *row, long long block, int P)
{
    const auto clamped = [P](long long n) { return int(n < 0 ? 0 : n > P ? P : n); };
    const long long first = block * P;
    if (block >= 0) {
        return {row + first, 0, clamped(taps.forward - first)};
    }
    return {
        row + taps.period + first,
        clamped(1 - taps.backward_end - first),
        clamped(1 - taps.backward_first - first),
    };
}

// c[n] = real[n] - i*minus_imaginary[n] for n in 0..P
struct LongTapRow {
    Segment real, minus_imaginary;

    __device__ __forceinline__ LongTapRow(const Taps &taps, long long channel, int P)
        : real(long_lags(taps, taps.data + channel * taps.channel_stride, taps.block, P)),
          minus_imaginary(long_lags(taps, taps.data + channel * taps.channel_stride, taps.block - 1, P))
    {
    }
};

// Rows of P = first_points * 2048 samples in several passes: row r of a channel has the
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
