// The convolution of a channel's row with up to 128 taps, on the tensor cores, for warps that have other sums in their
// registers: 1024 outputs in 16 segments of 64, which are the rows of the products,
//
//     z[64 r + 8 j + n] = sum over d and k of s[64 r + 8 (j + d) + k] * weight[8 d + k - n - shift].
//
// Operand A is 16 samples of each segment, which `ldmatrix` reads once, for each term of the taps, for all outputs of the
// segments that they reach; B is two tiles of 8 samples by 8 outputs of the Toeplitz matrix, a register each: tile d is the same
// for all j. Those that 16 samples meet are read from shared memory as they are needed, a word of each lane, and dropped 64
// samples later.
#pragma once

#include "depthwise_toeplitz.cuh"

constexpr int SEGMENTS = 16;

template <class T, int TAPS, bool SPLIT> struct SegmentTaps {
    static_assert(sizeof(T) == 2);
    static constexpr int MOST_SHIFT = 7;
    static constexpr bool SCALED = SPLIT && !Element<T>::BFLOAT; // bf16 has the range of f32
    static constexpr int TERMS = SPLIT ? 2 : 1;                  // of T, of which a weight is the sum
    static constexpr int PARTS = SEGMENT / 8;                    // of 8 outputs of a segment
    static constexpr int TILES = (TAPS - 1 + 7 + MOST_SHIFT) / 8 + 1, STEPS = (TILES + PARTS) / 2; // of 16 samples
    static constexpr int UNITS = (SEGMENTS - 1) * PARTS + 2 * STEPS; // of 8 samples, that all outputs read

    // A channel's weights in shared memory, each at the place of its index, and once more one place earlier, as words begin
    // at even places, and an odd output's tile at an odd one.
    static constexpr int BEFORE = 8, PLACES = 8 * TILES + 2 * BEFORE + (TILES % 8 == 6 ? 16 : 0);
    static constexpr int ROW_BYTES = 2 * PLACES, TERM_BYTES = 2 * ROW_BYTES, BYTES = TERMS * TERM_BYTES;
    static_assert(ROW_BYTES % 128 >= 32 && ROW_BYTES % 128 <= 96); // words of even and odd outputs are in different banks

    // By a warp, writes the weights of a channel. Returns what the products are to be multiplied by.
    static __device__ float stage(unsigned char *staged, const Parameter &weight, int channel, int taps, int shift)
    {
        constexpr int EACH = (PLACES + 31) / 32;
        const int lane = threadIdx.x;
        float weights[EACH], scale = 1.0f;
        const auto load = [&](auto element) {
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const int tap = lane + 32 * i - BEFORE - shift;
                weights[i] = tap >= 0 && tap < taps ? element(tap) : 0.0f;
            }
        };
        const auto at = [&](int tap) { return channel * weight.channel_stride + tap * weight.tap_stride; };
        // The types that are common without asking for more.
        if (!SPLIT) {
            load([&](int tap) { return static_cast<float>(static_cast<const T *>(weight.data)[at(tap)]); });
        } else if (weight.kind == 0) {
            load([&](int tap) { return static_cast<const float *>(weight.data)[at(tap)]; });
        } else {
            load([&](int tap) { return read(weight, channel, tap); });
        }
        if (SCALED) {
            float largest = 0.0f;
#pragma unroll
            for (int i = 0; i < EACH; i++) largest = fmaxf(largest, fabsf(weights[i]));
            scale = power_of_two_near_largest(largest);
#pragma unroll
            for (int i = 0; i < EACH; i++) weights[i] *= 1.0f / scale; // exact
        }
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int place = lane + 32 * i;
            if (place >= PLACES) continue;
            float pair[2] = {weights[i], 0.0f};
#pragma unroll
            for (int term = 0; term < TERMS; term++) {
                const uint32_t bits = Element<T>::pack(pair);
                pair[0] -= Element<T>::unpack(bits, 0);
                T *const row = reinterpret_cast<T *>(staged + term * TERM_BYTES);
                Element<T>::put(row + place, bits, 0);
                if (place > 0) Element<T>::put(row + PLACES + place - 1, bits, 0);
            }
        }
        __syncwarp();
        return scale;
    }

    // Where a lane's word of tile 0 is among the weights, bytes: samples 2 t and 2 t + 1 of output g.
    static __device__ int place_of_weights(int lane)
    {
        const int g = lane >> 2, first = BEFORE + 2 * (lane & 3) - g;
        return g % 2 == 0 ? 2 * first : ROW_BYTES + 2 * (first - 1);
    }
    // Where its row of the first samples is among a channel's units, and its word of the first outputs among their words.
    static __device__ int place_of_samples(int lane) { return place_of_unit(PARTS * (lane & 15)) + (lane >> 4); }
    static __device__ int place_of_outputs(int lane) { return 4 * place_of_unit(PARTS * (lane >> 2)) + (lane & 3); }
    // From there, in units, to those of a part, in the lower or upper half of the segments.
    static constexpr __device__ int place_of_part(int part, int half) { return place_of_unit(8 * PARTS * half + part); }
    // The output that a word begins with.
    static __device__ int output(int part, int half)
    {
        return SEGMENT * ((threadIdx.x >> 2) + 8 * half) + 8 * part + 2 * (threadIdx.x & 3);
    }

    // `weights`, `samples`: the lane's places in shared memory. `leave(part, half, word)` gets two outputs. It may overwrite no
    // samples.
    template <class F> static __device__ void convolve(uint32_t weights, uint32_t samples, float scale, const F &leave)
    {
        // Tile d = 2 step - part and the next one meet the samples of a step: at least one of them is there.
        const auto begins = [](int part) { return part / 2; };
        const auto ends = [](int part) { return (TILES - 1 + part) / 2; };
        float sums[PARTS][4] = {};
        const auto finish = [&](int part) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float pair[2] = {sums[part][2 * half], sums[part][2 * half + 1]};
                if (SCALED) pair[0] *= scale, pair[1] *= scale;
                leave(part, half, Element<T>::pack(pair));
            }
        };
#pragma unroll 1
        for (int term = 0; term < TERMS; term++, weights += TERM_BYTES) {
            uint32_t operands[STEPS][4], tiles[2 * STEPS];
            const auto load = [&](int step) {
                load_matrices<false>(operands[step], samples + 16 * place_of_unit(2 * step));
#pragma unroll
                for (int d = 2 * step; d < 2 * step + 2; d++) {
                    if (d < TILES) tiles[d] = load_shared(weights + 16 * d);
                }
            };
            load(0);
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                if (step + 1 < STEPS) load(step + 1); // while the products of this one are made
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    if (step < begins(part) || step > ends(part)) continue;
                    const int d = 2 * step - part;
                    multiply_add<T>(sums[part], operands[step], d < 0 ? 0 : tiles[d], d + 1 < TILES ? tiles[d + 1] : 0);
                    if (!SPLIT && step == ends(part)) finish(part);
                }
            }
        }
        if constexpr (SPLIT) {
#pragma unroll
            for (int part = 0; part < PARTS; part++) finish(part);
        }
    }
};
