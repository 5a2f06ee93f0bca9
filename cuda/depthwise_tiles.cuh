// Tiles of channels-last tensors, (B, L, H), in shared memory: some frames of neighbouring channels.
//
// A block asks for a whole tile at once by asynchronous copies, which take no registers, and
// blocks lie next to one another in memory: longer stretches for each thread read and write
// memory at more places at a time, and were slower.
#pragma once

#include "depthwise.cuh"

constexpr int TILE_THREADS = 32; // along the channels
constexpr int TILE_LINES = 8;    // of threads, along the frames

// C neighbouring elements, of 8 bytes at most, loaded and stored at once.
template <class T, int C> struct Group {
    static constexpr int BYTES = C * sizeof(T);
    static constexpr int WORDS = (BYTES + 3) / 4;
    uint32_t words[WORDS];

    // From shared memory.
    __device__ void load(const T *at)
    {
        if constexpr (BYTES == 8) {
            const uint2 vector = *reinterpret_cast<const uint2 *>(at);
            words[0] = vector.x, words[1] = vector.y;
        } else if constexpr (BYTES == 4) {
            words[0] = *reinterpret_cast<const uint32_t *>(at);
        } else {
            words[0] = *reinterpret_cast<const unsigned short *>(at);
        }
    }

    __device__ void unpack(float (&values)[C]) const
    {
        constexpr int P = Element<T>::PER_WORD;
#pragma unroll
        for (int i = 0; i < C; i++) values[i] = Element<T>::unpack(words[i / P], i % P);
    }

    __device__ void pack(const float (&values)[C])
    {
        constexpr int P = Element<T>::PER_WORD;
        if constexpr (C < P) {
            const float pair[2] = {values[0], 0.0f};
            words[0] = Element<T>::pack(pair);
        } else {
#pragma unroll
            for (int k = 0; k < WORDS; k++) words[k] = Element<T>::pack(values + P * k);
        }
    }

    __device__ void store(T *at) const
    {
        if constexpr (BYTES == 8) {
            __stcs(reinterpret_cast<uint2 *>(at), make_uint2(words[0], words[1]));
        } else if constexpr (BYTES == 4) {
            __stcs(reinterpret_cast<uint32_t *>(at), words[0]);
        } else {
            Element<T>::put(at, words[0], 0);
        }
    }
};

extern __shared__ float4 depthwise_shared[];

// The frames of a tile whose threads take C channels each: a line for each frame, without gaps.
// Where C is 1 anything goes; otherwise frames begin at multiples of 16 bytes, and have whole vectors.
template <class T, int C> struct Tile {
    static constexpr int WIDTH = TILE_THREADS * C, V = VECTOR<T>;
    static constexpr int THREADS = TILE_THREADS * TILE_LINES;

    // Starts to copy ROWS frames from `first` on. `data`: those of the tile's channels, of which there are
    // `channels`; zeros for others and for frames outside of [0, length).
    template <int ROWS>
    static __device__ void fill(T *to, const T *data, long long stride, int first, int length, int channels)
    {
        const int thread = threadIdx.y * TILE_THREADS + threadIdx.x;
        if constexpr (C > 1) {
            constexpr int CHUNKS = WIDTH / V, STEP = THREADS / CHUNKS;
            const int chunk = thread % CHUNKS;
            const bool present = chunk * V < channels;
            uint4 *at = reinterpret_cast<uint4 *>(to) + thread;
            int row = thread / CHUNKS;
            const T *from = data + (first + row) * stride + chunk * V;
#pragma unroll
            for (int i = 0; i < (ROWS + STEP - 1) / STEP; i++) {
                if ((i + 1) * STEP <= ROWS || row < ROWS) {
                    const bool inside = present && static_cast<unsigned>(first + row) < static_cast<unsigned>(length);
                    copy_16_bytes(shared_address(at), from, inside);
                }
                at += THREADS, row += STEP, from += STEP * stride;
            }
        } else {
            constexpr int COUNT = (ROWS + TILE_LINES - 1) / TILE_LINES;
            T values[COUNT];
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const int frame = first + static_cast<int>(threadIdx.y) + i * TILE_LINES;
                values[i] = static_cast<T>(0.0f);
                if (threadIdx.x < channels && frame >= 0 && frame < length) values[i] = data[frame * stride + threadIdx.x];
            }
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const int row = threadIdx.y + i * TILE_LINES;
                if (row < ROWS) to[row * WIDTH + threadIdx.x] = values[i];
            }
        }
    }
};

// Weight and bias of the block's channels in shared memory.
template <class T, int K, int C> struct TileParameters {
    static constexpr int WIDTH = TILE_THREADS * C, THREADS = TILE_THREADS * TILE_LINES;
    // A thread's C * K taps are K units of C floats; an odd distance between threads keeps them in different banks.
    static constexpr int PITCH = (K | 1) * C;
    static constexpr int FLOATS = TILE_THREADS * PITCH + WIDTH;

    // Copies those of `count` channels from `first` on; they are there after the copies and a barrier.
    template <class Arguments> static __device__ void stage(float *shared, const Arguments &c, int first, int count)
    {
        const int thread = threadIdx.y * TILE_THREADS + threadIdx.x;
        const Parameter &w = c.weight;
        LoadedBias loaded_bias(c.bias, first + min(thread, count - 1)); // before the taps, which are waited for
        const float *taps = static_cast<const float *>(w.data) + first * w.channel_stride;
        const bool dense = C == 4 && w.kind == 0 && w.tap_stride == 1 && w.channel_stride == K &&
                           reinterpret_cast<uintptr_t>(taps) % 16 == 0;
        if (dense && K != MANY_TAPS) {
            const uint4 *const from = reinterpret_cast<const uint4 *>(taps);
            const int units = min(WIDTH, count) / 4 * K;
            for (int unit = thread; unit < units; unit += THREADS) {
                uint4 *const to = reinterpret_cast<uint4 *>(shared) + unit / K * (K | 1) + unit % K;
                copy_16_bytes(shared_address(to), from + unit, true);
            }
        } else if (w.kind == 0) {
            convert<float>(shared, w, first, count, c.taps);
        } else if (w.kind == 1) {
            convert<__half>(shared, w, first, count, c.taps);
        } else {
            convert<__nv_bfloat16>(shared, w, first, count, c.taps);
        }
        if (thread < WIDTH) {
            shared[TILE_THREADS * PITCH + thread] = thread < count ? loaded_bias.take() : 0.0f;
        }
    }

    // All loads first, and then all stores: so that they wait once.
    template <class W>
    static __device__ void convert(float *shared, const Parameter &w, int first, int count, int present)
    {
        constexpr int COUNT = (WIDTH * K + THREADS - 1) / THREADS;
        const int thread = threadIdx.y * TILE_THREADS + threadIdx.x;
        const W *const data = static_cast<const W *>(w.data) + first * w.channel_stride;
        W values[COUNT];
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const int channel = (thread + i * THREADS) / K, tap = (thread + i * THREADS) % K;
            values[i] = static_cast<W>(0.0f);
            if (channel < count && tap < present) values[i] = data[channel * w.channel_stride + tap * w.tap_stride];
        }
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const int channel = (thread + i * THREADS) / K, tap = (thread + i * THREADS) % K;
            if (channel < WIDTH) shared[channel / C * PITCH + channel % C * K + tap] = static_cast<float>(values[i]);
        }
    }

    static __device__ void load(const float *shared, float (&weight)[K][C], float (&bias)[C])
    {
        // In vectors, as they lie.
        alignas(16) float taps[K * C];
        const float *const from = shared + threadIdx.x * PITCH;
#pragma unroll
        for (int i = 0; i < K; i++) {
            if constexpr (C == 4) {
                *reinterpret_cast<float4 *>(taps + 4 * i) = reinterpret_cast<const float4 *>(from)[i];
            } else if constexpr (C == 2) {
                *reinterpret_cast<float2 *>(taps + 2 * i) = reinterpret_cast<const float2 *>(from)[i];
            } else {
                taps[i] = from[i];
            }
        }
#pragma unroll
        for (int k = 0; k < C; k++) {
#pragma unroll
            for (int j = 0; j < K; j++) weight[j][k] = taps[k * K + j];
            bias[k] = shared[TILE_THREADS * PITCH + threadIdx.x * C + k];
        }
    }
};
