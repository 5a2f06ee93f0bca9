// The gradients of the short convolution of channels-first tensors of 16-bit elements with up to 16 taps, on the tensor
// cores, in one pass, where rows begin at multiples of 16 bytes and hold whole units of 8 samples; x and dy have the same
// length. As in depthwise_units.cuh, unit u of x meets the three units from u + n on of dy,
//
//     8 n + shift = left - (taps - 1),     0 <= shift < 8,     shift + taps <= 17,     -1 <= n.
//
// dx is a product of those with a matrix of the taps in the opposite order. The sums for the taps are parts of
//
//     moments[p][i] = sum over u of dy[8 (u + n) + p] * x[8 u + i],
//     dweight[j] = sum over i of moments[i + taps - 1 - j + shift][i],
//
// a product whose sum is over the units: `ldmatrix` transposes them to both of its operands. A product with ones sums the
// units of dy. Tiles come to shared memory by asynchronous copies, some of them ahead. Beyond the ends of a row dy is zero,
// and meets samples of x there: NaN and infinity in x can reach taps of their channel that do not read them.
// Bound by device memory.
#pragma once

#include "depthwise_row_gradients.cuh"
#include "depthwise_units.cuh"

constexpr int TILE_ROUNDS = 4; // of 16 units, of a tile of a warp
constexpr int UNIT_STAGES = 3; // tiles of a warp in shared memory

// As `load_two_matrices`, each matrix transposed.
__device__ inline void load_two_transposed(uint32_t (&a)[2], const uint4 *row)
{
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(a[0]), "=r"(a[1]) : "r"(at) : "memory");
}

// What a warp has of the sums of a channel. Those of one tile are apart from those of all, and lose less by rounding.
template <class T> struct UnitMoments {
    static constexpr int PARTS = 2;
    static constexpr uint32_t ONES = Element<T>::BFLOAT ? 0x3F803F80u : 0x3C003C00u; // two
    // At columns i = 2 t and 2 t + 1 of rows g and g + 8: places p of the first two units of dy, and of the third one with
    // zeros below; the sums of dy at places of the first two.
    float moments[PARTS][4] = {}, dy_sums[4] = {}, tile_moments[PARTS][4], tile_dy_sums[4];

    __device__ void begin_tile()
    {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            tile_dy_sums[k] = 0.0f;
#pragma unroll
            for (int part = 0; part < PARTS; part++) tile_moments[part][k] = 0.0f;
        }
    }

    // 16 units of dy, with their neighbours, and of x.
    __device__ void add(const uint4 *dy, const uint4 *x)
    {
        const int lane = threadIdx.x;
        uint32_t units[4], samples[2];
        load_transposed(units, dy + (lane & 15) + (lane >> 4));
        load_two_transposed(samples, x + (lane & 15));
        const uint32_t two_units[4] = {units[0], units[2], units[1], units[3]};
        multiply_add<T>(tile_moments[0], two_units, samples[0], samples[1]);
        multiply_add<T>(tile_dy_sums, two_units, ONES, ONES);
        uint32_t last[2];
        load_two_transposed(last, dy + (lane & 15) + 2);
        const uint32_t third_unit[4] = {last[0], 0, last[1], 0};
        multiply_add<T>(tile_moments[1], third_unit, samples[0], samples[1]);
    }

    __device__ void end_tile()
    {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            dy_sums[k] += tile_dy_sums[k];
#pragma unroll
            for (int part = 0; part < PARTS; part++) moments[part][k] += tile_moments[part][k];
        }
    }

    // Leaves what the block has of the sums of a channel, if they are wanted. `line`: the unit of dy in line with that of x.
    __device__ void leave(const Gradient &g, int channel, int shift, int line) const
    {
        if (!wants_sums(g)) return;
        __shared__ float shared[UNIT_WARPS][32][9];
        const int row = threadIdx.x >> 2, column = 2 * (threadIdx.x & 3);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int p = row + 8 * (k / 2), i = column + k % 2;
            shared[threadIdx.y][p][i] = moments[0][k];
            if (i == 0) shared[threadIdx.y][p][8] = dy_sums[k];
            shared[threadIdx.y][16 + p][i] = moments[1][k];
        }
        __syncthreads();
        const int thread = threadIdx.y * 32 + threadIdx.x;
        if (thread > g.taps) return;
        float sum = 0.0f;
        for (int warp = 0; warp < UNIT_WARPS; warp++) {
            for (int i = 0; i < 8; i++) {
                sum += thread < g.taps ? shared[warp][i + g.taps - 1 - thread + shift][i] : shared[warp][8 * line + i][8];
            }
        }
        leave_sum(g, channel, thread, sum);
    }
};

// One sample of dx without the tensor cores.
template <class T> __device__ float input_gradient_at(const Gradient &g, int channel, const T *dy, int s)
{
    float sum = 0.0f;
    for (int j = 0; j < g.taps; j++) {
        const int at = s + g.left - j;
        const uint32_t bits = at >= 0 && at < g.output_length ? Element<T>::bits(dy + at) : 0;
        sum = fmaf(read(g.weight, channel, j), Element<T>::unpack(bits, 0), sum);
    }
    return sum;
}

// Threads: x over the lanes, y over UNIT_WARPS. Blocks: x over channels, y over pieces.
template <class T, bool SPLIT> __device__ void unit_gradients(const Gradient &g)
{
    constexpr int TILE = 16 * TILE_ROUNDS, DY_UNITS = TILE + 2 + LINE_UNITS - 1;
    __shared__ uint4 stages[UNIT_WARPS][UNIT_STAGES][DY_UNITS + TILE];
    const int channel = blockIdx.x, lane = threadIdx.x;
    const int start = g.left - (g.taps - 1), shift = start & 7; // from a place of dx to the first one of dy that it takes
    RowTiles<TILE> now(g.vectors_a_row, blockIdx.y * UNIT_WARPS + threadIdx.y, gridDim.y * UNIT_WARPS), ahead = now;
    int stage = 0, next_stage = 0;

    const T *const x_rows = static_cast<const T *>(g.x.data) + channel * g.x.line_stride;
    const T *const dy_rows = static_cast<const T *>(g.dy.data) + channel * g.dy.line_stride;
    T *const dx_rows = static_cast<T *>(g.dx) + static_cast<long long>(channel) * g.input_length;
    // Units of a row of dy that are copied before the first one that is needed, from the beginning of its line on.
    const auto before = [&](const T *dy) {
        return (static_cast<int>(reinterpret_cast<uintptr_t>(dy) / 16) + (start - shift) / 8) & (LINE_UNITS - 1);
    };
    const auto start_load = [&] {
        if (ahead.batch < g.batch) {
            uint4 *const to = stages[threadIdx.y][next_stage];
            const int s = ahead.tile * (8 * TILE);
            const T *const x = x_rows + ahead.batch * g.x.batch_stride, *const dy = dy_rows + ahead.batch * g.dy.batch_stride;
            copy_vectors<T, DY_UNITS>(to, dy, s + start - shift - 8 * before(dy), g.output_length);
            copy_vectors<T, TILE>(to + DY_UNITS, x, s, g.input_length);
            ahead.advance();
            next_stage = next_stage + 1 == UNIT_STAGES ? 0 : next_stage + 1;
        }
        end_group_of_copies();
    };
#pragma unroll
    for (int i = 0; i < UNIT_STAGES - 1; i++) start_load();
    const UnitTaps<T, 3, SPLIT> taps(g.weight, channel, g.taps, true, shift);
    UnitMoments<T> sums;
    for (; now.batch < g.batch; now.advance()) {
        wait_for_copies<UNIT_STAGES - 2>();
        __syncwarp(); // all lanes have read the stage that is loaded next
        start_load();
        const T *const dy = dy_rows + now.batch * g.dy.batch_stride;
        const uint4 *const dy_units = stages[threadIdx.y][stage] + before(dy);
        const uint4 *const x_units = stages[threadIdx.y][stage] + DY_UNITS;
        stage = stage + 1 == UNIT_STAGES ? 0 : stage + 1;
        const int first = now.tile * (8 * TILE);
        T *const dx = dx_rows + static_cast<long long>(now.batch) * g.channels * g.input_length + first;
        uint32_t *const to = kept(reinterpret_cast<uint32_t *>(dx) + lane);
        const int words = g.dx ? (g.input_length - first) / 2 - lane : 0; // of dx from there on
        uint32_t finite = 0;                                             // NaN where dx is not finite
        sums.begin_tile();
#pragma unroll
        for (int round = 0; round < TILE_ROUNDS; round++) {
            float values[4];
            taps.products(values, dy_units + 16 * round, 0.0f);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const uint32_t pair = Element<T>::pack(values + 2 * half);
                const int word = 64 * round + 32 * half;
                note_not_finite<T>(finite, pair);
                if (word < words) __stcs(to + word, pair);
            }
            sums.add(dy_units + 16 * round, x_units + 16 * round);
        }
        sums.end_tile();
        if (__any_sync(0xFFFFFFFFu, finite & 0x7FFF7FFFu)) {
#pragma unroll 1
            for (int word = 0; word < min(words, 64 * TILE_ROUNDS); word += 32) {
                const int s = first + 2 * (lane + word);
                const float pair[2] = {input_gradient_at(g, channel, dy, s), input_gradient_at(g, channel, dy, s + 1)};
                __stcs(to + word, Element<T>::pack(pair));
            }
        }
    }
    sums.leave(g, channel, shift, (shift - start) / 8);
}
