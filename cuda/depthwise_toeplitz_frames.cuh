// The short convolution of channels-last tensors of 16-bit elements with up to 128 taps, on the tensor cores, by the
// products of depthwise_toeplitz.cuh.
//
// A block takes 16 neighbouring channels, a sector of each frame, and 512 frames at a time; a warp has the taps of one
// channel in registers. Frames come to shared memory by cp.async, two tiles ahead. From there `ldmatrix` turns 8 frames
// by 8 channels into rows of each channel, one tile ahead, which the products read as those of channels-first tensors;
// outputs go back the same way, so that two lanes write the sector of a frame.
//
// Bound by latency, of products, `ldmatrix` and arithmetic one after the other, with 16 warps a multiprocessor: 46 % of the
// issue slots, a third of the tensor pipe, half of the L1's.
#pragma once

#include "depthwise_toeplitz.cuh"

// As `load_matrices`, each matrix transposed.
__device__ inline void load_transposed(uint32_t (&a)[4], const uint4 *row)
{
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at)
                 : "memory");
}

constexpr int FRAME_CHANNELS = 16; // of a block, one for each of its warps
constexpr int FRAME_OCTETS = FRAME_CHANNELS / 8;

template <class T, int TAPS, bool SPLIT> struct FramesInShared {
    typedef Toeplitz<T, TAPS, SPLIT, 0> Taps;
    static constexpr int FRAMES = 8 * Taps::UNITS;
    static constexpr int ROW = Taps::PITCH | 1; // of a channel: those of 8 channels lie in different banks
    uint4 frames[2][FRAMES * FRAME_OCTETS];
    uint4 rows[2][FRAME_CHANNELS][ROW]; // of each channel its samples, and then its outputs, 8 in a unit

    // Where 8 channels of a frame lie: those of 8 neighbouring frames in different banks.
    static __device__ int place(int frame, int octet) { return frame * FRAME_OCTETS + (octet ^ (frame >> 2 & 1)); }
};

// Threads: 32 lanes, y over the warps. Blocks: x over groups of channels, y over parts of their work. Frames begin at
// multiples of 16 bytes.
template <class T, int TAPS, bool SPLIT> __device__ void correlate_toeplitz_frames(const Correlation &c)
{
    typedef FramesInShared<T, TAPS, SPLIT> Shared;
    typedef typename Shared::Taps Taps;
    static_assert(FRAME_OCTETS == 2 && Taps::UNITS % 2 == 0);
    extern __shared__ __align__(16) unsigned char memory[];
    Shared &shared = *reinterpret_cast<Shared *>(memory);
    const int lane = threadIdx.x, warp = threadIdx.y, g = lane >> 2, t = lane & 3;
    const int first_channel = blockIdx.x * FRAME_CHANNELS, channels = min(FRAME_CHANNELS, c.channels - first_channel);

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

    // A warp without a channel of its own takes the taps of the last one, and zeros, for nobody.
    const int own_channel = min(warp, channels - 1);
    const Taps taps(c, first_channel + own_channel, 0, shared.rows[0][warp]);

    const auto load = [&] {
        const T *const x = static_cast<const T *>(c.x.data) + loaded_batch * c.x.batch_stride + first_channel;
        uint4 *const to = shared.frames[loaded_buffer];
        for (int i = lane + 32 * warp; i < Shared::FRAMES * FRAME_OCTETS; i += 32 * FRAME_CHANNELS) {
            const int frame = i / FRAME_OCTETS, octet = i % FRAME_OCTETS;
            const int at = loaded_tile * TOEPLITZ_OUTPUTS - c.left + frame;
            const bool outside = at < 0 || at >= c.input_length || 8 * octet >= channels;
            start_copy(to + Shared::place(frame, octet), outside ? x : x + at * c.x.line_stride + 8 * octet, outside);
        }
        end_group_of_copies();
        next(loaded_batch, loaded_tile);
        loaded_buffer ^= 1;
    };
    const auto turn_to_rows = [&](int buffer) {
        for (int pair = warp; pair < Taps::UNITS / 2; pair += FRAME_CHANNELS) {
            uint32_t words[4]; // [unit of the pair][octet]: channel g, frames 2 t and 2 t + 1
            const int matrix = lane >> 3, frame = 8 * (2 * pair + (matrix >> 1)) + (lane & 7);
            load_transposed(words, shared.frames[buffer] + Shared::place(frame, matrix & 1));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int unit = 2 * pair + (i >> 1);
                reinterpret_cast<uint32_t *>(shared.rows[buffer][g + 8 * (i & 1)] + unit + unit / 4)[t] = words[i];
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

        uint4 *const own = shared.rows[buffer][warp];
        float sums[4][4];
        taps.products(sums, own);
        const T *const x = static_cast<const T *>(c.x.data) + batch * c.x.batch_stride + first_channel + own_channel;
        taps.finish(sums, x, first - c.left, c.x.line_stride);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t words[4];
            Taps::neighbours(sums, i, words);
            own[4 * (g + 8 * i) + t] = make_uint4(words[0], words[1], words[2], words[3]);
        }
        __syncthreads();

        T *const y = static_cast<T *>(c.y) + static_cast<long long>(batch) * c.output_length * c.channels + first_channel;
#pragma unroll
        for (int pair = warp; pair < TOEPLITZ_OUTPUTS / 16; pair += FRAME_CHANNELS) {
            uint32_t words[4]; // [unit of the pair][octet]: frame g, channels 2 t and 2 t + 1
            const int matrix = lane >> 3;
            load_transposed(words, shared.rows[buffer][(lane & 7) + 8 * (matrix & 1)] + 2 * pair + (matrix >> 1));
            transpose_quad(words); // lane t: all words of unit t / 2 and octet t % 2
            const int at = first + 8 * (2 * pair + (t >> 1)) + g, octet = t & 1;
            if (at < c.output_length && 8 * octet < channels) {
                uint4 *const to = reinterpret_cast<uint4 *>(y + static_cast<long long>(at) * c.channels + 8 * octet);
                __stcs(to, make_uint4(words[0], words[1], words[2], words[3]));
            }
        }
    }
}
