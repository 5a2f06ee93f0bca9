// The short convolution of channels-last tensors of 16-bit elements with up to 128 taps of two terms, on the tensor cores, as
// depthwise_toeplitz_frames.cuh has it, for compute capability 9.0 alone, as its warps pass registers on to others.
//
// A block takes 16 channels, and 1024 frames at a time, an item. 16 warps have the taps of a channel each in registers, and
// multiply; the loading warps turn the frames of an item to rows (depthwise_loading_warps.cuh), in which outputs take their
// samples' place, and those of the item before back to frames, so that neighbouring lanes write what the block has of a frame.
// The warps that multiply would lack registers if all had as many.
//
// Not profiled. The L2 is asked for each frame by itself, 32 bytes, as by depthwise_frame_moments.cuh, and the tensor cores have
// twice the products of taps of one term.
#pragma once

#include "depthwise_loading_warps.cuh"
#include "depthwise_toeplitz_frames.cuh"

// Registers of a thread of each role, of what all threads of a block begin with.
constexpr int MULTIPLYING_REGISTERS = 104, LOADING_REGISTERS = 64, REGISTERS = (1 << 16) / (32 * ROLES_WARPS) / 8 * 8;
static_assert(FRAME_WARPS * MULTIPLYING_REGISTERS + LOADING_WARPS * LOADING_REGISTERS <= ROLES_WARPS * REGISTERS);
static_assert(FRAME_WARPS % 4 == 0 && LOADING_WARPS % 4 == 0); // they pass them on by four

template <class T, int TAPS> struct LoadedFrames {
    typedef Toeplitz<T, TAPS, true, 0> Taps;
    static constexpr int CHANNELS = FRAME_WARPS, ROUNDS = 2; // of a block; of 512 outputs of each, of an item
    static constexpr int ROUND_UNITS = TOEPLITZ_OUTPUTS / 8, OUTPUTS = ROUNDS * TOEPLITZ_OUTPUTS;
    static_assert(Taps::UNITS == Taps::PLACES);
    typedef LoadedRows<CHANNELS, Taps::UNITS + (ROUNDS - 1) * ROUND_UNITS> Samples;
    typedef typename Samples::Rows Rows;
    static constexpr int AHEAD = 2; // items of frames in shared memory
    static constexpr int ROWS_AT = AHEAD * Samples::FRAMES_BYTES, BARRIERS_AT = ROWS_AT + 2 * Rows::ROWS_BYTES;
    static constexpr int REMEMBERED_AT = BARRIERS_AT + RowBuffers::BYTES;
    static constexpr int BYTES = REMEMBERED_AT + static_cast<int>(sizeof(Remembered));

    // Writes the outputs of an item of a warp's frames. Matrix i has channels 2 i and 2 i + 1 of each octet, so that lane t of
    // four has 8 channels of frame g.
    static __device__ void store(const Correlation &c, uint32_t rows, int warp, Item item, int first_channel)
    {
        constexpr int OCTETS = Rows::OCTETS, STEP = Rows::STEP, STEP_UNITS = STEP * LOADING_WARPS;
        constexpr int COUNT = OUTPUTS / 8 / STEP_UNITS, AT_ONCE = 4;
        static_assert(COUNT % AT_ONCE == 0);
        const int lane = threadIdx.x, g = lane / 4, t = lane % 4, pair = lane % 8 / 2, matrix = lane / 8, octet = t % OCTETS;
        const uint32_t from = rows + 16 * (Rows::row(8 * (pair % OCTETS) + 2 * matrix + lane % 2) + pair / OCTETS + place_of_unit(STEP * warp));
        const int at = item.first + 8 * (STEP * warp + t / OCTETS) + g;
        const int length = 8 * octet < c.channels - first_channel ? c.output_length : 0;
        T *y = static_cast<T *>(c.y) + (static_cast<long long>(item.batch) * c.output_length + at) * c.channels +
               (first_channel + 8 * octet);
#pragma unroll
        for (int first = 0; first < COUNT; first += AT_ONCE) {
            uint32_t words[AT_ONCE][4];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) load_matrices<true>(words[i], from + 16 * place_of_unit((first + i) * STEP_UNITS));
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++, y += 8ll * STEP_UNITS * c.channels) {
                if (at + 8 * (first + i) * STEP_UNITS >= length) continue;
                __stcs(reinterpret_cast<uint4 *>(y), make_uint4(words[i][0], words[i][1], words[i][2], words[i][3]));
            }
        }
    }
};

// Threads: x over the lanes, y over ROLES_WARPS. Blocks: see Turns. Frames begin at multiples of 16 bytes.
template <class T, int TAPS> __device__ void correlate_loaded_frames(const Correlation &c)
{
    typedef LoadedFrames<T, TAPS> Shared;
    typedef typename Shared::Taps Taps;
    typedef typename Shared::Samples Samples;
    typedef typename Shared::Rows Rows;
    enum { TAPS_READ = 1, OUTPUTS_WRITTEN }; // barriers of the block
    constexpr int CHANNELS = Shared::CHANNELS;
    extern __shared__ __align__(16) unsigned char memory[];
    const int warp = threadIdx.y;
    const uint32_t base = shared_address(memory);
    const RowBuffers buffers{base + Shared::BARRIERS_AT};
    const auto rows_at = [&](unsigned item) { return Shared::ROWS_AT + item % 2 * Rows::ROWS_BYTES; };
    Remembered &remembered = *reinterpret_cast<Remembered *>(memory + Shared::REMEMBERED_AT);
    const auto remembered_item = [&](unsigned item) { return Remembered::item(base + Shared::REMEMBERED_AT, item); };
    const int groups = (c.channels + CHANNELS - 1) / CHANNELS;
    const Turns turns{remembered.turn, c.sharing, groups, c.batch, c.output_length, Shared::OUTPUTS};
    if (warp == 0) buffers.create();
    __syncthreads();
    unsigned item = 0;
    if (warp >= FRAME_WARPS) {
        fewer_registers<LOADING_REGISTERS>();
        const int own = warp - FRAME_WARPS;
        constexpr int CHUNKS = Samples::OWN_CHUNKS; // each a group of copies
        const auto frames_at = [&](unsigned item) { return base + item % Shared::AHEAD * Samples::FRAMES_BYTES; };
#pragma unroll 1
        for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
            const unsigned begin = item, end = begin + turn.count;
            const int first_channel = CHANNELS * turn.group, channels = min(CHANNELS, c.channels - first_channel);
            Item next = turn.first;
            typename Samples::template Copy<T> samples;
            const auto begin_load = [&](unsigned item) {
                samples = {own, c.x, next.batch, next.first - c.left, c.input_length, first_channel, channels};
                if (own == 0 && threadIdx.x == 0) remembered.items[item % Remembered::ITEMS] = next;
                next = next.next(Shared::OUTPUTS, c.output_length);
            };
#pragma unroll 1
            for (unsigned ahead = begin; ahead < begin + Shared::AHEAD; ahead++) {
                if (ahead < end) begin_load(ahead);
#pragma unroll
                for (int i = 0; i < CHUNKS; i++) {
                    if (ahead < end) samples.start(frames_at(ahead), own, i);
                    end_group_of_copies();
                }
            }
            // The outputs of an item leave when the next one is in its rows, which is multiplied meanwhile.
#pragma unroll 1
            for (;; item++) {
                if (item < end) {
                    const bool more = item + Shared::AHEAD < end;
                    if (more) begin_load(item + Shared::AHEAD);
#pragma unroll
                    for (int i = 0; i < CHUNKS; i++) {
                        wait_for_copies<Shared::AHEAD * CHUNKS - 1>();
                        Samples::turn(frames_at(item), base + rows_at(item), own, i);
                        if (more) samples.start(frames_at(item), own, i);
                        end_group_of_copies();
                    }
                    buffers.filled(item);
                }
                if (item == begin) {
                    barrier_of_warps<TAPS_READ>(ROLES_WARPS); // they were in the rows of the next item
                } else {
                    buffers.wait_until_taken(item - 1);
                    Shared::store(c, base + rows_at(item - 1), own, remembered_item(item - 1), first_channel);
                    barrier_of_warps<OUTPUTS_WRITTEN>(LOADING_WARPS); // their rows may be written to
                }
                if (item == end) break;
            }
        }
    } else {
        more_registers<MULTIPLYING_REGISTERS>();
        const uint32_t samples = 16 * (Rows::row(warp) + Taps::place_of_samples(threadIdx.x));
        const uint32_t outputs = 4 * (4 * Rows::row(warp) + Taps::place_of_outputs(threadIdx.x));
        // Those behind the last channel are its taps, and zeros, for nobody.
        const auto own_channel = [&](int group) { return min(CHANNELS * group + warp, c.channels - 1); };
#pragma unroll 1
        for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
            const unsigned end = item + turn.count;
            Taps taps[1];
            float *const staged = reinterpret_cast<float *>(memory + rows_at(item + 1) + 16 * Rows::row(warp));
            Taps::read_all(taps, c, {own_channel(turn.group)}, 0, {staged});
            barrier_of_warps<TAPS_READ>(ROLES_WARPS);
#pragma unroll 1
            for (; item < end; item++) {
                const uint32_t rows = base + rows_at(item);
                buffers.wait_until_filled(item);
#pragma unroll
                for (int round = 0; round < Shared::ROUNDS; round++) {
                    const uint32_t own = rows + 16 * place_of_unit(round * Shared::ROUND_UNITS);
                    float sums[SEGMENT / 16][4];
                    uint32_t words[SEGMENT / 16][2];
                    taps[0].products(sums, own + samples);
                    taps[0].finish(c, sums, words, [&] {
                        const Item present = remembered_item(item);
                        const int channel = own_channel(Remembered::group(base + Shared::REMEMBERED_AT));
                        const T *const x = static_cast<const T *>(c.x.data) + present.batch * c.x.batch_stride + channel;
                        return OwnSamples<T>{channel, x, present.first + round * TOEPLITZ_OUTPUTS - c.left, c.x.line_stride};
                    });
#pragma unroll
                    for (int i = 0; i < SEGMENT / 8; i++) {
                        store_shared(own + outputs + 16 * Taps::place_of_part(i / 2, i % 2), words[i / 2][i % 2]);
                    }
                }
                buffers.taken(item);
            }
        }
    }
}
