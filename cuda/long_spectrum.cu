// Spectra in f16 for rows in several passes (long_rows.cuh), and their power-of-two scales, from those that
// long_full_rows.cu made in f32: as spectrum.cu has them for shorter rows.
//
// A spectrum in f32 has frequency k1 + A1 k2 + A1 A2 k3 in row k1 A2 + k2, k3 where its plan leaves it. One in f16 has
// frequency kX + F k' in row r of 256 R points, kX = r / inner + F / inner * (r % inner), k' as half_layout.cuh says.
// Bound by the memory: eight bytes of a line at a time.
#include "half_layout.cuh"
#include <cuda_fp16.h>

struct LongSpectrum {
    const fft::Complex *values; // of the group's first channel, divided by P
    unsigned *words;
    float *unscale;
    double *sums; // of |value|^2, PARTS for each spectrum of the channels of the group
    int full_outer, full_inner; // A1, A2
    int size;                   // P
    int rows, inner;            // F and the points of its columns between
    int segments;               // spectra of a channel, which share a scale; their words lie one after the other
};

namespace {

using fft::Complex;
using Full = fft::Plan<8192, 32>;
constexpr int THREADS = 256, PARTS = 64;

// Where a spectrum in f32 has a frequency.
FFT_INLINE int place_of(const LongSpectrum &a, int frequency)
{
    const int k1 = frequency % a.full_outer, k2 = frequency / a.full_outer % a.full_inner;
    const int k3 = frequency / (a.full_outer * a.full_inner);
    // fft::frequency, backwards: settled = first + FIRST * later, the digit `later` below `first` in the thread.
    const int j = k3 / Full::THREADS, settled = k3 % Full::THREADS;
    const int t = settled % Full::FIRST * Full::POINTS + settled / Full::FIRST;
    const int in_row = 2 * ((j / 2) * Full::THREADS + t) + j % 2;
    return (k1 * a.full_inner + k2) * Full::SIZE + in_row;
}

} // namespace

static_assert(Full::LATER == 2 && Full::THREADS == Full::FIRST * Full::POINTS, "place_of has one digit");

// blockIdx.x by part, blockIdx.y by channel.
extern "C" __global__ void __launch_bounds__(THREADS) long_spectrum_sums(const __grid_constant__ LongSpectrum a)
{
    const int count = a.size / PARTS;
    const Complex *values = a.values + (long long)blockIdx.y * a.size + blockIdx.x * count;
    double sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += THREADS) {
        const Complex z = values[i];
        sum = fma((double)z.re, (double)z.re, sum);
        sum = fma((double)z.im, (double)z.im, sum);
    }
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    __shared__ double warps[THREADS / 32];
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < THREADS / 32; i++)
            sum += warps[i];
        a.sums[blockIdx.y * a.segments * PARTS + blockIdx.x] = sum;
    }
}

// 2^e, e the exponent of the root of the sum of |c|^2, which is P times that of |value|^2; 1 where that is zero or not
// finite. The same in all threads.
FFT_INLINE float unscale_of(const LongSpectrum &a, int channel)
{
    const int parts = a.segments * PARTS;
    const double *sums = a.sums + channel * parts + threadIdx.x % 32;
    double sum = 0;
    for (int i = 0; i < parts; i += 32)
        sum += sums[i];
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    sum *= a.size;
    const bool is_usual = sum > 0 && sum < 1e300;
    // Of the root: half, rounded down.
    const int exponent = is_usual ? ilogb(sum) >> 1 : 0;
    return scalbnf(1.0f, min(max(exponent, -126), 127));
}

// blockIdx.x by words of a row, blockIdx.y by row, blockIdx.z by channel.
template <int R> FFT_INLINE void long_spectrum_words(const LongSpectrum &a)
{
    const int row = blockIdx.y, channel = blockIdx.z;
    const int kX = row / a.inner + a.rows / a.inner * (row % a.inner);
    const Layout<16, R> layout(blockIdx.x * THREADS + threadIdx.x);
    const Complex *values = a.values + (long long)channel * a.size;
    const Complex low = values[place_of(a, kX + a.rows * layout.frequency)];
    const Complex high = values[place_of(a, kX + a.rows * (layout.frequency + 16))];
    // By P / R 2^-e: two powers of two, so that neither leaves the range of f32.
    const float unscale = unscale_of(a, channel), factor = 1.0f / unscale, points = (float)a.size / R;
    const auto scaled = [&](float value) { return value * points * factor; };
    const __half2 real = __floats2half2_rn(scaled(low.re), scaled(high.re));
    const __half2 imaginary = __floats2half2_rn(scaled(low.im), scaled(high.im));
    if (blockIdx.x == 0 && row == 0 && threadIdx.x == 0)
        a.unscale[channel] = unscale;
    unsigned *words = a.words + ((long long)channel * a.segments * a.rows + row) * (256 * R);
    words[layout.real_word] = *reinterpret_cast<const unsigned *>(&real);
    words[layout.imaginary_word] = *reinterpret_cast<const unsigned *>(&imaginary);
}

// By R.
extern "C" __global__ void __launch_bounds__(THREADS) long_spectrum_words_4(const __grid_constant__ LongSpectrum a)
{
    long_spectrum_words<4>(a);
}
extern "C" __global__ void __launch_bounds__(THREADS) long_spectrum_words_8(const __grid_constant__ LongSpectrum a)
{
    long_spectrum_words<8>(a);
}
