// The short convolution of channels-first tensors of 16-bit elements with up to 16 taps, on the tensor cores, where rows
// begin at multiples of 16 bytes and hold whole units of 8 samples, or where those of the input begin as far behind such a
// multiple as those of the output: then units are counted from that multiple on. The samples before the row, its lead,
// are set to zero in shared memory, and outputs there are not stored.
//
// The 8 outputs of unit u are a product of the samples of the neighbouring units u + n, u + n + 1 and, for UNITS = 3,
// u + n + 2 with a matrix of taps that all units of a channel share,
//
//     y[8 u + i] = sum over p of x[8 (u + n) + p] * weight[p - i - shift],     8 n + shift = -left,  0 <= shift < 8,
//
// as long as shift + taps is at most 8 UNITS - 7. A warp brings the samples of its outputs to shared memory by asynchronous
// copies; from there `ldmatrix` reads 16 units at a time, each with its neighbours, as the rows of operand A. The copies
// begin at multiples of 128 bytes, up to 7 units before the first one that is needed: elsewhere they were slower, by up
// to a tenth. Blocks take one tile each, in the order of memory.
//
// Weights of another type are split into two terms, and outputs that are not finite summed one by one, as in
// depthwise_toeplitz.cuh. Bound by device memory.
#pragma once

#include "depthwise_toeplitz.cuh"

constexpr int UNIT_WARPS = 2; // of a block, at most
constexpr int LINE_UNITS = 8; // 128 bytes

// Rounds of a warp, of 16 units each. Taps of three units take longer to set up.
template <int UNITS> constexpr int UNIT_ROUNDS = UNITS == 2 ? 4 : 8;

// A further round of the last tile of a row that is not aligned: mostly a row is a few samples longer than its whole tiles.
template <RowStarts STARTS> constexpr int MORE_ROUNDS = STARTS == RowStarts::Aligned ? 0 : 1;
template <RowStarts STARTS> constexpr int MORE_UNITS = 16 * MORE_ROUNDS<STARTS>;

// Samples from the last multiple of 16 bytes to a row.
template <class T, RowStarts STARTS> __device__ inline int lead_of(const T *row)
{
    return STARTS == RowStarts::Aligned ? 0 : misalignment(row);
}

// Copies COUNT units by the lanes of a warp, from place `first` on, a multiple of 8. `units`: where place 0 lies; `end`: behind
// the last sample. Zeros before place 0 and behind the end; the lead arrives as it is.
template <class T, RowStarts STARTS, int COUNT>
__device__ inline void copy_units(uint4 *to, const T *units, int first, int end)
{
    if constexpr (STARTS == RowStarts::Aligned) {
        copy_vectors<T, COUNT>(to, units, first, end);
    } else {
        const int lane = threadIdx.x;
#pragma unroll
        for (int i = 0; i < (COUNT + 31) / 32; i++) {
            const int at = first + 8 * (lane + 32 * i), count = at >= 0 ? max(min(end - at, 8), 0) : 0;
            if (32 * i + 32 > COUNT && lane + 32 * i >= COUNT) continue;
            copy_bytes(shared_address(to + lane + 32 * i), units + at, 2 * count);
        }
    }
}

// From the beginning of the line of 128 bytes to a place of a row, in units.
template <class T> __device__ inline int units_in_line(const T *row, int place)
{
    return (static_cast<unsigned>(reinterpret_cast<uintptr_t>(row) / 16) + static_cast<unsigned>(place / 8)) % LINE_UNITS;
}

// As `multiply_add`, with 8 samples.
template <class T> __device__ inline void multiply_add_unit(float (&c)[4], const uint32_t (&a)[2], uint32_t b)
{
    if constexpr (Element<T>::BFLOAT) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(b));
    } else {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(b));
    }
}

// At most 16 taps of a channel, in their order or the opposite one, as a warp multiplies by them.
template <class T, int UNITS, bool SPLIT> struct UnitTaps {
    static constexpr int TERMS = SPLIT ? 2 : 1;
    static constexpr bool SCALED = SPLIT && !Element<T>::BFLOAT; // bf16 has the range of f32
    uint32_t matrix[TERMS][UNITS]; // [term][h]: tap 8 h + k - n - shift at k = 2 t and 2 t + 1, n = g
    float scale;

    __device__ UnitTaps(const Parameter &p, int channel, int taps, bool reversed, int shift) : scale(1.0f)
    {
        const int lane = threadIdx.x, g = lane >> 2, t = lane & 3, tap = reversed ? taps - 1 - lane : lane;
        float weight = 0.0f;
        if (lane < taps) {
            // The types that are common without asking for more.
            const long long at = channel * p.channel_stride + tap * p.tap_stride;
            if (!SPLIT) {
                weight = static_cast<float>(static_cast<const T *>(p.data)[at]);
            } else if (p.kind == 0) {
                weight = static_cast<const float *>(p.data)[at];
            } else {
                weight = read(p, channel, tap);
            }
        }
        if (SCALED) {
            scale = power_of_two_near_largest(fabsf(weight));
            weight *= 1.0f / scale; // exact
        }
#pragma unroll
        for (int h = 0; h < UNITS; h++) {
            float pair[2];
            // Lanes behind the last tap have zeros, the last ones also for places before the first tap.
#pragma unroll
            for (int i = 0; i < 2; i++) pair[i] = __shfl_sync(0xFFFFFFFFu, weight, (8 * h + 2 * t + i - g - shift) & 31);
            matrix[0][h] = Element<T>::pack(pair);
            if (SPLIT) {
#pragma unroll
                for (int i = 0; i < 2; i++) pair[i] -= Element<T>::unpack(matrix[0][h], i);
                matrix[TERMS - 1][h] = Element<T>::pack(pair);
            }
        }
    }

    // Outputs 2 t and 2 t + 1 of units g and g + 8, of 16 from `units` on: the sums of their products, and a bias.
    __device__ void products(float (&sums)[4], const uint4 *units, float bias) const
    {
        const int lane = threadIdx.x;
        // Matrices of units g and g + 8, then those of their neighbours.
        uint32_t samples[4], last[2];
        load_matrices<false>(samples, units + (lane & 15) + (lane >> 4));
        if (UNITS == 3) load_matrices<false>(last, units + (lane & 15) + 2);
#pragma unroll
        for (int i = 0; i < 4; i++) sums[i] = SCALED ? 0.0f : bias;
#pragma unroll
        for (int term = 0; term < TERMS; term++) {
            multiply_add<T>(sums, samples, matrix[term][0], matrix[term][1]);
            if (UNITS == 3) multiply_add_unit<T>(sums, last, matrix[term][UNITS - 1]);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (SCALED) sums[i] = fmaf(sums[i], scale, bias);
        }
    }
};

// Threads: 32 lanes, y over the warps. Blocks: x along the row, y over channels, z over the batch.
template <class T, int UNITS, bool SPLIT, RowStarts STARTS> __device__ void correlate_units(const Correlation &c)
{
    typedef UnitTaps<T, UNITS, SPLIT> Taps;
    constexpr int ROUNDS = UNIT_ROUNDS<UNITS>, OUTPUTS = 128 * ROUNDS, ALL_ROUNDS = ROUNDS + MORE_ROUNDS<STARTS>;
    constexpr int LOADED = 16 * ALL_ROUNDS + UNITS - 1 + LINE_UNITS - 1;
    __shared__ uint4 shared[UNIT_WARPS][LOADED];
    uint4 *const loaded = shared[threadIdx.y];
    const int channel = blockIdx.y;
    const long long batch = blockIdx.z;
    const T *const x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + channel * c.x.line_stride;
    const int tile = blockIdx.x * blockDim.y + threadIdx.y, first = tile * OUTPUTS;
    T *const y = static_cast<T *>(c.y) + (batch * c.channels + channel) * c.output_length;
    const int lead = lead_of<T, STARTS>(y), end = lead + c.output_length;
    // The last tile of a row that is not aligned has a further round.
    if (first + (tile > 0 ? 128 * MORE_ROUNDS<STARTS> : 0) >= end) return;
    const bool has_more = STARTS != RowStarts::Aligned && first + OUTPUTS < end && first + 128 * ALL_ROUNDS >= end;
    const int shift = -c.left & 7, start = first - c.left - shift; // of the first unit that is needed
    const T *const units = x - lead;
    const int ahead = units_in_line(units, start);
    const int x_end = lead + c.input_length;
    const int tail = STARTS != RowStarts::Aligned && may_end_memory(c.x, channel, c.channels) ? x_end % 8 : 0;
    copy_units<T, STARTS, LOADED>(loaded, units, start - 8 * ahead, x_end - tail);
    end_group_of_copies();
    LoadedBias loaded_bias(c.bias, channel); // before the taps, which are waited for
    const Taps taps(c.weight, channel, c.taps, false, shift);
    const float bias = loaded_bias.take();
    const WordStores<T, STARTS == RowStarts::Aligned> stores(y, first + 2 * static_cast<int>(threadIdx.x) - lead, c.output_length);
    wait_for_copies<0>();
    __syncwarp();
    if constexpr (STARTS != RowStarts::Aligned) {
        uint4 *const origin = loaded + (ahead - start / 8); // of place 0
        if (origin >= loaded && origin < loaded + LOADED) clear_lead(origin, lead);
        uint4 *const last = origin + x_end / 8;
        if (tail > 0 && last >= loaded && last < loaded + LOADED) load_tail(last, units + (x_end - tail), tail);
    }

    const auto rounds = [&](auto activation) {
        uint32_t finite = 0; // NaN where an output is not finite
        const auto make = [&](int round) {
            float sums[4];
            taps.products(sums, loaded + ahead + 16 * round, bias);
#pragma unroll
            for (int i = 0; i < 4; i++) sums[i] = activation(sums[i]);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint32_t pair = Element<T>::pack(sums + 2 * half);
                note_not_finite<T>(finite, pair);
                stores.store(64 * round + 32 * half, pair);
            }
        };
#pragma unroll
        for (int round = 0; round < ROUNDS; round++) make(round);
        if (has_more) make(ROUNDS);
        return finite;
    };
    // Without a branch in each round, so that rounds overlap.
    const uint32_t finite = c.silu ? rounds([](float z) { return silu<T>(z); }) : rounds([](float z) { return z; });
    if (__any_sync(0xFFFFFFFFu, finite & 0x7FFF7FFFu)) {
#pragma unroll 1
        for (int word = 0; word < 64 * (has_more ? ALL_ROUNDS : ROUNDS); word += 32) {
            const int at = first + 2 * (static_cast<int>(threadIdx.x) + word) - lead - c.left;
            float pair[2] = {correlate_at(c, channel, bias, x, at, 1), correlate_at(c, channel, bias, x, at + 1, 1)};
            if (c.silu) pair[0] = silu<T>(pair[0]), pair[1] = silu<T>(pair[1]);
            stores.store(word, Element<T>::pack(pair));
        }
    }
}
