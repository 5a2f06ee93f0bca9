// The short convolution of channels-last tensors of 16-bit elements with up to 128 taps, on the tensor cores, by the
// products of depthwise_toeplitz.cuh.
//
// A block takes 512 or 1024 frames at a time, an item; each of its warps has the taps of one or two channels in registers.
// Frames come to shared memory two items ahead and turn to rows one item ahead (depthwise_frame_rows.cuh), which the products
// read as those of channels-first tensors; outputs take their samples' place, and go back the same way one item later, so
// that neighbouring lanes write what the block has of a frame. With three buffers of rows an item takes one barrier, with
// two of them, for GPUs with less shared memory, few channels and short sequences, two.
//
// Bound by latency, of products, `ldmatrix` and arithmetic one after the other, with 16 warps a multiprocessor, and by shared
// memory, which is busy for 60 % of the time. Where warps can pass registers on, depthwise_loaded_frames.cuh is faster for taps
// of two terms.
#pragma once

#include "depthwise_frame_rows.cuh"

// CHANNELS: of a block, 16 or 32. ROUNDS: of 512 outputs of each, of an item. BUFFERS: tiles of rows, 3 or 2.
template <class T, int TAPS, bool SPLIT, int CHANNELS, int ROUNDS, int BUFFERS> struct FramesInShared {
    typedef Toeplitz<T, TAPS, SPLIT, 0> Taps;
    static constexpr int ROUND_UNITS = TOEPLITZ_OUTPUTS / 8, OUTPUTS = ROUNDS * TOEPLITZ_OUTPUTS;
    static_assert(Taps::UNITS == Taps::PLACES);
    typedef FrameRows<CHANNELS, Taps::UNITS + (ROUNDS - 1) * ROUND_UNITS> Rows;
    // Frames of two items; rows, of each channel its samples, and then its outputs; what the block remembers.
    static constexpr int ROWS_AT = 2 * Rows::FRAMES_BYTES, REMEMBERED_AT = ROWS_AT + BUFFERS * Rows::ROWS_BYTES;
    static constexpr int BYTES = REMEMBERED_AT + static_cast<int>(sizeof(Remembered));
};

// Threads: 32 lanes, y over the warps. Blocks: see Turns. Frames begin at multiples of 16 bytes.
template <class T, int TAPS, bool SPLIT, int CHANNELS, int ROUNDS, int BUFFERS>
__device__ void correlate_toeplitz_frames(const Correlation &c)
{
    typedef FramesInShared<T, TAPS, SPLIT, CHANNELS, ROUNDS, BUFFERS> Shared;
    typedef typename Shared::Taps Taps;
    typedef typename Shared::Rows Rows;
    constexpr int OCTETS = Rows::OCTETS, STEP = Rows::STEP, OUTPUTS = Shared::OUTPUTS;
    constexpr int OWN_CHANNELS = CHANNELS / FRAME_WARPS; // of a warp
    extern __shared__ __align__(16) unsigned char memory[];
    const unsigned thread = in_register(threadIdx.x + 32 * threadIdx.y); // reading it takes longer
    const uint32_t base = in_register(shared_address(memory));
    const unsigned lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
    Remembered &remembered = *reinterpret_cast<Remembered *>(memory + Shared::REMEMBERED_AT);

    // Rows to frames: matrix i has channels 2 i and 2 i + 1 of each octet, so that lane t of four has 8 channels of frame g.
    const unsigned pair = lane % 8 / 2, matrix = lane / 8;
    const TwoPlaces turned = Rows::places_to_turn(thread);
    const TwoPlaces loaded_and_stored(
        Rows::place_to_load(thread),
        4 * (Rows::row(8 * (pair % OCTETS) + 2 * matrix + lane % 2) + place_of_unit(warp * STEP) + pair / OCTETS));
    const TwoPlaces segments(4 * (Rows::row(warp) + Taps::place_of_samples(lane)),
                             4 * Rows::row(warp) + Taps::place_of_outputs(lane));
    const auto frames_at = [&](int index) { return base + index % 2 * Rows::FRAMES_BYTES; };
    const auto rows_at = [&](unsigned index) { return base + Shared::ROWS_AT + index % BUFFERS * Rows::ROWS_BYTES; };
    const auto item_at = [&](int index) { return Remembered::item(base + Shared::REMEMBERED_AT, index); };

    const auto present_channel = [&] { return CHANNELS * Remembered::group(base + Shared::REMEMBERED_AT); }; // the first one
    const auto load = [&](int index, Item item, int first_channel) {
        const int channels = min(CHANNELS, c.channels - first_channel);
        if (thread == 0) remembered.items[(index + 1) % Remembered::ITEMS] = item.next(OUTPUTS, c.output_length);
        Rows::template load<T>(frames_at(index) + loaded_and_stored.first(), thread, c.x, item.batch, item.first - c.left,
                               c.input_length, first_channel, channels);
    };
    const auto turn_to_rows = [&](int index) {
        Rows::turn(frames_at(index) + turned.first(), rows_at(index) + turned.second(), thread);
    };

    // Those behind the last channel are its taps, and zeros, for nobody.
    Taps taps[OWN_CHANNELS];
    const auto own_channel = [&](int k, int first_channel) {
        return min(first_channel + static_cast<int>(warp) + k * FRAME_WARPS, c.channels - 1);
    };
    const auto staged = [&](int k) {
        return reinterpret_cast<float *>(memory + Shared::ROWS_AT + 16 * Rows::row(warp + k * FRAME_WARPS));
    };

    // The outputs of an item, which take the place of its samples.
    const auto convolve = [&](int index) {
        const uint32_t rows = rows_at(index);
#pragma unroll
        for (int part = 0; part < OWN_CHANNELS * ROUNDS; part++) {
            const int k = part / ROUNDS, round = part % ROUNDS;
            const int before = 16 * (Rows::row(k * FRAME_WARPS) + place_of_unit(round * Shared::ROUND_UNITS));
            float sums[SEGMENT / 16][4];
            uint32_t words[SEGMENT / 16][2];
            taps[k].products(sums, rows + before + segments.first());
            taps[k].finish(c, sums, words, [&] {
                const Item item = item_at(index);
                const int channel = own_channel(k, present_channel());
                const T *const x = static_cast<const T *>(c.x.data) + item.batch * c.x.batch_stride + channel;
                return OwnSamples<T>{channel, x, item.first + round * TOEPLITZ_OUTPUTS - c.left, c.x.line_stride};
            });
            const uint32_t to = rows + before + segments.second();
#pragma unroll
            for (int i = 0; i < SEGMENT / 8; i++) {
                store_shared(to + 16 * Taps::place_of_part(i / 2, i % 2), words[i / 2][i % 2]);
            }
        }
    };
    const auto store = [&](int index) {
        constexpr int STEP_UNITS = STEP * FRAME_WARPS;
        const uint32_t from = rows_at(index) + loaded_and_stored.second();
        const Item item = item_at(index);
        const unsigned octet = t % OCTETS;
        const int first_channel = present_channel(), channels = min(CHANNELS, c.channels - first_channel);
        const int at = item.first + static_cast<int>(8 * (warp * STEP + t / OCTETS) + g);
        const int length = 8 * octet < channels ? c.output_length : 0;
        T *y = static_cast<T *>(c.y) + (static_cast<long long>(item.batch) * c.output_length + at) * c.channels +
               (first_channel + 8 * octet);
#pragma unroll
        for (int i = 0; i * STEP_UNITS < OUTPUTS / 8; i++, y += 8ll * STEP_UNITS * c.channels) {
            uint32_t words[4];
            load_matrices<true>(words, from + 16 * place_of_unit(i * STEP_UNITS));
            if (at + 8 * i * STEP_UNITS < length) {
                __stcs(reinterpret_cast<uint4 *>(y), make_uint4(words[0], words[1], words[2], words[3]));
            }
        }
    };

    const int groups = (c.channels + CHANNELS - 1) / CHANNELS;
    const Turns turns{remembered.turn, c.sharing, groups, c.batch, c.output_length, OUTPUTS};
#pragma unroll 1
    for (Turn turn = turns.begin(); turn.count > 0; turn = turns.next()) {
        const int count = turn.count, first_channel = turn.group * CHANNELS;
        if (thread == 0) remembered.items[0] = turn.first;
        load(0, turn.first, first_channel);
        end_group_of_copies();
        if (count > 1) load(1, turn.first.next(OUTPUTS, c.output_length), first_channel);
        end_group_of_copies();
        if constexpr (OWN_CHANNELS == 1) {
            Taps::read_all(taps, c, {own_channel(0, first_channel)}, 0, {staged(0)});
        } else {
            Taps::read_all(taps, c, {own_channel(0, first_channel), own_channel(1, first_channel)}, 0, {staged(0), staged(1)});
        }
        wait_for_copies<1>();
        __syncthreads();
        turn_to_rows(0);
#pragma unroll 1
        for (int i = 0; i <= count; i++) {
            wait_for_copies<0>();
            __syncthreads(); // rows of this item, frames of the next one and outputs of the one before are there
            if (i + 2 < count) load(i + 2, item_at(i + 2), present_channel());
            end_group_of_copies();
            if (BUFFERS == 2) {
                if (i > 0) store(i - 1);
                __syncthreads(); // its rows may be written to
                if (i + 1 < count) turn_to_rows(i + 1);
                if (i < count) convolve(i);
                continue;
            }
            // While the products of an item are made, the frames of the next one turn to rows and the outputs of the one before
            // leave: half of the warps make their products first, so that both go on at the same time. Products of two terms
            // take most of the time, and are faster together.
            const unsigned products_phase = SPLIT ? 0 : warp / 4 & 1;
#pragma unroll 1
            for (unsigned phase = 0; phase < 2; phase++) {
                if (phase == products_phase) {
                    if (i < count) convolve(i);
                } else {
                    if (i + 1 < count) turn_to_rows(i + 1);
                    if (i > 0) store(i - 1);
                }
            }
        }
    }
}
