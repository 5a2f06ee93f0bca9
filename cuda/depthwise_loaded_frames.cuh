// The short convolution of channels-last tensors of 16-bit elements with up to 128 taps of two terms, on the tensor cores, as
// depthwise_toeplitz_frames.cuh has it, for compute capability 9.0 alone, as its warps pass registers on to others.
//
// A block takes 16 channels, and 1024 frames at a time, an item. 16 warps have the taps of a channel each in registers, and
// multiply; the loading warps turn the frames of an item to rows (depthwise_loading_warps.cuh), in which outputs take their
// samples' place, and those of the item before back to frames, so that neighbouring lanes write what the block has of a frame.
// The warps that multiply would lack registers if all had as many.
//
// Not profiled. Frames come by 32 bytes, which bounds depthwise_long_frame_gradients.cuh, and the tensor cores have twice the
// products of taps of one term.
#pragma once

#include "depthwise_loading_warps.cuh"
#include "depthwise_toeplitz_frames.cuh"

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
};

// Threads: x over the lanes, y over ROLES_WARPS. Blocks: see Turns. Frames begin at multiples of 16 bytes.
template <class T, int TAPS> __device__ void correlate_loaded_frames(const Correlation &c)
{
    typedef LoadedFrames<T, TAPS> Shared;
    typedef typename Shared::Taps Taps;
    typedef typename Shared::Samples Samples;
    typedef typename Shared::Rows Rows;
    enum { TAPS_READ = 1 }; // a barrier of the block
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
        const auto chunk_at = [&](unsigned item, int i) {
            return base + item % Shared::AHEAD * Samples::FRAMES_BYTES + Samples::CHUNK_BYTES * (LOADING_WARPS * i + own);
        };
#pragma unroll 1
        for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
            const unsigned begin = item, end = begin + turn.count;
            const int first_channel = CHANNELS * turn.group, channels = min(CHANNELS, c.channels - first_channel);
            Item next = turn.first;
            FrameStream<T> samples;
            const auto begin_load = [&](unsigned item) {
                samples.template begin<Samples>(own, c.x, next.batch, next.first - c.left, c.input_length, first_channel, channels);
                if (own == 0 && threadIdx.x == 0) remembered.items[item % Remembered::ITEMS] = next;
                next = next.next(Shared::OUTPUTS, c.output_length);
            };
#pragma unroll 1
            for (unsigned ahead = begin; ahead < begin + Shared::AHEAD; ahead++) {
                if (ahead < end) begin_load(ahead);
#pragma unroll
                for (int i = 0; i < CHUNKS; i++) {
                    if (ahead < end) samples.template start<Samples>(chunk_at(ahead, i), own, i);
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
                        Samples::turn(chunk_at(item, i), base + rows_at(item), own, i);
                        if (more) samples.template start<Samples>(chunk_at(item, i), own, i);
                        end_group_of_copies();
                    }
                    buffers.filled(item);
                }
                if (item == begin) {
                    barrier_of_warps<TAPS_READ>(ROLES_WARPS); // they were in the rows of the next item
                } else {
                    buffers.wait_until_taken(item - 1);
                    Samples::template store<Shared::OUTPUTS>(static_cast<T *>(c.y), c.output_length, c.channels, base + rows_at(item - 1),
                                                             own, remembered_item(item - 1), first_channel);
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
