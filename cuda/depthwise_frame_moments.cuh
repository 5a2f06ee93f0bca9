// The gradients of taps and bias of the short convolution of channels-last tensors of 16-bit elements with up to 128 taps, on
// the tensor cores.
//
// The sums are those of depthwise_unit_moments.cuh, but products sum over 16 segments of 64 samples, not over neighbouring
// units: unit w of each segment of x meets the units from w + n on of the segment of dy that begins at the same place. So a
// unit of x is read from shared memory once, and one of dy once for each segment that meets it and, for 128 taps, for each half
// of the taps, 4 to 5 times, and once more for the bias, where those kernels read it with each of its 8 neighbours.
//
// A block takes 16 neighbouring channels, and 1024 frames of x and those of dy that they meet at a time, an item. Its loading
// warps turn them to rows (depthwise_loading_warps.cuh), of which each of the other warps takes those of a channel.
// Bound by the L2, which is asked for each frame by itself, 32 bytes, and is busy for 80 % of the time, and by the tensor
// cores, for which multiplying warps wait most often.
#pragma once

#include "depthwise_loading_warps.cuh"
#include "depthwise_unit_moments.cuh"

template <class T, int PAIRS> struct FrameMoments {
    typedef UnitMoments<T, PAIRS> Moments;
    static constexpr int CHANNELS = FRAME_WARPS, SEGMENTS = 16, SEGMENT_UNITS = 8, FRAMES = 8 * SEGMENTS * SEGMENT_UNITS;
    typedef LoadedRows<CHANNELS, FRAMES / 8> X;
    typedef LoadedRows<CHANNELS, FRAMES / 8 + Moments::UNITS> Dy;
    // Pairs whose sums of an item a warp has in registers at a time: all of them would not leave enough for the samples.
    static constexpr int PASSES = PAIRS > 5 ? 2 : 1, PASS = (PAIRS + PASSES - 1) / PASSES;
    // Frames of an item, of x and of dy; rows of two.
    static constexpr int ROWS_AT = X::FRAMES_BYTES + Dy::FRAMES_BYTES, ROWS_BYTES = X::Rows::ROWS_BYTES + Dy::Rows::ROWS_BYTES;
    static constexpr int BARRIERS_AT = ROWS_AT + 2 * ROWS_BYTES, REMEMBERED_AT = BARRIERS_AT + RowBuffers::BYTES;
    static constexpr int BYTES = REMEMBERED_AT + static_cast<int>(sizeof(Remembered));
    static_assert(CHANNELS * sizeof(typename Moments::Sums) <= BARRIERS_AT);

    // Adds those of a channel's rows. `line`: units from those of dy that the first of x meet to those in line with it.
    static __device__ void add(Moments &sums, uint32_t x, uint32_t dy, int line)
    {
        // Units 2 i and 2 i + 1 of segments 0 to 7, then of 8 to 15; of x of all segments, then the next ones.
        const int lane = threadIdx.x, segment = (lane & 7) + 8 * (lane >> 4), odd = lane >> 3 & 1;
        const uint32_t origin = dy + 16 * (place_of_unit(SEGMENT_UNITS * segment) + odd);
        const uint32_t x_origin = x + 16 * (place_of_unit(SEGMENT_UNITS * ((lane & 7) + 8 * odd)) + (lane >> 4));
        uint32_t samples[SEGMENT_UNITS][2];
#pragma unroll
        for (int w = 0; w < SEGMENT_UNITS; w += 2) {
            uint32_t four[4];
            load_matrices<true>(four, x_origin + 16 * place_of_unit(w));
#pragma unroll
            for (int i = 0; i < 4; i++) samples[w + i / 2][i % 2] = four[i];
        }
#pragma unroll
        for (int first = 0; first < PAIRS; first += PASS) {
            // Those of the item are apart from those of all, and lose less by rounding.
            const int end = first + PASS < PAIRS ? first + PASS : PAIRS;
            float moments[PASS][4] = {};
            uint32_t before[4] = {}, two_units[4];
            const auto meet = [&](const uint32_t (&units)[4], int v) {
#pragma unroll
                for (int w = v & 1; w < SEGMENT_UNITS; w += 2) {
                    const int pair = (v - w) / 2;
                    if (v < w || pair < first || pair >= end) continue;
                    multiply_add<T>(moments[pair - first], units, samples[w][0], samples[w][1]);
                }
            };
#pragma unroll
            for (int v = 2 * first; v < SEGMENT_UNITS + 2 * end; v += 2) {
                load_matrices<true>(two_units, origin + 16 * place_of_unit(v));
                const uint32_t between[4] = {before[1], two_units[0], before[3], two_units[2]};
                if (v > 2 * first) meet(between, v - 1);
                meet(two_units, v);
#pragma unroll
                for (int i = 0; i < 4; i++) before[i] = two_units[i];
            }
#pragma unroll
            for (int pair = first; pair < end; pair++) {
#pragma unroll
                for (int k = 0; k < 4; k++) sums.moments[pair][k] += moments[pair - first][k];
            }
        }
        float dy_sums[4] = {};
#pragma unroll
        for (int w = 0; w < SEGMENT_UNITS; w += 2) {
            uint32_t two_units[4];
            load_matrices<true>(two_units, dy + 16 * place_of_unit(SEGMENT_UNITS * segment + line + w + odd));
            multiply_add<T>(dy_sums, two_units, Moments::ONES, Moments::ONES);
        }
#pragma unroll
        for (int k = 0; k < 4; k++) sums.dy_sums[k] += dy_sums[k];
    }
};

// Threads: x over the lanes, y over ROLES_WARPS. Blocks: see Turns. Frames of both tensors begin at multiples of 16 bytes; the
// unit of dy in line with that of x is among those that it meets.
template <class T, int PAIRS> __device__ void frame_moments(const Gradient &g)
{
    typedef FrameMoments<T, PAIRS> Shared;
    typedef typename Shared::X X;
    typedef typename Shared::Dy Dy;
    enum { ROWS_READ = 1 }; // a barrier of the block
    extern __shared__ __align__(16) unsigned char memory[];
    const int warp = threadIdx.y;
    const uint32_t base = shared_address(memory);
    const RowBuffers buffers{base + Shared::BARRIERS_AT};
    const auto rows_at = [&](unsigned item) { return base + Shared::ROWS_AT + item % 2 * Shared::ROWS_BYTES; };
    const int start = g.left - (g.taps - 1), shift = start & 7; // from a place of x to the first one of dy that it meets
    const int length = max(g.input_length, g.output_length);
    Remembered &remembered = *reinterpret_cast<Remembered *>(memory + Shared::REMEMBERED_AT);
    const int groups = (g.channels + Shared::CHANNELS - 1) / Shared::CHANNELS;
    const Turns turns{remembered.turn, g.sharing, groups, g.batch, length, Shared::FRAMES};
    if (warp == 0) buffers.create();
    __syncthreads();
    unsigned item = 0;
    if (warp >= FRAME_WARPS) {
        const int own = warp - FRAME_WARPS;
        constexpr int GROUPS = X::OWN_CHUNKS + Dy::OWN_CHUNKS; // of copies, one for each chunk
        const uint32_t dy_frames = base + X::FRAMES_BYTES;
#pragma unroll 1
        for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
            const unsigned end = item + turn.count;
            const int first_channel = Shared::CHANNELS * turn.group, channels = min(Shared::CHANNELS, g.channels - first_channel);
            Item next = turn.first;
            typename X::template Copy<T> x;
            typename Dy::template Copy<T> dy;
            const auto begin_load = [&] {
                x = {own, g.x, next.batch, next.first, g.input_length, first_channel, channels};
                dy = {own, g.dy, next.batch, next.first + start - shift, g.output_length, first_channel, channels};
                next = next.next(Shared::FRAMES, length);
            };
            begin_load();
#pragma unroll
            for (int i = 0; i < GROUPS; i++) {
                i < X::OWN_CHUNKS ? x.start(base, own, i) : dy.start(dy_frames, own, i - X::OWN_CHUNKS);
                end_group_of_copies();
            }
#pragma unroll 1
            for (; item < end; item++) {
                const bool more = item + 1 < end;
                if (more) begin_load();
                if (item >= 2) buffers.wait_until_taken(item - 2);
                const uint32_t rows = rows_at(item);
#pragma unroll
                for (int i = 0; i < GROUPS; i++) {
                    wait_for_copies<GROUPS - 1>();
                    if (i < X::OWN_CHUNKS) {
                        X::turn(base, rows, own, i);
                        if (more) x.start(base, own, i);
                    } else {
                        Dy::turn(dy_frames, rows + X::Rows::ROWS_BYTES, own, i - X::OWN_CHUNKS);
                        if (more) dy.start(dy_frames, own, i - X::OWN_CHUNKS);
                    }
                    end_group_of_copies();
                }
                buffers.filled(item);
            }
            barrier_of_warps<ROWS_READ>(ROLES_WARPS);
        }
    } else {
#pragma unroll 1
        for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
            const unsigned end = item + turn.count;
            typename Shared::Moments sums;
#pragma unroll 1
            for (; item < end; item++) {
                const uint32_t x = rows_at(item) + 16 * X::Rows::row(warp);
                const uint32_t dy = rows_at(item) + X::Rows::ROWS_BYTES + 16 * Dy::Rows::row(warp);
                buffers.wait_until_filled(item);
                Shared::add(sums, x, dy, (shift - start) / 8);
                buffers.taken(item);
            }
            barrier_of_warps<ROWS_READ>(ROLES_WARPS); // and nothing is loaded before the next turn
            auto &own = reinterpret_cast<typename Shared::Moments::Sums *>(memory)[warp];
            sums.put(own);
            __syncwarp();
            const int channel = Shared::CHANNELS * remembered.turn.group + warp;
            if (channel < g.channels) {
                for (int j = threadIdx.x; j <= g.taps; j += 32) {
                    leave_sum(g, remembered.turn.piece, channel, j, Shared::Moments::sum_of(own, j, g.taps, shift));
                    if (remembered.turn.is_only_helper) leave_sum(g, remembered.turn.piece + 1, channel, j, 0.0f);
                }
            }
        }
    }
}
