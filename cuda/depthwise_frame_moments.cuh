// The gradients of taps and bias of the short convolution of channels-last tensors of 16-bit elements with up to 128 taps, on
// the tensor cores.
//
// The sums are those of depthwise_unit_moments.cuh, but products sum over 16 segments of 64 samples, not over neighbouring
// units: unit w of each segment of x meets the units from w + n on of the segment of dy that begins at the same place. So a
// unit of x is read from shared memory once, and one of dy as often as segments meet it: 3 to 4 times for 128 taps, where
// those kernels read it with each of its 8 neighbours.
//
// A block takes 16 neighbouring channels, and 1024 frames of x and those of dy that they meet at a time, an item. Frames come
// to shared memory two items ahead, and turn to rows (depthwise_frame_rows.cuh), of which a warp takes those of a channel.
// Bound by the L2, which is asked for each frame by itself, 32 bytes, and by latency: an item takes two barriers.
#pragma once

#include "depthwise_frame_rows.cuh"
#include "depthwise_unit_moments.cuh"

template <class T, int PAIRS> struct FrameMoments {
    typedef UnitMoments<T, PAIRS> Moments;
    static constexpr int CHANNELS = FRAME_WARPS, SEGMENTS = 16, SEGMENT_UNITS = 8, FRAMES = 8 * SEGMENTS * SEGMENT_UNITS;
    static constexpr int AHEAD = Moments::MATRICES - 8; // units of dy behind those in line with x
    typedef FrameRows<CHANNELS, FRAMES / 8> X;
    typedef FrameRows<CHANNELS, FRAMES / 8 + AHEAD> Dy;
    // Frames of two items, of x and of dy; rows of one.
    static constexpr int FRAMES_BYTES = X::FRAMES_BYTES + Dy::FRAMES_BYTES, ROWS_AT = 2 * FRAMES_BYTES;
    static constexpr int DY_ROWS_AT = ROWS_AT + X::ROWS_BYTES, REMEMBERED_AT = DY_ROWS_AT + Dy::ROWS_BYTES;
    static constexpr int BYTES = REMEMBERED_AT + static_cast<int>(sizeof(Remembered));
    static_assert(CHANNELS * sizeof(typename Moments::Sums) <= REMEMBERED_AT);

    // Those of a channel's rows. `line`: units from those of dy that the first of x meet to those in line with it.
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
        sums.begin_tile();
        uint32_t before[4] = {}, two_units[4];
        const auto meet = [&](const uint32_t (&units)[4], int v) {
#pragma unroll
            for (int w = v & 1; w < SEGMENT_UNITS; w += 2) {
                const int pair = (v - w) / 2;
                if (v >= w && pair < PAIRS) multiply_add<T>(sums.tile_moments[pair], units, samples[w][0], samples[w][1]);
            }
        };
#pragma unroll
        for (int v = 0; v < SEGMENT_UNITS + 2 * PAIRS; v += 2) {
            load_matrices<true>(two_units, origin + 16 * place_of_unit(v));
            const uint32_t between[4] = {before[1], two_units[0], before[3], two_units[2]};
            if (v > 0) meet(between, v - 1);
            meet(two_units, v);
#pragma unroll
            for (int i = 0; i < 4; i++) before[i] = two_units[i];
        }
#pragma unroll
        for (int w = 0; w < SEGMENT_UNITS; w += 2) {
            load_matrices<true>(two_units, dy + 16 * place_of_unit(SEGMENT_UNITS * segment + line + w + odd));
            multiply_add<T>(sums.tile_dy_sums, two_units, Moments::ONES, Moments::ONES);
        }
        sums.end_tile();
    }
};

// Threads: x over the lanes, y over FRAME_WARPS. Blocks: see Turns. Frames of both tensors begin at multiples of 16 bytes; the
// unit of dy in line with that of x is among those that it meets.
template <class T, int PAIRS> __device__ void frame_moments(const Gradient &g)
{
    typedef FrameMoments<T, PAIRS> Shared;
    typedef typename Shared::X X;
    typedef typename Shared::Dy Dy;
    extern __shared__ __align__(16) unsigned char memory[];
    const unsigned thread = in_register(threadIdx.x + 32 * threadIdx.y), warp = thread / 32;
    const uint32_t base = in_register(shared_address(memory));
    const int start = g.left - (g.taps - 1), shift = start & 7; // from a place of x to the first one of dy that it meets
    const int length = max(g.input_length, g.output_length);
    const TwoPlaces x_turned = X::places_to_turn(thread), dy_turned = Dy::places_to_turn(thread);
    const uint32_t x_row = base + Shared::ROWS_AT + 16 * X::row(warp);
    const uint32_t dy_row = base + Shared::DY_ROWS_AT + 16 * Dy::row(warp);
    Remembered &remembered = *reinterpret_cast<Remembered *>(memory + Shared::REMEMBERED_AT);
    const int groups = (g.channels + Shared::CHANNELS - 1) / Shared::CHANNELS;
    const Turns turns{remembered.turn, g.sharing, groups, g.batch, length, Shared::FRAMES};
    const auto present_channel = [&] { return Shared::CHANNELS * Remembered::group(base + Shared::REMEMBERED_AT); }; // the first one
#pragma unroll 1
    for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
        const int count = turn.count;
        const auto load = [&](int index, Item item, int first_channel) {
            if (index < count) {
                if (thread == 0) remembered.items[(index + 1) % Remembered::ITEMS] = item.next(Shared::FRAMES, length);
                const int channels = min(Shared::CHANNELS, g.channels - first_channel);
                const uint32_t to = base + index % 2 * Shared::FRAMES_BYTES;
                X::template load<T>(to + 4 * X::place_to_load(thread), thread, g.x, item.batch, item.first, g.input_length,
                                    first_channel, channels);
                Dy::template load<T>(to + X::FRAMES_BYTES + 4 * Dy::place_to_load(thread), thread, g.dy, item.batch,
                                     item.first + start - shift, g.output_length, first_channel, channels);
            }
            end_group_of_copies();
        };
        typename Shared::Moments sums;
        load(0, turn.first, Shared::CHANNELS * turn.group);
        load(1, turn.first.next(Shared::FRAMES, length), Shared::CHANNELS * turn.group);
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            wait_for_copies<1>();
            __syncthreads(); // the frames are there, the rows before have been read
            const uint32_t frames = base + i % 2 * Shared::FRAMES_BYTES;
            X::turn(frames + x_turned.first(), base + Shared::ROWS_AT + x_turned.second(), thread);
            Dy::turn(frames + X::FRAMES_BYTES + dy_turned.first(), base + Shared::DY_ROWS_AT + dy_turned.second(), thread);
            __syncthreads();
            // Copies of all warps at once would queue, and nothing be summed meanwhile: half of the warps sum first.
            const unsigned products_phase = warp / 4 & 1;
#pragma unroll 1
            for (unsigned phase = 0; phase < 2; phase++) {
                if (phase == products_phase) {
                    Shared::add(sums, x_row, dy_row, (shift - start) / 8);
                } else {
                    load(i + 2, Remembered::item(base + Shared::REMEMBERED_AT, i + 2), present_channel());
                }
            }
        }
        __syncthreads(); // all rows have been read
        auto &own = reinterpret_cast<typename Shared::Moments::Sums *>(memory)[warp];
        sums.put(own);
        __syncwarp();
        const int channel = present_channel() + warp;
        if (channel < g.channels) {
            for (int j = threadIdx.x; j <= g.taps; j += 32) {
                leave_sum(g, remembered.turn.piece, channel, j, Shared::Moments::sum_of(own, j, g.taps, shift));
                if (remembered.turn.is_only_helper) leave_sum(g, remembered.turn.piece + 1, channel, j, 0.0f);
            }
        }
    }
}
