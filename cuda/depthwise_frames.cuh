// The short convolution of channels-last tensors, (B, L, H): the channels of a frame are neighbours.
//
// A block makes one tile of TILE_LINES * FRAMES frames of neighbouring channels from frames in
// shared memory; while it waits for them, other blocks of the multiprocessor compute. Of many taps,
// which take so many registers that those blocks are few, it makes two neighbouring tiles, the second
// one under way. A thread owns C channels, and slides along FRAMES frames with the last K of them in
// registers. Bound by device memory.
#pragma once

#include "depthwise_tiles.cuh"

constexpr int FRAMES = 8; // outputs of a thread

// The frames of a thread from a tile that begins at frame `first` of the outputs.
template <class T, int K, int C>
__device__ inline void make_frames(
    const Correlation &c, const T *tile, const float (&weight)[K][C], const float (&bias)[C], int first, int channel)
{
    constexpr int WIDTH = Tile<T, C>::WIDTH;
    const T *from = tile + threadIdx.y * FRAMES * WIDTH + threadIdx.x * C;
    const int t = first + threadIdx.y * FRAMES;
    T *to = static_cast<T *>(c.y) + (static_cast<long long>(blockIdx.z) * c.output_length + t) * c.channels + channel;
    float window[K][C]; // frame i at i % K
#pragma unroll
    for (int i = 0; i < FRAMES + K - 1; i++) {
        Group<T, C> group;
        group.load(from + i * WIDTH);
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

// Blocks: x over groups of channels and, slower, over tiles, z over the batch. A block makes one tile or, where there are
// fewer blocks than tiles, STAGES, and has shared memory for as many. Exactly K taps or, where K = MANY_TAPS, at most so many.
template <class T, int K, int C, int STAGES> __device__ void correlate_frames(const Correlation &c)
{
    static_assert(STAGES == 1 || STAGES == 2);
    constexpr int TILE_FRAMES = TILE_LINES * FRAMES, ROWS = TILE_FRAMES + K - 1;
    using Parameters = TileParameters<T, K, C>;
    using FrameTile = Tile<T, C>;
    constexpr int TILE = ROWS * FrameTile::WIDTH;
    const int groups = (c.channels + FrameTile::WIDTH - 1) / FrameTile::WIDTH;
    const int all_tiles = (c.output_length + TILE_FRAMES - 1) / TILE_FRAMES;
    const int turns = STAGES == 1 || gridDim.x / groups >= all_tiles ? 1 : STAGES;
    const int first_tile = blockIdx.x / groups * turns, tiles = min(turns, all_tiles - first_tile);
    const int first_channel = blockIdx.x % groups * FrameTile::WIDTH, channel = first_channel + threadIdx.x * C;
    const int count = c.channels - first_channel; // those from here on
    const long long batch = blockIdx.z;
    const T *const x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + first_channel;
    float *const parameters = reinterpret_cast<float *>(depthwise_shared);
    T *const stages = reinterpret_cast<T *>(parameters + Parameters::FLOATS);
    const auto fill = [&](int stage) {
        const int first = (first_tile + stage) * TILE_FRAMES;
        FrameTile::template fill<ROWS>(stages + stage * TILE, x, c.x.line_stride, first - c.left, c.input_length, count);
    };
    fill(0);
    Parameters::stage(parameters, c, first_channel, count);
    end_group_of_copies();
    if (tiles > 1) fill(STAGES - 1);
    end_group_of_copies();
    wait_for_copies<1>();
    __syncthreads();
    float weight[K][C], bias[C];
    Parameters::load(parameters, weight, bias);

#pragma unroll 1
    for (int stage = 0; stage < tiles; stage++) {
        if (stage > 0) {
            wait_for_copies<0>();
            __syncthreads();
        }
        make_frames<T, K, C>(c, stages + stage * TILE, weight, bias, (first_tile + stage) * TILE_FRAMES, channel);
    }
}
