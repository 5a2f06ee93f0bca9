// Blocks in which some warps load what the others multiply: frames of channels-last tensors of 16-bit elements, which they
// copy to shared memory, up to two items ahead, and turn to rows in one of two buffers. The other warps wait for rows, never
// for device memory, and no warp waits for all: 16 of them multiply while the rows of the next item are written.
#pragma once

#include "barriers.cuh"
#include "depthwise_frame_rows.cuh"

constexpr int LOADING_WARPS = 4; // of a block, behind the FRAME_WARPS that multiply
constexpr int ROLES_WARPS = FRAME_WARPS + LOADING_WARPS;

// Registers of a thread of each role, of what all threads of a block begin with, where they can be passed on.
constexpr int MULTIPLYING_REGISTERS = 104, LOADING_REGISTERS = 64, REGISTERS = (1 << 16) / (32 * ROLES_WARPS) / 8 * 8;
static_assert(FRAME_WARPS * MULTIPLYING_REGISTERS + LOADING_WARPS * LOADING_REGISTERS <= ROLES_WARPS * REGISTERS);
static_assert(FRAME_WARPS % 4 == 0 && LOADING_WARPS % 4 == 0); // they pass them on by four

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
// own until they are rows: it asks for a later one as soon as it has read a chunk. Outputs that take the place of the first
// units are stored by the warp that fills their place again.
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

    // Turns a warp's i-th chunk to rows; its frames may be overwritten then. Of 4 units and an octet of channels at a time
    // matrix i has frames 2 i and 2 i + 1 of each unit, so that lane t of four has unit t of channel g.
    static __device__ void turn(uint32_t chunk, uint32_t rows, int warp, int i)
    {
        const int lane = threadIdx.x, frame = 8 * (lane % 8 / 2) + 2 * (lane / 8) + lane % 2;
        const uint32_t to = rows + 16 * (Rows::row(lane / 4) + lane % 4 + place_of_unit(CHUNK_UNITS * warp));
        if (!has(i, warp, 0)) return;
        __syncwarp(); // the copies of all lanes are there
        uint32_t words[COPIES][4];
#pragma unroll
        for (int j = 0; j < COPIES; j++) load_matrices<true>(words[j], chunk + 16 * Rows::place(frame + 32 * (j / OCTETS), j % OCTETS));
#pragma unroll
        for (int j = 0; j < COPIES; j++) {
            if (!has(i, warp, 4 * (j / OCTETS) + lane % 4)) continue;
            store_words(to + 16 * (Rows::row(8 * (j % OCTETS)) + place_of_unit(CHUNK_STEP_UNITS * i) + 4 * (j / OCTETS)), words[j]);
        }
        __syncwarp();
    }

    // Writes OUTPUTS outputs of each channel, which took the place of an item's first units, to a contiguous tensor. Matrix i
    // has channels 2 i and 2 i + 1 of each octet, so that lane t of four has 8 channels of frame g.
    template <int OUTPUTS, class T>
    static __device__ void store(T *y, int length, int channels, uint32_t rows, int warp, Item item, int first_channel)
    {
        constexpr int STEP = Rows::STEP, AT_ONCE = CHUNK_UNITS / STEP;
        static_assert(OUTPUTS / 8 % CHUNK_STEP_UNITS == 0);
        const int lane = threadIdx.x, g = lane / 4, t = lane % 4, pair = lane % 8 / 2, matrix = lane / 8, octet = t % OCTETS;
        const uint32_t from = rows + 16 * (Rows::row(8 * (pair % OCTETS) + 2 * matrix + lane % 2) + pair / OCTETS +
                                           place_of_unit(CHUNK_UNITS * warp));
        const int at = item.first + 8 * (CHUNK_UNITS * warp + t / OCTETS) + g;
        const int own_length = 8 * octet < channels - first_channel ? length : 0;
        y += (static_cast<long long>(item.batch) * length + at) * channels + (first_channel + 8 * octet);
#pragma unroll
        for (int first = 0; first < OUTPUTS / 8; first += CHUNK_STEP_UNITS) {
            uint32_t words[AT_ONCE][4];
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) load_matrices<true>(words[j], from + 16 * place_of_unit(first + STEP * j));
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++) {
                const int later = 8 * (first + STEP * j);
                if (at + later >= own_length) continue;
                __stcs(reinterpret_cast<uint4 *>(y + static_cast<long long>(later) * channels),
                       make_uint4(words[j][0], words[j][1], words[j][2], words[j][3]));
            }
        }
    }
};

// A lane's share of the copies of a tensor's frames from a place on, chunk by chunk of a warp, of some channels of a block's:
// zeros for others, and outside of the tensor. Chunks: the LoadedRows that they are for.
template <class T> struct FrameStream {
    const T *from;
    long long stride;
    int at, length;

    template <class Chunks> __device__ void begin(int warp, const Signal &x, int batch, int first, int x_length, int first_channel, int channels)
    {
        const int octet = threadIdx.x % Chunks::OCTETS, frame = threadIdx.x / Chunks::OCTETS;
        stride = x.line_stride;
        at = first + Chunks::CHUNK_FRAMES * warp + frame;
        length = 8 * octet < channels ? x_length : 0;
        from = static_cast<const T *>(x.data) + batch * x.batch_stride + at * stride + (first_channel + 8 * octet);
    }

    // Starts the copies of the warp's i-th chunk, after those of the ones before it.
    template <class Chunks> __device__ void start(uint32_t chunk, int warp, int i)
    {
        const int octet = threadIdx.x % Chunks::OCTETS, frame = threadIdx.x / Chunks::OCTETS;
#pragma unroll
        for (int j = 0; j < Chunks::COPIES; j++) {
            if (Chunks::has(i, warp, Chunks::COPIED_FRAMES / 8 * j)) {
                const bool inside = static_cast<unsigned>(at) < static_cast<unsigned>(length);
                copy_16_bytes(chunk + 16 * Chunks::Rows::place(frame + Chunks::COPIED_FRAMES * j, octet), from, inside);
            }
            const int step = j + 1 < Chunks::COPIES ? Chunks::COPIED_FRAMES : Chunks::CHUNK_FRAMES * (LOADING_WARPS - 1) + Chunks::COPIED_FRAMES;
            from += step * stride, at += step;
        }
    }
};
