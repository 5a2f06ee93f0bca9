// Frames of a tensor of 16-bit elements in shared memory: as they come, and turned to rows of each channel.
//
// A block takes 16 or 32 neighbouring channels, 32 or 64 bytes of each frame, which come by asynchronous copies. From there
// `ldmatrix` turns 8 frames by 8 channels to a unit of 8 samples of each channel.
#pragma once

#include "depthwise_frame_turns.cuh"
#include "depthwise_toeplitz.cuh"

constexpr int FRAME_WARPS = 16; // of a block

// The same number, of which the compiler does not know how it came about: it neither computes it anew nor what follows
// from it before it is needed.
__device__ inline uint32_t opaque(uint32_t number)
{
    asm volatile("" : "+r"(number));
    return number;
}

// The same number, which the assembler cannot compute anew either.
__device__ inline uint32_t in_register(uint32_t number) { return __shfl_sync(0xFFFFFFFFu, number, threadIdx.x); }

// Two places in shared memory, in words of 4 bytes, in one register.
struct TwoPlaces {
    uint32_t both; // each below 65536 words, 256 KiB

    __device__ TwoPlaces(unsigned first, unsigned second) : both(in_register(first | second << 16)) {}
    __device__ uint32_t first() const { return 4 * (opaque(both) & 0xFFFF); }
    __device__ uint32_t second() const { return 4 * (opaque(both) >> 16); }
};

// What a block of FRAME_WARPS warps has of CHANNELS channels of a tensor: UNITS units of 8 samples of each.
template <int CHANNELS, int UNITS> struct FrameRows {
    static constexpr int FRAMES = 8 * UNITS, OCTETS = CHANNELS / 8;
    static constexpr int STEP = 4 / OCTETS; // units of all octets that four matrices have
    // Where rows begin keeps banks apart: those of 4 units each of an even and an odd channel, as frames turn to rows, and
    // those of a unit each of 8 channels, two of each octet, as rows turn to frames: rows of octets are STEP units further.
    static constexpr int PITCH = UNITS + (UNITS - 1) / 8, ROW = PITCH + (12 - PITCH % 8) % 8;
    static constexpr int FRAMES_BYTES = 16 * FRAMES * OCTETS, ROWS_BYTES = 16 * (CHANNELS * ROW + OCTETS * STEP);
    static_assert((OCTETS == 2 || OCTETS == 4) && UNITS % 2 == 0); // of 4 units, but for loading warps

    // Where 8 channels of a frame lie, in units: those of frames 2 i, 2 i + 1 of 4 units in different banks.
    static __device__ int place(int frame, int octet)
    {
        const int unit = frame / 8 % 4;
        return (frame * OCTETS + octet) ^ (OCTETS == 4 ? unit : unit % 2 + unit / 2 * 4);
    }
    // Where the row of a channel begins.
    static __device__ int row(int channel) { return channel * ROW + channel / 8 * STEP; }

    // Where a thread's first copy goes to.
    static __device__ unsigned place_to_load(unsigned thread) { return 4 * place(thread / OCTETS, thread % OCTETS); }

    // Starts the copies of frames from `first` on, `channels` of the block's, zeros for others.
    template <class T>
    static __device__ void load(uint32_t to, unsigned thread, const Signal &x, int batch, int first, int length,
                                int first_channel, int channels)
    {
        constexpr int STEP_FRAMES = 32 * FRAME_WARPS / OCTETS;
        const unsigned octet = thread % OCTETS, frame = thread / OCTETS, own_length = 8 * octet < channels ? length : 0;
        const int at = first + static_cast<int>(frame);
        const T *from = static_cast<const T *>(x.data) + batch * x.batch_stride + at * x.line_stride +
                        (first_channel + 8 * octet);
#pragma unroll
        for (int i = 0; i * STEP_FRAMES < FRAMES; i++, from += STEP_FRAMES * x.line_stride) {
            if ((i + 1) * STEP_FRAMES > FRAMES && frame + i * STEP_FRAMES >= FRAMES) break;
            const bool inside = static_cast<unsigned>(at + i * STEP_FRAMES) < own_length;
            copy_16_bytes(to + 16 * i * STEP_FRAMES * OCTETS, from, inside);
        }
    }

    // Where a lane of a warp finds frames, and leaves a unit, of the first that it turns to rows: of 4 units and 8 channels at
    // a time, matrix i has frames 2 i and 2 i + 1 of each unit, so that lane t of four has unit t of channel g.
    static constexpr int GROUPS = FRAME_WARPS / OCTETS; // of 4 units, of all warps
    static __device__ TwoPlaces places_to_turn(unsigned thread)
    {
        const unsigned lane = thread % 32, warp = thread / 32, octet = warp % OCTETS, group = warp / OCTETS;
        const unsigned frame = 32 * group + 8 * (lane % 8 / 2) + 2 * (lane / 8) + lane % 2;
        return TwoPlaces(4 * place(frame, octet), 4 * (row(8 * octet + lane / 4) + place_of_unit(4 * group) + lane % 4));
    }

    static __device__ void turn(uint32_t from, uint32_t to, unsigned thread)
    {
        static_assert(UNITS % 4 == 0);
        constexpr int COUNT = (UNITS + 4 * GROUPS - 1) / (4 * GROUPS);
        const unsigned group = thread / 32 / OCTETS;
        // Whether there are units for this warp: of all turns but the last one always.
        const auto takes = [&](int i) { return 4 * (i + 1) * GROUPS <= UNITS || 4 * (group + i * GROUPS) < UNITS; };
        uint32_t words[COUNT][4];
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (takes(i)) load_matrices<true>(words[i], from + 16 * 32 * i * GROUPS * OCTETS);
        }
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (takes(i)) store_words(to + 16 * place_of_unit(4 * i * GROUPS), words[i]);
        }
    }
};
