// The kernel of a convolution as a function of the lag, in blocks of P lags.
#pragma once

// Taps [channel][tap], f32. Tap j acts at lag j for j below `forward`, tap
// period - m at lag -m for m in [backward_first, backward_end).
struct Taps {
    const float *data;
    long long channel_stride;
    long long forward, backward_first, backward_end, period;
    long long block; // d: lags around d*P
    long long channels;
    float weight; // sample n is multiplied by exp(2 pi i weight n / P)
};

// Samples n of [begin, end) are origin[n]; the others are zeros.
struct Segment {
    const float *origin;
    int begin, end;

    __device__ __forceinline__ float operator[](int n) const
    {
        return n >= begin && n < end ? origin[n] : 0.0f;
    }
    __device__ __forceinline__ bool is_empty() const { return begin >= end; }
};

// kappa(block*P + n) for n in 0..P, where kappa(lag) is the tap that acts at a lag or zero.
__device__ __forceinline__ Segment lags(const Taps &taps, const float *row, long long block, int P)
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
        : real(lags(taps, taps.data + channel * taps.channel_stride, taps.block, P)),
          minus_imaginary(lags(taps, taps.data + channel * taps.channel_stride, taps.block - 1, P))
    {
    }
};

// The same where P is known to the compiler.
template <int P> struct TapRow : LongTapRow {
    __device__ __forceinline__ TapRow(const Taps &taps, long long channel) : LongTapRow(taps, channel, P) {}
};
