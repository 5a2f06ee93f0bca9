// The short convolution of channels-last tensors, (B, L, H): the channels of a frame are neighbours.
//
// A block makes one tile of TILE_LINES * FRAMES frames of neighbouring channels from frames in
// shared memory; while it waits for them, other blocks of the multiprocessor compute. A thread owns
// C channels, and slides along FRAMES frames with the last K of them in registers. Bound by device
// memory.
#pragma once

#include "depthwise_tiles.cuh"

constexpr int FRAMES = 8; // outputs of a thread

// Blocks: x over groups of channels and, slower, over tiles, z over the batch. Exactly K taps or, where
// K = MANY_TAPS, at most so many.
template <class T, int K, int C> __device__ void correlate_frames(const Correlation &c)
{
    constexpr int TILE_FRAMES = TILE_LINES * FRAMES, ROWS = TILE_FRAMES + K - 1;
    using Parameters = TileParameters<T, K, C>;
    using FrameTile = Tile<T, C>;
    const int groups = (c.channels + FrameTile::WIDTH - 1) / FrameTile::WIDTH;
    const int first_channel = blockIdx.x % groups * FrameTile::WIDTH, first = blockIdx.x / groups * TILE_FRAMES;
    const int channel = first_channel + threadIdx.x * C;
    const int count = c.channels - first_channel; // those from here on
    const long long batch = blockIdx.z;
    const T *const x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + first_channel;
    float *const parameters = reinterpret_cast<float *>(depthwise_shared);
    T *const tile = reinterpret_cast<T *>(parameters + Parameters::FLOATS);
    FrameTile::template fill<ROWS>(tile, x, c.x.line_stride, first - c.left, c.input_length, count);
    Parameters::stage(parameters, c, first_channel, count);
    end_group_of_copies();
    wait_for_copies<0>();
    __syncthreads();
    float weight[K][C], bias[C];
    Parameters::load(parameters, weight, bias);

    const T *from = tile + threadIdx.y * FRAMES * FrameTile::WIDTH + threadIdx.x * C;
    const int t = first + threadIdx.y * FRAMES;
    T *to = static_cast<T *>(c.y) + (batch * c.output_length + t) * c.channels + channel;
    float window[K][C]; // frame i at i % K
#pragma unroll
    for (int i = 0; i < FRAMES + K - 1; i++) {
        Group<T, C> group;
        group.load(from + i * FrameTile::WIDTH);
        group.unpack(window[i % K]);
        const int u = i - (K - 1);
        if (u < 0) continue;
        float sums[C];
#pragma unroll
        for (int k = 0; k < C; k++) sums[k] = bias[k];
#pragma unroll
        for (int j = 0; j < K; j++) {
            if (K == MANY_TAPS && j >= c.taps) break;
#pragma unroll
            for (int k = 0; k < C; k++) sums[k] = fmaf(weight[j][k], window[(u + j) % K][k], sums[k]);
        }
        if (c.silu) {
#pragma unroll
            for (int k = 0; k < C; k++) sums[k] = silu<T>(sums[k]);
        }
        group.pack(sums);
        if (t + u < c.output_length && channel < c.channels) group.store(to);
        to += c.channels;
    }
}
