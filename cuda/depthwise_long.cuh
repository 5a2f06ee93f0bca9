// The short convolution of channels-first tensors with any number of taps, summed in f32: for
// those that the other kernels do not take. Taps pass in blocks of 128 through shared memory; a
// thread makes 8 outputs at neighbouring times, so that a sample serves 8 products. Bound by the
// multiply-adds.
#pragma once

#include "depthwise.cuh"

constexpr int OUTPUTS = 8;
constexpr int LONG_THREADS = 128;

// Channels-first. A block makes LONG_THREADS * OUTPUTS outputs of one row. Blocks: x along the row, y over channels,
// z over the batch.
template <class T> __device__ void correlate_long_rows(const Correlation &c)
{
    constexpr int V = VECTOR<T>, TILE = LONG_THREADS * OUTPUTS;
    // Sample i at i + i / 8: the 8 samples that each thread reads next lie in different banks.
    __shared__ float samples_shared[(TILE + TAP_BLOCK + OUTPUTS) / 8 * 9];
    __shared__ float weight_shared[TAP_BLOCK];
    const int channel = blockIdx.y;
    const long long batch = blockIdx.z;
    const T *x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + channel * c.x.line_stride;
    T *y = static_cast<T *>(c.y) + (batch * c.channels + channel) * c.output_length;
    const int first = blockIdx.x * TILE - misalignment(y);
    if (first >= c.output_length) return;

    float sums[OUTPUTS];
#pragma unroll
    for (int u = 0; u < OUTPUTS; u++) sums[u] = read_bias(c.bias, channel);
    for (int tap = 0; tap < c.taps; tap += TAP_BLOCK) {
        const int count = min(TAP_BLOCK, c.taps - tap);
        __syncthreads();
        for (int i = threadIdx.x; i < TILE + TAP_BLOCK + OUTPUTS; i += LONG_THREADS) {
            const int at = first - c.left + tap + i;
            const uint32_t bits = at >= 0 && at < c.input_length ? Element<T>::bits(x + at) : 0;
            samples_shared[i + i / 8] = Element<T>::unpack(bits, 0);
        }
        for (int i = threadIdx.x; i < count; i += LONG_THREADS) weight_shared[i] = read(c.weight, channel, tap + i);
        __syncthreads();
        float samples[2 * OUTPUTS];
#pragma unroll
        for (int i = 0; i < OUTPUTS; i++) samples[i] = samples_shared[9 * threadIdx.x + i];
        for (int j = 0; j < count; j += OUTPUTS) {
#pragma unroll
            for (int i = 0; i < OUTPUTS; i++) {
                samples[OUTPUTS + i] = samples_shared[9 * (threadIdx.x + j / 8 + 1) + i];
            }
#pragma unroll
            for (int r = 0; r < OUTPUTS; r++) {
                if (j + r >= count) break;
                const float weight = weight_shared[j + r];
#pragma unroll
                for (int u = 0; u < OUTPUTS; u++) sums[u] = fmaf(weight, samples[u + r], sums[u]);
            }
#pragma unroll
            for (int i = 0; i < OUTPUTS; i++) samples[i] = samples[OUTPUTS + i];
        }
    }
#pragma unroll
    for (int part = 0; part < OUTPUTS; part += V) {
        float values[V];
#pragma unroll
        for (int u = 0; u < V; u++) values[u] = c.silu ? silu<T>(sums[part + u]) : sums[part + u];
        uint32_t words[4];
        pack_vector<T>(values, words);
        store_vector(y, first + static_cast<int>(threadIdx.x) * OUTPUTS + part, c.output_length, true, words);
    }
}

// The gradients of taps and bias for channels-first tensors, as pieces (see `depthwise_row_gradients.cuh`):
// dweight[j] = sum over t of dy[t] * x[t + j - left], dbias = sum of dy.
//
// A thread sums 8 neighbouring taps over an eighth of each stretch. Blocks: x over channels, y over
// pieces, z over blocks of 128 taps.
template <class T> __device__ void long_row_gradients(const Gradient &g)
{
    constexpr int TILE = LONG_THREADS * OUTPUTS, GROUPS = TAP_BLOCK / OUTPUTS, SLICES = LONG_THREADS / GROUPS;
    constexpr int SLICE = TILE / SLICES;
    __shared__ float x_shared[(TILE + TAP_BLOCK + OUTPUTS) / 8 * 9];
    __shared__ float dy_shared[TILE];
    __shared__ float sums_shared[SLICES][TAP_BLOCK + 1];
    const int channel = blockIdx.x, first_tap = blockIdx.z * TAP_BLOCK;
    const int group = threadIdx.x % GROUPS, slice = threadIdx.x / GROUPS;
    float sums[OUTPUTS] = {}, bias_sum = 0.0f;

    const int tiles = (g.output_length + TILE - 1) / TILE;
    const long long items = static_cast<long long>(g.batch) * tiles, end = items * (blockIdx.y + 1) / gridDim.y;
    for (long long item = items * blockIdx.y / gridDim.y; item < end; item++) {
        const long long batch = item / tiles;
        const int first = static_cast<int>(item % tiles) * TILE;
        const T *x = static_cast<const T *>(g.x.data) + batch * g.x.batch_stride + channel * g.x.line_stride;
        const T *dy = static_cast<const T *>(g.dy.data) + batch * g.dy.batch_stride + channel * g.dy.line_stride;
        __syncthreads();
        for (int i = threadIdx.x; i < TILE + TAP_BLOCK + OUTPUTS; i += LONG_THREADS) {
            const int at = first - g.left + first_tap + i;
            const uint32_t bits = at >= 0 && at < g.input_length ? Element<T>::bits(x + at) : 0;
            x_shared[i + i / 8] = Element<T>::unpack(bits, 0);
        }
        for (int i = threadIdx.x; i < TILE; i += LONG_THREADS) {
            const uint32_t bits = first + i < g.output_length ? Element<T>::bits(dy + (first + i)) : 0;
            dy_shared[i] = Element<T>::unpack(bits, 0);
        }
        __syncthreads();
        float samples[2 * OUTPUTS];
        // The sums of one stretch apart from those of all: less rounding.
        float tile_sums[OUTPUTS] = {}, tile_bias = 0.0f;
        const float *next = x_shared + 9 * (slice * SLICE / 8 + group);
#pragma unroll
        for (int i = 0; i < OUTPUTS; i++) samples[i] = next[i];
        for (int t = 0; t < SLICE; t += OUTPUTS) {
            next += 9;
#pragma unroll
            for (int i = 0; i < OUTPUTS; i++) samples[OUTPUTS + i] = next[i];
#pragma unroll
            for (int u = 0; u < OUTPUTS; u++) {
                const float product = dy_shared[slice * SLICE + t + u];
                tile_bias += product;
#pragma unroll
                for (int r = 0; r < OUTPUTS; r++) tile_sums[r] = fmaf(product, samples[u + r], tile_sums[r]);
            }
#pragma unroll
            for (int i = 0; i < OUTPUTS; i++) samples[i] = samples[OUTPUTS + i];
        }
        bias_sum += tile_bias;
#pragma unroll
        for (int r = 0; r < OUTPUTS; r++) sums[r] += tile_sums[r];
    }

#pragma unroll
    for (int r = 0; r < OUTPUTS; r++) sums_shared[slice][group * OUTPUTS + r] = sums[r];
    if (group == 0) sums_shared[slice][TAP_BLOCK] = bias_sum;
    leave_sums(g, channel, first_tap, sums_shared);
}
