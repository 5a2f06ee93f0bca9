// The kernel of a convolution as a function of the lag.
#pragma once

// Taps [channel][tap], f32. Tap j acts at lag j for j below `forward`, tap
// period - m at lag -m for m in [backward_first, backward_end).
struct Taps {
    const float *data;
    long long channel_stride;
    long long forward, backward_first, backward_end, period;
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

// c[n] = real[n] - i*minus_imaginary[n] for n in 0..P: the taps that act at lag n, and at lag n - P.
struct LongTapRow {
    Segment real, minus_imaginary;

    __device__ __forceinline__ LongTapRow(const Taps &taps, long long channel, int P)
    {
        const auto clamped = [P](long long n) { return int(n < 0 ? 0 : n > P ? P : n); };
        const float *row = taps.data + channel * taps.channel_stride;
        real = {row, 0, clamped(taps.forward)};
        minus_imaginary = {row + taps.period - P, clamped(P + 1 - taps.backward_end), clamped(P + 1 - taps.backward_first)};
    }
};

// The same where P is known to the compiler.
template <int P> struct TapRow : LongTapRow {
    __device__ __forceinline__ TapRow(const Taps &taps, long long channel) : LongTapRow(taps, channel, P) {}
};
