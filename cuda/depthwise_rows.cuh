// The short convolution of channels-first tensors, (B, H, L): a row's samples are neighbours.
//
// A thread makes VECTORS times 16 bytes of output, which start at addresses divisible by 16.
// What they read is loaded as whole vectors as well, and then shifted to its place in
// registers: the shift is the same for a whole row, so any length, padding, offset or stride
// runs at the same speed. Neighbouring threads read overlapping vectors, from the L1 cache.
// Bound by device memory.
#pragma once

#include "depthwise.cuh"

// Threads: x along the row, y over channels. Blocks: x along the row, y over channels, z over the batch.
// SHIFT: see `Window`; where it is known the rows of y have to be like those of x, and a block has one
// channel: then the addresses of rows and taps are the same for all threads, and take few instructions.
template <class T, int K, int VECTORS, int SHIFT> __device__ void correlate_rows(const Correlation &c)
{
    constexpr int V = VECTOR<T>;
    const int channel = SHIFT < 0 ? blockIdx.y * blockDim.y + threadIdx.y : blockIdx.y;
    if (channel >= c.channels) return;
    const long long batch = blockIdx.z;
    const T *x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + channel * c.x.line_stride;
    T *y = static_cast<T *>(c.y) + (batch * c.channels + channel) * c.output_length;
    const int x_misaligned = SHIFT < 0 ? misalignment(x) : 0, y_misaligned = SHIFT < 0 ? misalignment(y) : 0;
    const bool ragged = SHIFT < 0 && ((y_misaligned | c.output_length) & (V - 1));
    const int first = (blockIdx.x * blockDim.x * VECTORS + threadIdx.x) * V - y_misaligned;
    const int step = blockDim.x * V;

    Window<T, V + K - 1, SHIFT> window[VECTORS];
#pragma unroll
    for (int i = 0; i < VECTORS; i++) window[i].load(x, first + i * step - c.left, c.input_length, x_misaligned);
    Loaded<K> loaded_weight(c.weight, channel, K == MANY_TAPS ? c.taps : K);
    LoadedBias loaded_bias(c.bias, channel);
    float weight[K];
    loaded_weight.take(weight);
    const float bias = loaded_bias.take();
#pragma unroll
    for (int i = 0; i < VECTORS; i++) window[i].arrive();

#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
        const int t = first + i * step;
        if (t >= c.output_length) return;
        window[i].align(t - c.left, x_misaligned);
        float sums[V];
#pragma unroll
        for (int u = 0; u < V; u++) sums[u] = bias;
#pragma unroll
        for (int j = 0; j < K; j++) {
            if (K == MANY_TAPS && j >= c.taps) break;
#pragma unroll
            for (int u = 0; u < V; u++) sums[u] = fmaf(weight[j], window[i][u + j], sums[u]);
        }
        if (c.silu) {
#pragma unroll
            for (int u = 0; u < V; u++) sums[u] = silu<T>(sums[u]);
        }
        uint32_t words[4];
        pack_vector<T>(sums, words);
        store_vector(y, t, c.output_length, ragged, words);
    }
}
