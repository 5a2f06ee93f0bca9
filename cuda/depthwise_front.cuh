// The short convolution in front of a gated long one: of channels-first projections [x0 | x1 | v], each of so many channels,
// with three causal taps,
//
//     y = [s(out) | s(in) * s(v)],   s(x)[b, h, t] = bias[h] + sum over j of taps[h, j] * x[b, h, t + j - 2]
//
// where `out` and `in` are x0 and x1 in one order or the other: the gate of the long convolution's output, and its input
// times the gate of that. Samples before the sequence have a value of each channel: where the projection left out its own
// bias b, `bias` has b * (sum of the taps) in it, and those samples are -b, so that they count as zeros. Sums are f32, and
// what is written is rounded once.
//
// A thread makes VECTORS times 16 bytes of both outputs, from overlapping windows of three rows that it has in registers;
// neighbours share them through the L1. Bound by device memory: three reads and two writes.
#pragma once

#include "depthwise.cuh"

// The same as `Arguments` in `src/cuda/depthwise/front.rs`.
struct GatedFront {
    Signal x; // (batch, 3 * channels, length), rows at multiples of 16 bytes, of whole vectors
    void *y;  // contiguous (batch, 2 * channels, length)
    // (3 * channels, 5): three taps, bias, samples before the sequence.
    const float *parameters;
    int channels, length;
    int out, in; // which third of the channels is which gate
};

// The same as in `src/cuda/depthwise/recipe/front.rs`.
constexpr int FRONT_TAPS = 3, FRONT_THREADS = 64, FRONT_VECTORS = 2;

// What one of the three rows of a thread is convolved with.
struct FrontChannel {
    float taps[FRONT_TAPS], bias, before;

    __device__ FrontChannel(const float *parameters)
    {
#pragma unroll
        for (int j = 0; j < FRONT_TAPS; j++) taps[j] = __ldg(parameters + j);
        bias = __ldg(parameters + FRONT_TAPS);
        before = __ldg(parameters + FRONT_TAPS + 1);
    }

    // The outputs of a vector; `first`: it begins its row.
    template <class T, class Samples> __device__ void correlate(const Samples &samples, bool first, float (&sums)[VECTOR<T>]) const
    {
        constexpr int V = VECTOR<T>;
        float x[V + FRONT_TAPS - 1];
#pragma unroll
        for (int i = 0; i < V + FRONT_TAPS - 1; i++) x[i] = first && i < FRONT_TAPS - 1 ? before : samples[i];
#pragma unroll
        for (int i = 0; i < V; i++) {
            sums[i] = bias;
#pragma unroll
            for (int j = 0; j < FRONT_TAPS; j++) sums[i] = fmaf(taps[j], x[i + j], sums[i]);
        }
    }
};

// Blocks: x along the row, y over channels, z over the batch.
template <class T> __device__ void gated_front(const GatedFront &f)
{
    constexpr int V = VECTOR<T>, STEP = FRONT_THREADS * V, OUT = 0, IN = 1, VALUE = 2;
    const int thirds[3] = {f.out, f.in, 2};
    const int channel = blockIdx.y, first = (blockIdx.x * FRONT_VECTORS * FRONT_THREADS + threadIdx.x) * V;
    const long long batch = blockIdx.z;
    const T *const x = static_cast<const T *>(f.x.data) + batch * f.x.batch_stride;

    Window<T, V + FRONT_TAPS - 1, SHIFT_OF<T, 1 - FRONT_TAPS>> windows[FRONT_VECTORS][3];
#pragma unroll
    for (int i = 0; i < FRONT_VECTORS; i++) {
#pragma unroll
        for (int k = 0; k < 3; k++) {
            const long long row = thirds[k] * f.channels + channel;
            windows[i][k].load(x + row * f.x.line_stride, first + i * STEP - (FRONT_TAPS - 1), f.length, 0);
        }
    }
    const auto of = [&](int third) {
        return FrontChannel(f.parameters + (thirds[third] * f.channels + channel) * (FRONT_TAPS + 2));
    };
    const FrontChannel out = of(OUT), in = of(IN), value = of(VALUE);
#pragma unroll
    for (int i = 0; i < FRONT_VECTORS; i++) {
#pragma unroll
        for (int k = 0; k < 3; k++) windows[i][k].arrive();
    }

    T *const gate = static_cast<T *>(f.y) + (batch * 2 * f.channels + channel) * f.length;
    T *const gated = gate + static_cast<long long>(f.channels) * f.length;
#pragma unroll
    for (int i = 0; i < FRONT_VECTORS; i++) {
        const int t = first + i * STEP;
        if (t >= f.length) return;
        float sums[V], values[V];
        uint32_t words[4];
        out.correlate<T>(windows[i][OUT], t == 0, sums);
        pack_vector<T>(sums, words);
        store_vector(gate, t, f.length, false, words);
        in.correlate<T>(windows[i][IN], t == 0, sums);
        value.correlate<T>(windows[i][VALUE], t == 0, values);
#pragma unroll
        for (int n = 0; n < V; n++) sums[n] *= values[n];
        pack_vector<T>(sums, words);
        store_vector(gated, t, f.length, false, words);
    }
}
