// How the blocks of the tensor cores' channels-last kernels share their work: tiles of frames of groups of channels.
//
// A block that takes tiles of one group alone sets up that group's taps or sums once, but where groups do not divide the
// number of multiprocessors some of those would have nothing to do, or one tile less in most rounds. So a group's tiles go
// to `parts` blocks of its own, all but the first `helped`; these, of one group after the other, go to further blocks, the
// helpers, each of which takes a stretch of them.
#pragma once

#include "depthwise.cuh"

// A tile of frames of a sequence.
struct Item {
    int batch, first;

    __device__ Item next(int frames, int length) const
    {
        return first + frames < length ? Item{batch, first + frames} : Item{batch + 1, 0};
    }
};

// Some neighbouring tiles of a group, which a block takes one after the other.
struct Turn {
    int group; // first, where `Remembered::group` reads it
    int count;
    Item first;
    // Sums of a group come from `parts` blocks and two helpers at most: which of these pieces the block's sum is, and whether
    // the group has no second helper, so that the first one leaves a last piece of zeros as well.
    int piece;
    bool is_only_helper;
    unsigned at, left_over; // of a helper: the next tile of those of all groups, and how many there are
};

// What a block has in shared memory of its work, to be read anew, so that it takes no registers in between.
struct Remembered {
    static constexpr int ITEMS = 8; // more than are under way

    Item items[ITEMS]; // the tiles of the present turn, the i-th at i modulo ITEMS
    Turn turn;

    // The i-th item of the block's at an address in shared memory.
    static __device__ Item item(uint32_t remembered, int i)
    {
        Item item;
        asm volatile("ld.shared.v2.s32 {%0, %1}, [%2];"
                     : "=r"(item.batch), "=r"(item.first)
                     : "r"(remembered + static_cast<uint32_t>(i % ITEMS * sizeof(Item)))
                     : "memory");
        return item;
    }

    // The present turn's group.
    static __device__ int group(uint32_t remembered)
    {
        int group;
        asm volatile("ld.shared.s32 %0, [%1];"
                     : "=r"(group)
                     : "r"(remembered + static_cast<uint32_t>(sizeof(Item) * ITEMS))
                     : "memory");
        return group;
    }
};
static_assert(sizeof(Remembered) == Remembered::ITEMS * sizeof(Item) + sizeof(Turn));

// The turns of a block of a tensor of so many batch items and frames, in tiles of `frames`. Blocks: x, over the groups, slower
// over their parts, and then over the helpers. The present turn is in shared memory as well, to be read anew.
struct Turns {
    Turn &present;
    const Sharing &sharing;
    int groups, batch, length, frames;

    // The first turn, and further ones, to be called by all threads; of no tiles: there is none. The first one is in shared
    // memory after the next barrier.
    __device__ Turn begin() const
    {
        Turn turn = {};
        const unsigned own = groups * sharing.parts, part = blockIdx.x / groups;
        if (blockIdx.x < own) {
            const Share share(tiles() - sharing.helped, part, sharing.parts);
            turn.piece = part;
            set(turn, blockIdx.x - part * groups, sharing.helped + share.begin, share.count);
        } else {
            const Share share(all_helped(), blockIdx.x - own, gridDim.x - own);
            turn.at = share.begin, turn.left_over = share.count;
            help(turn);
        }
        if (is_first_thread()) present = turn;
        return turn;
    }

    __device__ Turn next() const
    {
        __syncthreads(); // all have read the turn
        if (is_first_thread()) help(present);
        __syncthreads();
        return present;
    }

private:
    static __device__ bool is_first_thread() { return (threadIdx.x | threadIdx.y) == 0; }
    __device__ unsigned tiles_an_item() const { return (length + frames - 1) / frames; }
    __device__ unsigned tiles() const { return batch * tiles_an_item(); }
    __device__ unsigned all_helped() const { return groups * sharing.helped; }

    __device__ void set(Turn &turn, int group, unsigned tile, unsigned count) const
    {
        const unsigned item = tile / tiles_an_item();
        turn.group = group, turn.count = count;
        turn.first = Item{static_cast<int>(item), static_cast<int>(tile - item * tiles_an_item()) * frames};
    }

    // A helper's next turn.
    __device__ void help(Turn &turn) const
    {
        turn.count = 0;
        if (turn.left_over == 0) return;
        const unsigned own = groups * sharing.parts, helped = sharing.helped, group = turn.at / helped;
        const unsigned tile = turn.at - group * helped, taken = min(turn.left_over, helped - tile);
        const auto helper_of = [&](unsigned at) { return Share::part_of(at, all_helped(), gridDim.x - own); };
        const unsigned first = helper_of(group * helped);
        turn.piece = sharing.parts + blockIdx.x - own - first;
        turn.is_only_helper = helper_of(group * helped + helped - 1) == first;
        turn.at += taken, turn.left_over -= taken;
        set(turn, group, tile, taken);
    }
};
