// The sums for the taps of a channel from units of 8 samples, on the tensor cores: for up to 128 of them at a time.
//
// Unit u of x meets the units from u + n on of dy,
//
//     moments[p][i] = sum over u of dy[8 (u + n) + p] * x[8 u + i],     0 <= p < 16 PAIRS,
//     dweight[j] = sum over i of moments[i + taps - 1 - j + shift][i],  8 n + shift = left - (taps - 1),  0 <= shift < 8,
//
// a product for each pair of units of dy whose sum is over the units: `ldmatrix` transposes 8 of them at a time to the
// operands. A product with ones sums the units of dy. Beyond the ends of a row x and dy are zero, and meet samples of the
// other one: NaN and infinity can reach taps of their channel that do not read them.
#pragma once

#include "depthwise_units.cuh"

// Pairs of units of dy that the samples of a unit meet for so many taps.
constexpr __host__ __device__ int pairs_of_taps(int taps) { return (taps + 7 + 7 + 15) / 16; }

// What a warp has of the sums of a channel. Those of one tile are apart from those of all, and lose less by rounding.
template <class T, int PAIRS> struct UnitMoments {
    static constexpr int UNITS = 2 * PAIRS;                  // of dy, that a unit of x meets
    static constexpr int MATRICES = (UNITS + 8 + 3) / 4 * 4; // from at most so many units on, 8 in each
    static constexpr int OPERANDS = PAIRS < 4 ? PAIRS : 4;   // in registers at a time
    static_assert(PAIRS <= 12); // with more, a half would change twice before the next 16 units
    static constexpr uint32_t ONES = Element<T>::BFLOAT ? 0x3F803F80u : 0x3C003C00u; // two
    float moments[PAIRS][4] = {}, dy_sums[4] = {}; // at columns i = 2 t and 2 t + 1 of rows g and g + 8
    float tile_moments[PAIRS][4], tile_dy_sums[4];
    // Operand A of pair q: the matrices of 8 units from unit 2 q and from 2 q + 1 on, and from 2 q + 8 and 2 q + 9 on, those of
    // pair q + 4. So it has half of the latter already, which is as good in the second half as in the first, if the units of x
    // change their places as well: no register is moved.
    uint32_t operands[OPERANDS][4];

    __device__ void begin_tile()
    {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            tile_dy_sums[k] = 0.0f;
#pragma unroll
            for (int pair = 0; pair < PAIRS; pair++) tile_moments[pair][k] = 0.0f;
        }
    }

    // To one half of an operand the matrices from a unit on and from the next one on. `row`: the lane's of both.
    __device__ void load_half(int operand, int half, const uint4 *row)
    {
        uint32_t two[2];
        load_matrices<true>(two, row);
        operands[operand][2 * half] = two[0], operands[operand][2 * half + 1] = two[1];
    }

    // 16 units of x, and of dy with their neighbours. `line`: the first of those in line with x, to sum for the bias;
    // `first`: whether these are the first units of the tile.
    __device__ void add(const uint4 *dy, const uint4 *x, const uint4 *line, bool first)
    {
        const int lane = threadIdx.x;
        const uint4 *const units = dy + (lane & 7) + (lane >> 3 & 1) + 8 * (lane >> 4);
#pragma unroll
        for (int i = 0; i < OPERANDS; i++) {
            // Its halves that changed with the 16 units before, the first one first: they are what these units need.
            const int changes = (PAIRS - 1 - i) / 4;
            if (first || changes == 0) {
                load_matrices<true>(operands[i], units + 2 * i);
            } else if (changes == 1) {
                load_half(i, 1, units + 2 * i + 8);
            }
        }
        uint32_t samples[2];
        load_matrices<true>(samples, x + (lane & 15));
#pragma unroll
        for (int pair = 0; pair < PAIRS; pair++) {
            const int i = pair % 4, swapped = pair / 4 % 2;
            if (pair >= 4) load_half(i, 1 - swapped, units + 2 * pair + 8);
            multiply_add<T>(tile_moments[pair], operands[i], samples[swapped], samples[1 - swapped]);
        }
        load_matrices<true>(samples, line + (lane & 15));
        multiply_add_unit<T>(tile_dy_sums, samples, ONES);
    }

    __device__ void end_tile()
    {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            dy_sums[k] += tile_dy_sums[k];
#pragma unroll
            for (int pair = 0; pair < PAIRS; pair++) moments[pair][k] += tile_moments[pair][k];
        }
    }

    // The sums of a warp in shared memory, the last column for dy.
    typedef float Sums[8 * UNITS][9];
    __device__ void put(Sums &sums) const
    {
        const int row = threadIdx.x >> 2, column = 2 * (threadIdx.x & 3);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int p = row + 8 * (k / 2), i = column + k % 2;
#pragma unroll
            for (int pair = 0; pair < PAIRS; pair++) sums[16 * pair + p][i] = moments[pair][k];
            if (i == 0) sums[p][8] = dy_sums[k];
        }
    }

    // What they have of the sum for one of `taps` taps or, behind them, for the bias.
    static __device__ float sum_of(const Sums &sums, int tap, int taps, int shift)
    {
        float sum = 0.0f;
        if (tap < taps) {
            for (int i = 0; i < 8; i++) sum += sums[i + taps - 1 - tap + shift][i];
        } else {
            for (int p = 0; p < 16; p++) sum += sums[p][8];
        }
        return sum;
    }

    // Leaves what the block has of the sums for `taps` taps of a channel from `first_tap` on and, with the first of them,
    // for the bias.
    __device__ void leave(const Gradient &g, int channel, int first_tap, int taps, int shift) const
    {
        __shared__ Sums shared[UNIT_WARPS];
        put(shared[threadIdx.y]);
        __syncthreads();
        for (int j = threadIdx.y * 32 + threadIdx.x; j <= taps; j += 32 * UNIT_WARPS) {
            float sum = 0.0f;
            for (int warp = 0; warp < UNIT_WARPS; warp++) sum += sum_of(shared[warp], j, taps, shift);
            if (j < taps) {
                leave_sum(g, blockIdx.y, channel, first_tap + j, sum);
            } else if (first_tap == 0) {
                leave_sum(g, blockIdx.y, channel, g.taps, sum);
            }
        }
    }
};

constexpr int TILE_ROUNDS = 4; // of 16 units, of a tile of a warp
constexpr int UNIT_STAGES = 3; // tiles of a warp in shared memory

// The tiles of a warp, one after the other: units of x, and those of dy that they meet, of which MATRICES begin in the last
// round, come to shared memory by asynchronous copies, UNIT_STAGES - 1 tiles ahead. Copies of dy begin at lines of 128 bytes.
// Rows that are not aligned have a further round in their last tile; those of dy begin as far behind a multiple of 16 bytes
// as those of x.
template <class T, int MATRICES, RowStarts STARTS> struct UnitTiles {
    // An even number of units: with an odd one copies are slower, by 4 to 8 %.
    static constexpr int TILE = 16 * TILE_ROUNDS, MORE = MORE_UNITS<STARTS>;
    static constexpr int DY_UNITS = (TILE + MATRICES - 8 + LINE_UNITS) / 2 * 2 + MORE, X_UNITS = TILE + MORE;
    static_assert(TILE + MORE - 16 + MATRICES - 1 + 7 + LINE_UNITS - 1 < DY_UNITS); // the last round's last matrix of 8 units
    typedef uint4 Stages[UNIT_STAGES][DY_UNITS + X_UNITS];

    const Gradient &g;
    Stages &stages;
    const int start; // from a place of x to the first unit of dy that it meets
    const T *const x_rows, *const dy_rows;
    const bool tail_apart; // as of `may_end_memory`
    TilesInTurn<TILE> now, ahead;
    int stage = 0, next_stage = 0;

    __device__ UnitTiles(const Gradient &g, Stages &stages, int channel, int start)
        : g(g), stages(stages), start(start),
          x_rows(static_cast<const T *>(g.x.data) + channel * g.x.line_stride),
          dy_rows(static_cast<const T *>(g.dy.data) + channel * g.dy.line_stride),
          tail_apart(STARTS != RowStarts::Aligned &&
                     (may_end_memory(g.x, channel, g.channels) || may_end_memory(g.dy, channel, g.channels))),
          now(max(g.vectors_a_row - MORE, 1), blockIdx.y * UNIT_WARPS + threadIdx.y, gridDim.y * UNIT_WARPS), ahead(now)
    {
#pragma unroll
        for (int i = 0; i < UNIT_STAGES - 1; i++) start_load();
    }

    // Where the copies of a row end that ends at a place.
    __device__ int without_tail(int end) const { return tail_apart ? end & ~7 : end; }

    // Clears the lead of a row and adds the tail that the copies left out. `origin`: where place 0 would be among COUNT units.
    template <int COUNT> __device__ void complete(uint4 *units, int origin, const T *row, int length) const
    {
        const int lead = lead_of<T, STARTS>(row), end = lead + length, last = origin + end / 8;
        if (origin >= 0 && origin < COUNT) clear_lead(units + origin, lead);
        if (!tail_apart || last < 0 || last >= COUNT) return;
        load_tail(units + last, row + (without_tail(end) - lead), end % 8);
    }

    __device__ void start_load()
    {
        if (ahead.batch < g.batch) {
            uint4 *const to = stages[next_stage];
            const int s = ahead.tile * (8 * TILE);
            const T *const x = x_rows + ahead.batch * g.x.batch_stride, *const dy = dy_rows + ahead.batch * g.dy.batch_stride;
            const int lead = lead_of<T, STARTS>(x);
            const T *const units = dy - lead;
            copy_units<T, STARTS, DY_UNITS>(to, units, s + start - 8 * units_in_line(units, start), without_tail(lead + g.output_length));
            copy_units<T, STARTS, X_UNITS>(to + DY_UNITS, x - lead, s, without_tail(lead + g.input_length));
            ahead.advance();
            next_stage = next_stage + 1 == UNIT_STAGES ? 0 : next_stage + 1;
        }
        end_group_of_copies();
    }

    // The present row of dy, its lead, and the place of the present tile.
    __device__ const T *dy() const { return dy_rows + now.batch * g.dy.batch_stride; }
    __device__ int lead() const { return lead_of<T, STARTS>(dy()); }
    __device__ int first() const { return now.tile * (8 * TILE); }

    // Whether the present tile has a further round.
    __device__ bool has_more() const
    {
        if (STARTS == RowStarts::Aligned || now.tile + 1 < now.tiles) return false;
        return first() + 8 * TILE < lead() + max(g.input_length, g.output_length);
    }

    // Waits for the tile, and asks for one more. `dy_units`, `x_units`: the first of each.
    __device__ void arrive(const uint4 *&dy_units, const uint4 *&x_units)
    {
        wait_for_copies<UNIT_STAGES - 2>();
        __syncwarp(); // all lanes have read the stage that is loaded next
        start_load();
        const int line = units_in_line(dy() - lead(), start);
        uint4 *const units = stages[stage];
        if constexpr (STARTS != RowStarts::Aligned) {
            complete<DY_UNITS>(units, line - (first() + start) / 8, dy(), g.output_length);
            complete<X_UNITS>(units + DY_UNITS, -first() / 8, x_rows + now.batch * g.x.batch_stride, g.input_length);
        }
        dy_units = units + line;
        x_units = units + DY_UNITS;
        stage = stage + 1 == UNIT_STAGES ? 0 : stage + 1;
    }
};

// The gradients of taps and bias alone, where the units of dy in line with those of x are among those that they meet.
// Threads: x over the lanes, y over UNIT_WARPS. Blocks: x over channels, y over pieces, z over blocks of taps.
template <class T, int PAIRS, RowStarts STARTS> __device__ void unit_moments(const Gradient &g)
{
    typedef UnitTiles<T, UnitMoments<T, PAIRS>::MATRICES, STARTS> Tiles;
    __shared__ typename Tiles::Stages stages[UNIT_WARPS];
    const int channel = blockIdx.x, first_tap = blockIdx.z * TAP_BLOCK, taps = min(TAP_BLOCK, g.taps - first_tap);
    const int start = g.left - first_tap - (taps - 1), shift = start & 7;
    const int line = first_tap == 0 ? (shift - start) / 8 : 0; // the unit of dy in line with that of x, for the bias
    Tiles tiles(g, stages[threadIdx.y], channel, start - shift);
    UnitMoments<T, PAIRS> sums;
    for (; tiles.now.batch < g.batch; tiles.now.advance()) {
        const uint4 *dy, *x;
        tiles.arrive(dy, x);
        sums.begin_tile();
        const auto add = [&](int round) {
            sums.add(dy + 16 * round, x + 16 * round, dy + line + 16 * round, round == 0);
        };
#pragma unroll
        for (int round = 0; round < TILE_ROUNDS; round++) add(round);
        if (tiles.has_more()) add(TILE_ROUNDS);
        sums.end_tile();
    }
    sums.leave(g, channel, first_tap, taps, shift);
}
