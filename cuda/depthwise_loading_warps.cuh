// Blocks in which some warps load what the others multiply: frames of channels-last tensors of 16-bit elements, which they
// copy to shared memory, one or two items ahead, and turn to rows in one of two buffers. The other warps wait for rows, never
// for device memory, and no warp waits for all: 16 of them multiply while the rows of the next item are written.
#pragma once

#include "barriers.cuh"
#include "depthwise_frame_rows.cuh"

constexpr int LOADING_WARPS = 4; // of a block, behind the FRAME_WARPS that multiply
constexpr int ROLES_WARPS = FRAME_WARPS + LOADING_WARPS;

// Item n has the n % 2nd of two buffers of rows. Barriers say when its rows are there, and when the warps that multiply have
// done so: nobody reads them any more, or their outputs are there instead, which the loading warps store before the next rows
// come. Items are counted over all turns of a block.
struct RowBuffers {
    static constexpr int BYTES = 32; // of barriers
    uint32_t barriers;

    // By all threads of one warp.
    __device__ void create() const
    {
        const int lane = threadIdx.x;
        if (lane < 4) barrier_create(barriers + 8 * lane, 32 * (lane < 2 ? LOADING_WARPS : FRAME_WARPS));
    }
    // By all lanes of each loading warp, and of each other one.
    __device__ void filled(unsigned item) const { barrier_arrive(barriers + item % 2 * 8); }
    __device__ void taken(unsigned item) const { barrier_arrive(barriers + 16 + item % 2 * 8); }
    __device__ void wait_until_filled(unsigned item) const { barrier_wait(barriers + item % 2 * 8, item / 2 & 1); }
    __device__ void wait_until_taken(unsigned item) const { barrier_wait(barriers + 16 + item % 2 * 8, item / 2 & 1); }
};

// What the loading warps do with UNITS units of CHANNELS channels, an item's. They share them in chunks, which are a warp's
// own until they are rows: it asks for a later item's as soon as it has read them.
template <int CHANNELS, int UNITS> struct LoadedRows {
    typedef FrameRows<CHANNELS, UNITS> Rows;
    static constexpr int OCTETS = Rows::OCTETS;
    static constexpr int COPIES = 4, COPIED_FRAMES = 32 / OCTETS; // of a chunk; frames of a copy of a warp
    static constexpr int CHUNK_FRAMES = COPIES * COPIED_FRAMES, CHUNK_UNITS = CHUNK_FRAMES / 8, CHUNK_BYTES = 512 * COPIES;
    static constexpr int CHUNKS = (UNITS + CHUNK_UNITS - 1) / CHUNK_UNITS, OWN_CHUNKS = (CHUNKS + LOADING_WARPS - 1) / LOADING_WARPS;
    static constexpr int FRAMES_BYTES = CHUNKS * CHUNK_BYTES;
    static constexpr int CHUNK_STEP_UNITS = CHUNK_UNITS * LOADING_WARPS; // from one chunk of a warp to its next one

    // Whether units at a place of a warp's i-th chunk, of which the last ones may not be, are among the item's.
    static __device__ bool has(int i, int warp, int unit)
    {
        return CHUNK_STEP_UNITS * (i + 1) <= UNITS || CHUNK_STEP_UNITS * i + CHUNK_UNITS * warp + unit < UNITS;
    }

    // A lane's share of the copies of a tensor's frames from `first` on, of `channels` of the block's, zeros for others.
    template <class T> struct Copy {
        const T *from;
        long long stride;
        int at, length;

        __device__ Copy() {}
        __device__ Copy(int warp, const Signal &x, int batch, int first, int x_length, int first_channel, int channels)
            : stride(x.line_stride)
        {
            const int octet = threadIdx.x % OCTETS, frame = threadIdx.x / OCTETS;
            at = first + CHUNK_FRAMES * warp + frame;
            length = 8 * octet < channels ? x_length : 0;
            from = static_cast<const T *>(x.data) + batch * x.batch_stride + at * stride + (first_channel + 8 * octet);
        }
        // Of the warp's i-th chunk.
        __device__ void start(uint32_t frames, int warp, int i) const
        {
            const int octet = threadIdx.x % OCTETS, frame = threadIdx.x / OCTETS;
#pragma unroll
            for (int j = 0; j < COPIES; j++) {
                const int later = 8 * CHUNK_STEP_UNITS * i + COPIED_FRAMES * j;
                if (!has(i, warp, COPIED_FRAMES / 8 * j)) continue;
                const bool inside = static_cast<unsigned>(at + later) < static_cast<unsigned>(length);
                copy_16_bytes(frames + CHUNK_BYTES * (LOADING_WARPS * i + warp) + 16 * Rows::place(frame + COPIED_FRAMES * j, octet),
                              from + later * stride, inside);
            }
        }
    };

    // Turns a warp's i-th chunk to rows; its frames may be overwritten then. Of 4 units and an octet of channels at a time
    // matrix i has frames 2 i and 2 i + 1 of each unit, so that lane t of four has unit t of channel g.
    static __device__ void turn(uint32_t frames, uint32_t rows, int warp, int i)
    {
        const int lane = threadIdx.x, frame = 8 * (lane % 8 / 2) + 2 * (lane / 8) + lane % 2;
        const uint32_t from = frames + CHUNK_BYTES * (LOADING_WARPS * i + warp);
        const uint32_t to = rows + 16 * (Rows::row(lane / 4) + lane % 4 + place_of_unit(CHUNK_UNITS * warp));
        if (!has(i, warp, 0)) return;
        __syncwarp(); // the copies of all lanes are there
        uint32_t words[COPIES][4];
#pragma unroll
        for (int j = 0; j < COPIES; j++) load_matrices<true>(words[j], from + 16 * Rows::place(frame + 32 * (j / OCTETS), j % OCTETS));
#pragma unroll
        for (int j = 0; j < COPIES; j++) {
            if (!has(i, warp, 4 * (j / OCTETS) + lane % 4)) continue;
            store_words(to + 16 * (Rows::row(8 * (j % OCTETS)) + place_of_unit(CHUNK_STEP_UNITS * i) + 4 * (j / OCTETS)), words[j]);
        }
        __syncwarp();
    }
};
