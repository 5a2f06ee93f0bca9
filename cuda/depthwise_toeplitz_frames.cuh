// The short convolution of channels-last tensors of 16-bit elements with up to 128 taps, on the tensor cores, by the
// products of depthwise_toeplitz.cuh.
//
// A block takes 16 or 32 neighbouring channels, 32 or 64 bytes of each frame, and 512 frames at a time; each of its warps
// has the taps of one or two channels in registers. Frames come to shared memory by cp.async, two tiles ahead. From there
// `ldmatrix` turns 8 frames by 8 channels into rows of each channel, one tile ahead, which the products read as those of
// channels-first tensors; outputs go back the same way, so that neighbouring lanes write what the block has of a frame.
//
// Bound by latency, of products, `ldmatrix` and arithmetic one after the other, with 16 warps a multiprocessor, and with 16
// channels a block by the L2, which has a request for each 32 bytes.
#pragma once

#include "depthwise_toeplitz.cuh"

constexpr int FRAME_WARPS = 16; // of a block

// CHANNELS: of a block, 16 or 32.
template <class T, int TAPS, bool SPLIT, int CHANNELS> struct FramesInShared {
    typedef Toeplitz<T, TAPS, SPLIT, 0> Taps;
    static constexpr int FRAMES = 8 * Taps::UNITS, OCTETS = CHANNELS / 8;
    static constexpr int ROW = Taps::PITCH | 1; // of a channel: those of 8 channels lie in different banks
    static constexpr int STEP = 4 / OCTETS;     // units that the four matrices of an instruction have, of all octets
    static_assert((OCTETS == 2 || OCTETS == 4) && Taps::UNITS % STEP == 0);
    uint4 frames[2][FRAMES * OCTETS];
    uint4 rows[2][CHANNELS][ROW]; // of each channel its samples, and then its outputs, 8 in a unit

    // Where 8 channels of a frame lie: those of 8 neighbouring frames in different banks.
    static __device__ int place(int frame, int octet)
    {
        return frame * OCTETS + (octet ^ (frame / (8 / OCTETS) & (OCTETS - 1)));
    }
};

// The taps of a warp's channels: COUNT of them, STRIDE apart, the last one of the tensor instead of those behind it.
template <class Taps, int COUNT, int STRIDE> struct OwnTaps {
    Taps first;
    OwnTaps<Taps, COUNT - 1, STRIDE> others;

    __device__ OwnTaps(const Correlation &c, int channel, uint4 *units)
        : first(c, min(channel, c.channels - 1), 0, units), others(c, channel + STRIDE, units)
    {
    }
    template <class F> __device__ void each(const F &f, int index = 0) const
    {
        f(first, index);
        others.each(f, index + 1);
    }
};
template <class Taps, int STRIDE> struct OwnTaps<Taps, 0, STRIDE> {
    __device__ OwnTaps(const Correlation &, int, uint4 *) {}
    template <class F> __device__ void each(const F &, int = 0) const {}
};

// Threads: 32 lanes, y over the warps. Blocks: x over groups of channels, y over parts of their work. Frames begin at
// multiples of 16 bytes.
template <class T, int TAPS, bool SPLIT, int CHANNELS> __device__ void correlate_toeplitz_frames(const Correlation &c)
{
    typedef FramesInShared<T, TAPS, SPLIT, CHANNELS> Shared;
    typedef typename Shared::Taps Taps;
    constexpr int OCTETS = Shared::OCTETS, STEP = Shared::STEP;
    extern __shared__ __align__(16) unsigned char memory[];
    Shared &shared = *reinterpret_cast<Shared *>(memory);
    const int lane = threadIdx.x, warp = threadIdx.y, g = lane >> 2, t = lane & 3, matrix = lane >> 3;
    const int first_channel = blockIdx.x * CHANNELS, channels = min(CHANNELS, c.channels - first_channel);

    // The block's items: tiles of frames, one after the other.
    const int tiles = (c.output_length + TOEPLITZ_OUTPUTS - 1) / TOEPLITZ_OUTPUTS;
    const long long items = static_cast<long long>(c.batch) * tiles;
    const long long item = items * blockIdx.y / gridDim.y;
    int left_over = static_cast<int>(items * (blockIdx.y + 1) / gridDim.y - item);
    const auto next = [&](int &batch, int &tile) {
        if (++tile == tiles) tile = 0, batch++;
    };
    int batch = static_cast<int>(item / tiles), tile = static_cast<int>(item % tiles); // of the products
    int loaded_batch = batch, loaded_tile = tile, loaded_buffer = 0;                   // of the next copies
    if (left_over == 0) return;

    // Those behind the last channel are its taps, and zeros, for nobody.
    const OwnTaps<Taps, CHANNELS / FRAME_WARPS, FRAME_WARPS> taps(c, first_channel + warp, shared.rows[0][warp]);

    const auto load = [&] {
        const T *const x = static_cast<const T *>(c.x.data) + loaded_batch * c.x.batch_stride + first_channel;
        uint4 *const to = shared.frames[loaded_buffer];
        for (int i = lane + 32 * warp; i < Shared::FRAMES * OCTETS; i += 32 * FRAME_WARPS) {
            const int frame = i / OCTETS, octet = i % OCTETS;
            const int at = loaded_tile * TOEPLITZ_OUTPUTS - c.left + frame;
            const bool outside = at < 0 || at >= c.input_length || 8 * octet >= channels;
            start_copy(to + Shared::place(frame, octet), outside ? x : x + at * c.x.line_stride + 8 * octet, outside);
        }
        end_group_of_copies();
        next(loaded_batch, loaded_tile);
        loaded_buffer ^= 1;
    };
    const auto turn_to_rows = [&](int buffer) {
        for (int first = warp * STEP; first < Taps::UNITS; first += FRAME_WARPS * STEP) {
            uint32_t words[4]; // [unit][octet]: channel g, frames 2 t and 2 t + 1
            const int frame = 8 * (first + matrix / OCTETS) + (lane & 7);
            load_transposed(words, shared.frames[buffer] + Shared::place(frame, matrix % OCTETS));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int unit = first + i / OCTETS;
                reinterpret_cast<uint32_t *>(shared.rows[buffer][g + 8 * (i % OCTETS)] + unit + unit / 4)[t] = words[i];
            }
        }
    };
    load();
    wait_for_copies<0>();
    __syncthreads(); // the taps have been read, too
    if (left_over > 1) load();
    turn_to_rows(0);
    int buffer = 0;
#pragma unroll 1
    for (; left_over > 0; left_over--, buffer ^= 1, next(batch, tile)) {
        const int first = tile * TOEPLITZ_OUTPUTS;
        wait_for_copies<0>();
        __syncthreads(); // rows of this tile and frames of the next one are there; the outputs before have left
        if (left_over > 2) load();
        if (left_over > 1) turn_to_rows(buffer ^ 1);

        taps.each([&](const Taps &taps, int index) {
            uint4 *const own = shared.rows[buffer][warp + index * FRAME_WARPS];
            float sums[4][4];
            uint32_t words[4][2];
            taps.products(sums, own);
            const T *const x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + taps.channel;
            taps.finish(sums, x, first - c.left, c.x.line_stride, words);
            // Unit i at i + i / 4, as for the samples: then the lanes' words lie in different banks.
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const int row = g + 8 * (i % 2);
                reinterpret_cast<uint32_t *>(own + 5 * row + i / 2)[t] = words[i / 2][i % 2];
            }
        });
        __syncthreads();

        T *const y = static_cast<T *>(c.y) + static_cast<long long>(batch) * c.output_length * c.channels + first_channel;
#pragma unroll
        for (int i = 0; i < TOEPLITZ_OUTPUTS / 8 / STEP / FRAME_WARPS; i++) {
            const int unit = (i * FRAME_WARPS + warp) * STEP;
            uint32_t words[4]; // [unit][octet]: frame g, channels 2 t and 2 t + 1
            const int own_unit = unit + matrix / OCTETS;
            load_transposed(words, shared.rows[buffer][(lane & 7) + 8 * (matrix % OCTETS)] + own_unit + own_unit / 4);
            transpose_quad(words); // lane t: all words of unit t / OCTETS and octet t % OCTETS
            const int at = first + 8 * (unit + t / OCTETS) + g, octet = t % OCTETS;
            if (at < c.output_length && 8 * octet < channels) {
                uint4 *const to = reinterpret_cast<uint4 *>(y + static_cast<long long>(at) * c.channels + 8 * octet);
                __stcs(to, make_uint4(words[0], words[1], words[2], words[3]));
            }
        }
    }
}
