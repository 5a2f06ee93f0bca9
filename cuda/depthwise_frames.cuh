// The short convolution of channels-last tensors, (B, L, H): the channels of a frame are neighbours.
//
// A thread owns C neighbouring channels of one batch item and slides along `piece_length`
// frames, with the last K of them in registers and the next ones under way. Neighbouring
// pieces lie in one block, where the frames that both read come from the L1 cache.
// Bound by device memory.
#pragma once

#include "depthwise.cuh"

// A constant as an argument.
template <bool VALUE> struct Constant {
    static constexpr bool value = VALUE;
};

// C neighbouring elements, loaded and stored at once.
template <class T, int C> struct Group {
    static constexpr int BYTES = C * sizeof(T);
    static constexpr int WORDS = (BYTES + 3) / 4;
    uint32_t words[WORDS];

    __device__ void load(const T *at)
    {
        if constexpr (BYTES == 16) {
            const uint4 vector = __ldg(reinterpret_cast<const uint4 *>(at));
            words[0] = vector.x, words[1] = vector.y, words[2] = vector.z, words[3] = vector.w;
        } else if constexpr (BYTES == 8) {
            const uint2 vector = __ldg(reinterpret_cast<const uint2 *>(at));
            words[0] = vector.x, words[1] = vector.y;
        } else if constexpr (BYTES == 4) {
            words[0] = __ldg(reinterpret_cast<const uint32_t *>(at));
        } else {
            words[0] = Element<T>::bits(at);
        }
    }

    __device__ void clear()
    {
#pragma unroll
        for (int k = 0; k < WORDS; k++) words[k] = 0;
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
        if constexpr (BYTES == 16) {
            __stcs(reinterpret_cast<uint4 *>(at), make_uint4(words[0], words[1], words[2], words[3]));
        } else if constexpr (BYTES == 8) {
            __stcs(reinterpret_cast<uint2 *>(at), make_uint2(words[0], words[1]));
        } else if constexpr (BYTES == 4) {
            __stcs(reinterpret_cast<uint32_t *>(at), words[0]);
        } else {
            Element<T>::put(at, words[0], 0);
        }
    }
};

// The frames of one batch item, seen by the thread of one group of channels.
template <class T, int C> struct Frames {
    const T *data;
    long long stride;
    int length;

    __device__ Group<T, C> operator[](int frame) const
    {
        Group<T, C> group;
        if (frame >= 0 && frame < length) {
            group.load(data + frame * stride);
        } else {
            group.clear();
        }
        return group;
    }

    // N frames from `first` on.
    template <int N> __device__ void load(int first, Group<T, C> (&groups)[N]) const
    {
        if (first >= 0 && first <= length - N) {
            const T *at = data + first * stride;
#pragma unroll
            for (int i = 0; i < N; i++, at += stride) groups[i].load(at);
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) groups[i] = (*this)[first + i];
        }
    }
};

extern __shared__ float4 depthwise_shared[];

// The parameters of the block's channels, transposed to (K + 1, channels of the block) in
// shared memory, so that each thread reads its own ones at once; the last line is the bias.
template <int K, class Arguments>
__device__ float *stage_parameters(const Arguments &c, int first_channel, int width)
{
    float *shared = reinterpret_cast<float *>(depthwise_shared);
    const int threads = blockDim.x * blockDim.y;
    for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < width * K; i += threads) {
        const int channel = i / K, tap = i % K;
        const bool inside = first_channel + channel < c.channels && tap < c.taps;
        shared[tap * width + channel] = inside ? read(c.weight, first_channel + channel, tap) : 0.0f;
    }
    for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < width; i += threads) {
        shared[K * width + i] = first_channel + i < c.channels ? read_bias(c.bias, first_channel + i) : 0.0f;
    }
    __syncthreads();
    return shared;
}

template <int C> __device__ inline void copy_group(const float *from, float (&to)[C])
{
#pragma unroll
    for (int i = 0; i < C; i++) to[i] = from[i];
}

// Frames that a loop over a circular window of K of them takes at a time: a multiple of K, so that
// each has its place known at compile time.
template <int K> constexpr int FRAMES_A_TURN = K < 4 ? 9 / K * K : K < 8 ? 2 * K : K;

// Threads: x over groups of channels, y over pieces. Blocks: x over groups, y over pieces, z over the batch.
// Exactly K taps or, where K = MANY_TAPS, at most so many.
template <class T, int K, int C, int FRAMES = FRAMES_A_TURN<K>>
__device__ void correlate_frames(const Correlation &c)
{
    static_assert(FRAMES % K == 0);
    const int width = blockDim.x * C, first_channel = blockIdx.x * width;
    const int channel = first_channel + threadIdx.x * C;
    const long long piece = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y;
    const bool active = channel < c.channels && piece * c.piece_length < c.output_length;
    const int start = active ? static_cast<int>(piece) * c.piece_length : 0;
    const int count = active ? min(c.output_length - start, c.piece_length) : 0;

    const long long batch = blockIdx.z;
    const Frames<T, C> x = {static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + channel,
                            c.x.line_stride, active ? c.input_length : 0};
    T *y = static_cast<T *>(c.y) + (batch * c.output_length + start) * c.channels + channel;

    // Frame start - left + i is at i % K. The first ones are under way while the parameters are staged.
    float window[K][C];
    Group<T, C> next[FRAMES], first[K];
#pragma unroll
    for (int i = 0; i < K - 1; i++) first[i] = x[start - c.left + i];
    x.load(start - c.left + K - 1, next);
    const float *shared = stage_parameters<K>(c, first_channel, width);
    float weight[K][C], bias[C];
#pragma unroll
    for (int j = 0; j < K; j++) copy_group<C>(shared + j * width + threadIdx.x * C, weight[j]);
    copy_group<C>(shared + K * width + threadIdx.x * C, bias);
#pragma unroll
    for (int i = 0; i < K - 1; i++) first[i].unpack(window[i]);

    // What output u of a turn is, once frame u of the turn has its place in the window.
    const auto output = [&](int u) {
        float sums[C];
#pragma unroll
        for (int i = 0; i < C; i++) sums[i] = bias[i];
#pragma unroll
        for (int j = 0; j < K; j++) {
            if (K == MANY_TAPS && j >= c.taps) break;
#pragma unroll
            for (int i = 0; i < C; i++) sums[i] = fmaf(weight[j][i], window[(u + j) % K][i], sums[i]);
        }
        if (c.silu) {
#pragma unroll
            for (int i = 0; i < C; i++) sums[i] = silu<T>(sums[i]);
        }
        Group<T, C> group;
        group.pack(sums);
        return group;
    };
    // A turn over FRAMES outputs, with the frames of the next one under way.
    for (int t = 0; t < count; t += FRAMES) {
        const int coming = start - c.left + t + FRAMES + K - 1;
        if constexpr (K > 4) { // measured: better with more arithmetic
            Group<T, C> now[FRAMES];
#pragma unroll
            for (int u = 0; u < FRAMES; u++) now[u] = next[u];
            if (t + FRAMES < count) x.load(coming, next);
#pragma unroll
            for (int u = 0; u < FRAMES; u++) {
                now[u].unpack(window[(u + K - 1) % K]);
                now[u] = output(u);
            }
            if (t + FRAMES <= count) {
#pragma unroll
                for (int u = 0; u < FRAMES; u++, y += c.channels) now[u].store(y);
            } else {
#pragma unroll
                for (int u = 0; u < FRAMES; u++, y += c.channels) {
                    if (t + u < count) now[u].store(y);
                }
            }
        } else { // as each frame is taken its place is loaded
            // INSIDE: neither outputs nor frames need a check.
            const auto turn = [&](auto inside) {
                constexpr bool INSIDE = decltype(inside)::value;
                const T *at = x.data + coming * x.stride;
#pragma unroll
                for (int u = 0; u < FRAMES; u++) {
                    next[u].unpack(window[(u + K - 1) % K]);
                    if (INSIDE) {
                        next[u].load(at);
                        at += x.stride;
                    } else if (t + FRAMES + u < count) {
                        next[u] = x[coming + u];
                    }
                    const Group<T, C> group = output(u);
                    if (INSIDE || t + u < count) group.store(y);
                    y += c.channels;
                }
            };
            if (t + 2 * FRAMES <= count && coming >= 0 && coming <= x.length - FRAMES) {
                turn(Constant<true>{});
            } else {
                turn(Constant<false>{});
            }
        }
    }
}
