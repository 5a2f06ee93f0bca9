// The short convolution of tensors of 16-bit elements with up to 128 taps, on the tensor cores:
// what both layouts share, and channels-first tensors. Channels-last ones: depthwise_toeplitz_frames.cuh.
//
// A channel's convolution is a product with a Toeplitz matrix: 32 outputs of a segment of a
// row take the 32 + taps - 1 samples from their first one's on,
//
//     y[t + n] = sum over p of x[t + p - left] * weight[p - n].
//
// A warp makes 512 outputs of a row at a time: 16 rows of the A operand, which start 32 samples
// apart, by the 32 columns of B. The samples pass through shared memory, from where `ldmatrix`
// reads the overlapping rows. A tile of B that starts at sample 16 kt and output 8 nt depends on
// d = 2 kt - nt alone, and its second register is the first one of tile d + 1: so the whole
// matrix is a register for each d, kept over all rows of the channel that a warp takes.
//
// Weights that are not of the elements' type are split into two terms of it, which keeps their
// precision. A product with a zero of the matrix would spread NaN and infinity to outputs that
// do not read them: where an output is not finite, all of the step are summed one by one.
#pragma once

#include "depthwise.cuh"

template <class T>
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    if constexpr (sizeof(T) == 2 && Element<T>::BFLOAT) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}

// Word i of lane t of four neighbouring lanes becomes word t of lane i.
__device__ inline void transpose_quad(uint32_t (&words)[4])
{
    const bool upper = threadIdx.x & 2, odd = threadIdx.x & 1;
    const uint32_t a = __shfl_xor_sync(0xFFFFFFFFu, upper ? words[0] : words[2], 2);
    const uint32_t b = __shfl_xor_sync(0xFFFFFFFFu, upper ? words[1] : words[3], 2);
    words[0] = upper ? a : words[0], words[1] = upper ? b : words[1];
    words[2] = upper ? words[2] : a, words[3] = upper ? words[3] : b;
    const uint32_t e = __shfl_xor_sync(0xFFFFFFFFu, odd ? words[0] : words[1], 1);
    const uint32_t f = __shfl_xor_sync(0xFFFFFFFFu, odd ? words[2] : words[3], 1);
    words[0] = odd ? e : words[0], words[1] = odd ? words[1] : e;
    words[2] = odd ? f : words[2], words[3] = odd ? words[3] : f;
}

// The channel's taps over a power of two, so that the largest is of the order of 1: none leaves
// the range of f16.
__device__ inline float power_of_two_near(float largest)
{
    const uint32_t exponent = __float_as_uint(largest) & 0x7F800000u;
    // Neither it nor its inverse may be beyond the range of f32.
    return exponent == 0 || exponent >= 0x7E000000u ? 1.0f : __uint_as_float(exponent);
}

// Four 8 by 8 matrices of 16-bit elements, whose rows lane i % 8 of each eight lanes points to.
__device__ inline void load_matrices(uint32_t (&a)[4], const uint4 *row)
{
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at)
                 : "memory");
}

// As `load_matrices`, each matrix transposed.
__device__ inline void load_transposed(uint32_t (&a)[4], const uint4 *row)
{
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at)
                 : "memory");
}

// `sum` of two elements, each NaN from the first one on of its `words` that is not finite.
template <class T> __device__ inline void note_not_finite(uint32_t &sum, uint32_t words)
{
    if constexpr (Element<T>::BFLOAT) {
        asm("fma.rn.bf16x2 %0, %1, %2, %0;" : "+r"(sum) : "r"(words), "r"(0u));
    } else {
        asm("fma.rn.f16x2 %0, %1, %2, %0;" : "+r"(sum) : "r"(words), "r"(0u));
    }
}

// The sum z of one output, whose first sample is at place `start` of `x`, without the tensor cores.
template <class T>
__device__ float correlate_at(const Correlation &c, int channel, float bias, const T *x, int start, long long stride)
{
    float sum = bias;
    for (int j = 0; j < c.taps; j++) {
        const int at = start + j;
        const uint32_t bits = at >= 0 && at < c.input_length ? Element<T>::bits(x + at * stride) : 0;
        sum = fmaf(read(c.weight, channel, j), Element<T>::unpack(bits, 0), sum);
    }
    return sum;
}

constexpr int TOEPLITZ_OUTPUTS = 512; // of a warp at a time
constexpr int TOEPLITZ_WARPS = 4;     // of a block

// The taps of a channel as a warp multiplies by them: at most TAPS, shifted by up to SHIFTS samples.
template <class T, int TAPS, bool SPLIT, int SHIFTS> struct Toeplitz {
    static_assert(sizeof(T) == 2 && TAPS % 32 == 0);
    static constexpr int STEPS = (TAPS + 32 + SHIFTS + 15) / 16; // of 16 samples, that 32 outputs read
    static constexpr int LAST = (TAPS + 6 + SHIFTS) / 8;         // tiles d from -1 to LAST are not all zero
    static constexpr int TERMS = SPLIT ? 2 : 1;
    static constexpr bool SCALED = SPLIT && !Element<T>::BFLOAT; // bf16 has the range of f32
    static constexpr int UNITS = (TOEPLITZ_OUTPUTS - 32) / 8 + 2 * STEPS; // of 8 samples, that all outputs read
    // Unit i at i + i / 4: units 4 apart, as `ldmatrix` reads them, lie in different banks.
    static constexpr int PITCH = UNITS + UNITS / 4;

    const Correlation &c;
    int channel;
    uint32_t matrix[TERMS][LAST + 3]; // [term][d + 1]: weight[8 d + k - n - shift] at k = 2 t and 2 t + 1, n = g
    float scale, bias;

    // `units`: the warp's part of shared memory, PITCH of them, through which the taps pass.
    __device__ Toeplitz(const Correlation &c, int channel, int shift, uint4 *units) : c(c), channel(channel), scale(1.0f)
    {
        const int lane = threadIdx.x, g = lane >> 2, t = lane & 3;
        // With zeros around them that the matrix reads as well.
        float *const taps = reinterpret_cast<float *>(units);
        constexpr int BEFORE = 24, STAGED = 8 * (LAST + 1) + 8 + BEFORE;
        static_assert(STAGED <= 4 * PITCH);
        float largest = 0.0f;
#pragma unroll
        for (int i = 0; i < (STAGED + 31) / 32; i++) {
            const int at = lane + 32 * i, tap = at - BEFORE;
            const float weight = tap >= 0 && tap < c.taps ? read(c.weight, channel, tap) : 0.0f;
            largest = fmaxf(largest, fabsf(weight));
            if (at < STAGED) taps[at] = weight;
        }
        if (SCALED) {
#pragma unroll
            for (int distance = 16; distance; distance >>= 1) {
                largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, distance));
            }
            scale = power_of_two_near(largest);
        }
        __syncwarp();
        const float inverse = 1.0f / scale; // exact
#pragma unroll
        for (int d = -1; d <= LAST + 1; d++) {
            float pair[2];
#pragma unroll
            for (int i = 0; i < 2; i++) pair[i] = taps[BEFORE + 8 * d + 2 * t + i - g - shift] * inverse;
            matrix[0][d + 1] = Element<T>::pack(pair);
            if (SPLIT) {
#pragma unroll
                for (int i = 0; i < 2; i++) pair[i] -= Element<T>::unpack(matrix[0][d + 1], i);
                matrix[TERMS - 1][d + 1] = Element<T>::pack(pair);
            }
        }
        bias = read_bias(c.bias, channel);
        __syncwarp(); // the taps have been read
    }

    // 512 sums, over the scale, [nt]: columns 8 nt + 2 t and one more of rows g and g + 8: output 32 row + column.
    __device__ void products(float (&sums)[4][4], const uint4 *units) const
    {
        const int lane = threadIdx.x;
#pragma unroll
        for (int i = 0; i < 16; i++) sums[i / 4][i % 4] = SCALED ? 0.0f : bias;
#pragma unroll
        for (int kt = 0; kt < STEPS; kt++) {
            uint32_t samples[4];
            const int row = (lane & 7) + (lane & 8), unit = 2 * kt + (lane >> 4);
            load_matrices(samples, units + 5 * row + unit + unit / 4);
#pragma unroll
            for (int term = 0; term < TERMS; term++) {
#pragma unroll
                for (int nt = 0; nt < 4; nt++) {
                    const int d = 2 * kt - nt;
                    if (d < -1 || d > LAST) continue;
                    multiply_add<T>(sums[nt], samples, matrix[term][d + 1], matrix[term][d + 2]);
                }
            }
        }
        __syncwarp(); // the samples have been read
    }

    // From those to outputs, two in a word, [nt][half]: of rows g and g + 8. Output 0 takes its first sample from place
    // `start` of `x`, whose samples are `stride` apart.
    __device__ void finish(float (&sums)[4][4], const T *x, int start, long long stride, uint32_t (&words)[4][2]) const
    {
        if (SCALED) {
#pragma unroll
            for (int i = 0; i < 16; i++) sums[i / 4][i % 4] = fmaf(sums[i / 4][i % 4], scale, bias);
        }
        if (c.silu) {
#pragma unroll
            for (int i = 0; i < 16; i++) sums[i / 4][i % 4] = silu<T>(sums[i / 4][i % 4]);
        }
        uint32_t finite = 0; // NaN where an output is not finite
#pragma unroll
        for (int i = 0; i < 8; i++) {
            words[i / 2][i % 2] = Element<T>::pack(&sums[i / 2][2 * (i % 2)]);
            note_not_finite<T>(finite, words[i / 2][i % 2]);
        }
        if (__any_sync(0xFFFFFFFFu, finite & 0x7FFF7FFFu)) {
            const int g = threadIdx.x >> 2, t = threadIdx.x & 3;
#pragma unroll 1
            for (int i = 0; i < 8; i++) {
                const int first = start + 32 * (g + 8 * (i % 2)) + 8 * (i / 2) + 2 * t;
                float pair[2] = {correlate_at(c, channel, bias, x, first, stride),
                                 correlate_at(c, channel, bias, x, first + 1, stride)};
                if (c.silu) pair[0] = silu<T>(pair[0]), pair[1] = silu<T>(pair[1]);
                const uint32_t word = Element<T>::pack(pair);
#pragma unroll
                for (int k = 0; k < 8; k++) words[k / 2][k % 2] = k == i ? word : words[k / 2][k % 2];
            }
        }
    }
};

// Threads: 32 lanes, y over warps. Blocks: x over channels, y over parts of the channel's work.
// At most TAPS taps. Where ALIGNED, all rows begin at multiples of 16 bytes and hold whole vectors:
// then whole vectors are copied to shared memory, up to 7 samples before the first one that is
// needed, and the matrix is shifted as much. Otherwise the samples are, in registers.
template <class T, int TAPS, bool SPLIT, bool ALIGNED> __device__ void correlate_toeplitz(const Correlation &c)
{
    typedef Toeplitz<T, TAPS, SPLIT, ALIGNED ? 7 : 0> Taps;
    constexpr int UNITS = Taps::UNITS, LOADS = (UNITS + 31) / 32;
    __shared__ uint4 shared[TOEPLITZ_WARPS][ALIGNED ? 2 : 1][Taps::PITCH];
    uint4 *units = shared[threadIdx.y][0];
    const int shift = ALIGNED ? -c.left & 7 : 0;
    const int channel = blockIdx.x, lane = threadIdx.x, g = lane >> 2, t = lane & 3;

    // The warp's items: tiles of rows, one after the other.
    const int misaligned_most = c.output_length % VECTOR<T> ? VECTOR<T> - 1 : 0;
    const int tiles_a_row = (c.output_length + misaligned_most + TOEPLITZ_OUTPUTS - 1) / TOEPLITZ_OUTPUTS;
    const long long items = static_cast<long long>(c.batch) * tiles_a_row;
    const long long part = static_cast<long long>(blockIdx.y) * blockDim.y + threadIdx.y, parts = gridDim.y * blockDim.y;
    const long long item = items * part / parts;
    int left_over = static_cast<int>(items * (part + 1) / parts - item);
    int batch = static_cast<int>(item / tiles_a_row), tile = static_cast<int>(item % tiles_a_row);
    if (left_over == 0) return;

    const Taps taps(c, channel, shift, units);
    const T *const x_rows = static_cast<const T *>(c.x.data) + channel * c.x.line_stride;
    Window<T, 8> next[LOADS];
    const T *next_x;
    T *next_y;
    int next_t, next_misaligned;
    uint4 *next_units = units;
    const auto start_load = [&] {
        next_x = x_rows + batch * c.x.batch_stride;
        next_y = static_cast<T *>(c.y) + (static_cast<long long>(batch) * c.channels + channel) * c.output_length;
        next_t = tile * TOEPLITZ_OUTPUTS - misalignment(next_y);
        next_misaligned = misalignment(next_x);
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const int unit = lane + 32 * i, at = next_t - c.left - shift + 8 * unit;
            if (unit >= UNITS) continue;
            if constexpr (ALIGNED) {
                const bool outside = at < 0 || at >= c.input_length;
                start_copy(next_units + unit + unit / 4, outside ? next_x : next_x + at, outside);
            } else {
                next[i].load(next_x, at, c.input_length, next_misaligned);
            }
        }
        if (ALIGNED) end_group_of_copies();
        if (++tile == tiles_a_row) tile = 0, batch++;
    };
    start_load();
    for (; left_over > 0; left_over--) {
        const T *const x = next_x;
        T *const y = next_y;
        const int first = next_t;
        if constexpr (ALIGNED) {
            units = next_units;
            next_units = shared[threadIdx.y][units == shared[threadIdx.y][0]];
            if (left_over > 1) {
                start_load();
                wait_for_copies<1>();
            } else {
                wait_for_copies<0>();
            }
            __syncwarp();
        } else {
#pragma unroll
            for (int i = 0; i < LOADS; i++) {
                const int unit = lane + 32 * i;
                next[i].align(first - c.left, next_misaligned);
                const uint32_t *words = next[i].words;
                if (unit < UNITS) units[unit + unit / 4] = make_uint4(words[0], words[1], words[2], words[3]);
            }
            __syncwarp();
            if (left_over > 1) start_load();
        }

        float sums[4][4];
        uint32_t words[4][2];
        taps.products(sums, units);
        taps.finish(sums, x, first - c.left, 1, words);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t unit[4] = {words[0][i], words[1][i], words[2][i], words[3][i]};
            transpose_quad(unit); // of neighbouring outputs
            store_vector(y, first + 32 * (g + 8 * i) + 8 * t, c.output_length, !ALIGNED, unit);
        }
    }
}
