// All gradients of the short convolution of channels-last tensors of 16-bit elements with up to 128 taps, in one pass over x
// and dy, on the tensor cores: the sums for the taps by the products of depthwise_frame_moments.cuh, and dx, a correlation of
// the same dy with the taps in reverse order, by those of depthwise_segments.cuh.
//
// A block takes 16 neighbouring channels, and 1024 frames of x and those of dy that they meet at a time, an item. Its loading
// warps turn them to rows (depthwise_loading_warps.cuh), of which each of the other warps takes those of a channel: the sums
// for the taps are in its registers, as is all of the item's x, so that dx takes the place of x, from where the loading warps
// store it. Taps are in shared memory, as there are no registers left for them.
//
// Bound by shared memory, which is busy for 80 % of the time: a third of it by the copies, which come by 32 bytes of a frame.
#pragma once

#include "depthwise_frame_moments.cuh"
#include "depthwise_loading_warps.cuh"
#include "depthwise_segments.cuh"

template <class T, int TAPS, bool SPLIT> struct LongFrameGradients {
    typedef FrameMoments<T, pairs_of_taps(TAPS)> Products;
    typedef typename Products::Moments Moments;
    typedef SegmentTaps<T, TAPS, SPLIT> Taps;
    static constexpr int CHANNELS = FRAME_WARPS, FRAMES = SEGMENTS * SEGMENT;
    typedef LoadedRows<CHANNELS, FRAMES / 8> X;
    typedef LoadedRows<CHANNELS, FRAMES / 8 + Moments::UNITS> Dy;
    static_assert(Taps::UNITS <= FRAMES / 8 + Moments::UNITS);
    // Chunks of a loading warp in shared memory: as many are under way.
    static constexpr int SLOTS = 6, GROUPS = X::OWN_CHUNKS + Dy::OWN_CHUNKS;
    static_assert(SLOTS <= GROUPS);
    static constexpr int DY_AT = X::Rows::ROWS_BYTES, ROWS_BYTES = DY_AT + Dy::Rows::ROWS_BYTES; // of an item
    static constexpr int ROWS_AT = LOADING_WARPS * SLOTS * X::CHUNK_BYTES, BARRIERS_AT = ROWS_AT + 2 * ROWS_BYTES;
    static constexpr int REMEMBERED_AT = BARRIERS_AT + RowBuffers::BYTES;
    static constexpr int TAPS_AT = REMEMBERED_AT + static_cast<int>(sizeof(Remembered));
    static constexpr int BYTES = TAPS_AT + FRAME_WARPS * Taps::BYTES;
    static_assert(FRAME_WARPS * sizeof(typename Moments::Sums) <= BARRIERS_AT && BYTES <= 227 << 10);
};

// g.weight: in reverse order. Threads: x over the lanes, y over ROLES_WARPS. Blocks: see Turns. Frames of all tensors begin at
// multiples of 16 bytes; the unit of dy in line with that of x is among those that it meets.
template <class T, int TAPS, bool SPLIT> __device__ void long_frame_gradients(const Gradient &g)
{
    typedef LongFrameGradients<T, TAPS, SPLIT> Shared;
    typedef typename Shared::X X;
    typedef typename Shared::Dy Dy;
    typedef typename Shared::Taps Taps;
    enum { ROWS_READ = 1 }; // a barrier of the block
    constexpr int CHANNELS = Shared::CHANNELS;
    extern __shared__ __align__(16) unsigned char memory[];
    const int warp = threadIdx.y;
    const uint32_t base = shared_address(memory);
    const RowBuffers buffers{base + Shared::BARRIERS_AT};
    const auto rows_at = [&](unsigned item) { return base + Shared::ROWS_AT + item % 2 * Shared::ROWS_BYTES; };
    const auto remembered_item = [&](unsigned item) { return Remembered::item(base + Shared::REMEMBERED_AT, item); };
    const int start = g.left - (g.taps - 1), shift = start & 7; // from a place of x to the first one of dy that it meets
    const int length = max(g.input_length, g.output_length);
    Remembered &remembered = *reinterpret_cast<Remembered *>(memory + Shared::REMEMBERED_AT);
    const int groups = (g.channels + CHANNELS - 1) / CHANNELS;
    const Turns turns{remembered.turn, g.sharing, groups, g.batch, length, Shared::FRAMES};
    const Turn first_turn = turns.begin();
    if (warp == 0) buffers.create();
    __syncthreads();
    unsigned item = 0;
    if (warp >= FRAME_WARPS) {
        fewer_registers<LOADING_REGISTERS>();
        const int own = warp - FRAME_WARPS;
        constexpr int SLOTS = Shared::SLOTS, GROUPS = Shared::GROUPS;
        const uint32_t first_slot = base + SLOTS * X::CHUNK_BYTES * own;
        uint32_t slot = first_slot;
        // Ends the group of copies of a chunk, and goes on to the slot of the chunk that was asked for SLOTS - 1 chunks ago.
        const auto advance = [&] {
            end_group_of_copies();
            slot = slot == first_slot + (SLOTS - 1) * X::CHUNK_BYTES ? first_slot : slot + X::CHUNK_BYTES;
        };
#pragma unroll 1
        for (Turn turn = first_turn; turn.count > 0; turn = turns.next()) {
            const unsigned begin = item, end = item + turn.count;
            const int first_channel = CHANNELS * turn.group, channels = min(CHANNELS, g.channels - first_channel);
            Item next = turn.first;
            FrameStream<T> frames;
            const auto start_chunk = [&](unsigned loaded, int i) {
                if (i == 0) {
                    frames.template begin<X>(own, g.x, next.batch, next.first, g.input_length, first_channel, channels);
                    if (own == 0 && threadIdx.x == 0) remembered.items[loaded % Remembered::ITEMS] = next;
                }
                if (i == X::OWN_CHUNKS) {
                    frames.template begin<Dy>(own, g.dy, next.batch, next.first + start - shift, g.output_length, first_channel, channels);
                    next = next.next(Shared::FRAMES, length);
                }
                i < X::OWN_CHUNKS ? frames.template start<X>(slot, own, i) : frames.template start<Dy>(slot, own, i - X::OWN_CHUNKS);
            };
#pragma unroll
            for (int i = 0; i < SLOTS; i++) {
                start_chunk(item, i);
                advance();
            }
            // The outputs of an item leave when the next one is in its rows, which is multiplied meanwhile.
#pragma unroll 1
            for (;; item++) {
                if (item < end) {
                    const bool more = item + 1 < end;
                    const uint32_t rows = rows_at(item);
#pragma unroll
                    for (int i = 0; i < GROUPS; i++) {
                        wait_for_copies<SLOTS - 1>();
                        if (i < X::OWN_CHUNKS) {
                            X::turn(slot, rows, own, i);
                        } else {
                            Dy::turn(slot, rows + Shared::DY_AT, own, i - X::OWN_CHUNKS);
                        }
                        const int later = i + SLOTS;
                        if (later < GROUPS || more) start_chunk(item + later / GROUPS, later % GROUPS);
                        advance();
                    }
                    buffers.filled(item);
                }
                if (item > begin) {
                    buffers.wait_until_taken(item - 1);
                    if (g.dx) {
                        X::template store<Shared::FRAMES>(static_cast<T *>(g.dx), g.input_length, g.channels, rows_at(item - 1), own,
                                                          remembered_item(item - 1), first_channel);
                    }
                }
                if (item == end) break;
            }
            barrier_of_warps<ROWS_READ>(ROLES_WARPS);
        }
    } else {
        more_registers<MULTIPLYING_REGISTERS>();
        unsigned char *const staged = memory + Shared::TAPS_AT + Taps::BYTES * warp;
        const uint32_t weights = shared_address(staged) + Taps::place_of_weights(threadIdx.x);
        // Those behind the last channel are its taps, and zeros, for nobody.
        const auto own_channel = [&](int group) { return min(CHANNELS * group + warp, g.channels - 1); };
#pragma unroll 1
        for (Turn turn = first_turn; turn.count > 0; turn = turns.next()) {
            const unsigned end = item + turn.count;
            typename Shared::Moments sums;
            float scale = 1.0f;
            if (g.dx) scale = Taps::stage(staged, g.weight, own_channel(turn.group), g.taps, shift);
#pragma unroll 1
            for (; item < end; item++) {
                const uint32_t x = rows_at(item) + 16 * X::Rows::row(warp);
                const uint32_t dy = rows_at(item) + Shared::DY_AT + 16 * Dy::Rows::row(warp);
                buffers.wait_until_filled(item);
                Shared::Products::add(sums, x, dy, (shift - start) / 8);
                if (g.dx) {
                    __syncwarp(); // all lanes have read x
                    const uint32_t outputs = x + 4 * Taps::place_of_outputs(threadIdx.x);
                    uint32_t finite = 0; // NaN where an output is not finite
                    Taps::convolve(weights, dy + 16 * Taps::place_of_samples(threadIdx.x), scale, [&](int part, int half, uint32_t word) {
                        note_not_finite<T>(finite, word);
                        store_shared(outputs + 16 * Taps::place_of_part(part, half), word);
                    });
                    // A product with a zero of the matrix spreads NaN and infinity to outputs that do not read them.
                    if (__any_sync(0xFFFFFFFFu, finite & 0x7FFF7FFFu)) {
                        const Item present = remembered_item(item);
                        const int channel = own_channel(Remembered::group(base + Shared::REMEMBERED_AT));
                        const T *const own = static_cast<const T *>(g.dy.data) + present.batch * g.dy.batch_stride + channel;
                        Correlation c;
                        c.weight = g.weight, c.taps = g.taps, c.input_length = g.output_length;
#pragma unroll 1
                        for (int i = 0; i < 2 * Taps::PARTS; i++) {
                            const int at = present.first + start + Taps::output(i / 2, i % 2);
                            const float pair[2] = {correlate_at(c, channel, 0.0f, own, at, g.dy.line_stride),
                                                   correlate_at(c, channel, 0.0f, own, at + 1, g.dy.line_stride)};
                            store_shared(outputs + 16 * Taps::place_of_part(i / 2, i % 2), Element<T>::pack(pair));
                        }
                    }
                }
                buffers.taken(item);
            }
            barrier_of_warps<ROWS_READ>(ROLES_WARPS); // outputs are stored, and nothing is loaded before the next turn
            auto &own = reinterpret_cast<typename Shared::Moments::Sums *>(memory)[warp];
            sums.put(own);
            __syncwarp();
            const int channel = CHANNELS * remembered.turn.group + warp;
            if (channel < g.channels) {
                for (int j = threadIdx.x; j <= g.taps; j += 32) {
                    leave_sum(g, remembered.turn.piece, channel, j, Shared::Moments::sum_of(own, j, g.taps, shift));
                    if (remembered.turn.is_only_helper) leave_sum(g, remembered.turn.piece + 1, channel, j, 0.0f);
                }
            }
        }
    }
}
