// The sums for the taps of a channel of channels-last tensors of 16-bit elements, up to 128 of them, on the tensor cores.
//
// They are those of depthwise_unit_moments.cuh, but products sum over 16 segments of 64 samples, not over neighbouring
// units: unit w of each segment of x meets the units from w + n on of the segment of dy that begins at the same place. So a
// unit of x is read from shared memory once, and one of dy once for each segment that meets it and, for 128 taps, for each half
// of the taps, 4 to 5 times, and once more for the bias, where those kernels read it with each of its 8 neighbours.
#pragma once

#include "depthwise_unit_moments.cuh"

template <class T, int PAIRS> struct FrameMoments {
    typedef UnitMoments<T, PAIRS> Moments;
    static constexpr int SEGMENT_UNITS = SEGMENT / 8;
    // Pairs whose sums of an item a warp has in registers at a time: all of them would not leave enough for the samples.
    static constexpr int PASSES = PAIRS > 5 ? 2 : 1, PASS = (PAIRS + PASSES - 1) / PASSES;

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
