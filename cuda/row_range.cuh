// Rows whose numbers would leave the range of f16.
//
// The transforms are unitary and the spectra normalised, so f16 serves rows of any sane scale as they are. A row
// has to be computed again, multiplied by a power of two, when its outputs are not finite (something overflowed, or
// its input is not finite), or when none of the samples looked at reaches SMALL (f16 loses bits below 2^-14). The
// scale brings the largest sample to 2^-2 .. 2^-1, from where no sum can overflow: by the norms no intermediate
// exceeds P times the largest sample times the spectrum's norm (below 2).
#pragma once
#include "samples.cuh"

// 2^-7 in both halves of a word
constexpr Word SMALL = 0x20002000u;

// Whether one number of the word reaches SMALL.
DEVICE bool reaches_small(Word magnitudes)
{
    const __half2 m = as_half2(magnitudes), small = as_half2(SMALL);
    return __hge(__low2half(m), __low2half(small)) || __hge(__high2half(m), __high2half(small));
}

// NaN from the first number on that is NaN or infinite.
DEVICE void watch(float &watched, float x) { watched = fmaf(x, 0.f, watched); }
DEVICE bool seen_non_finite(float watched) { return watched != watched; }

// The largest magnitude of in_gate u over samples first, first + step, ... below `end` of a row. NaN is passed over.
template <typename K> DEVICE float peak_of(const Row<typename K::T> &row, int first, int step, int end)
{
    const typename K::T *u = row.u(), *in_gate = row.in_gate();
    float peak = 0;
#pragma unroll 4
    for (int i = first; i < end; i += step) {
        float v = as_float(u[i]);
        if (K::GATED)
            v *= as_float(in_gate[i]);
        peak = fmaxf(peak, fabsf(v));
    }
#pragma unroll
    for (int offset = 16; offset; offset >>= 1)
        peak = fmaxf(peak, __shfl_xor_sync(0xffffffffu, peak, offset));
    return peak;
}

// The power of two that brings `peak` to 2^-2 .. 2^-1, as far as f32 has it.
DEVICE float scale_for(float peak)
{
    if (!(peak > 0) || peak > 3e38f)
        return 1;
    const int exponent = min(max(-2 - ilogbf(peak), -126), 126);
    return ldexpf(1.f, exponent);
}

// What a warp saw of a row: something out of range, and a sample that reaches SMALL.
constexpr Word OVERFLOW_SEEN = 1, LARGE_SEEN = 1 << 16;
constexpr int ROWS_WATCHED = 16; // rows whose flags share a word: seen << row

DEVICE Word seen(float watched, Word magnitude)
{
    const Word overflow = __any_sync(0xffffffffu, seen_non_finite(watched)) ? OVERFLOW_SEEN : 0;
    return overflow | (__any_sync(0xffffffffu, reaches_small(magnitude)) ? LARGE_SEEN : 0);
}

// The warps that work on one row, WARPS of them, which meet at a named barrier; what they tell each other of ranges
// goes through shared memory.
template <int WARPS> struct Group {
    struct Shared {
        Word seen;
        int peak;
    };
    Shared *shared;
    int index, member, lane; // of the group in the block, of the warp in the group

    DEVICE Group(void *all)
        : shared(static_cast<Shared *>(all) + (threadIdx.x >> 5) / WARPS), index((threadIdx.x >> 5) / WARPS),
          member((threadIdx.x >> 5) % WARPS), lane(threadIdx.x & 31)
    {
    }

    // Before the first barrier of the block.
    DEVICE void clear() const
    {
        if (member == 0 && lane == 0) {
            shared->seen = 0;
            shared->peak = 0;
        }
    }

    DEVICE void barrier() const
    {
        if (WARPS > 1)
            asm volatile("bar.sync %0, %1;" ::"r"(index + 1), "n"(32 * WARPS) : "memory");
        else
            __syncwarp();
    }

    // The rows, by bit, that some warp saw out of range or no warp saw large.
    DEVICE Word out_of_range(Word own, int rows) const
    {
        Word all = own;
        if (WARPS > 1) {
            if (lane == 0)
                atomicOr(&shared->seen, own);
            barrier();
            all = *static_cast<volatile Word *>(&shared->seen);
            barrier();
            if (member == 0 && lane == 0)
                shared->seen = 0;
        }
        return (all | ~(all >> ROWS_WATCHED)) & ((1u << rows) - 1);
    }

    // The scale that brings samples begin .. end - 1 of a row into range.
    template <typename K> DEVICE float scale_of(const Row<typename K::T> &row, int end, int begin = 0) const
    {
        const float own = peak_of<K>(row, begin + 32 * member + lane, 32 * WARPS, end);
        if (WARPS == 1)
            return scale_for(own);
        if (lane == 0)
            atomicMax(&shared->peak, __float_as_int(own)); // magnitudes are ordered as their bits
        barrier();
        const float peak = __int_as_float(*static_cast<volatile int *>(&shared->peak));
        barrier();
        if (member == 0 && lane == 0)
            shared->peak = 0;
        return scale_for(peak);
    }
};

// The rows of a group: every `groups`-th of a block's share, by number channel * batch size + batch, so that
// neighbouring rows share a spectrum. `first_try(row)` convolves a row and returns what was `seen`; those that were
// out of range are convolved once more by `general(row, scale)`. Rows that are not whole may be pieces.
template <typename K, Mode MODE, int WARPS, typename FirstTry, typename General>
DEVICE void for_each_row(const Convolution &c, const Group<WARPS> &group, const FirstTry &first_try, const General &general)
{
    typedef Row<typename K::T> R;
    const auto row_of = [&](int batch, int channel) {
        return MODE == Mode::Whole ? R(c, batch, channel) : R::of_piece(c, batch, channel);
    };
    const long long total = (long long)c.batch * c.channels;
    const int last = total * (blockIdx.x + 1) / gridDim.x, groups = blockDim.x / (32 * WARPS);
    int number = (int)(total * blockIdx.x / gridDim.x) + group.index, channel = number / c.batch;
    int batch = number - channel * c.batch;
    while (number < last) {
        Word bits = 0;
        int rows = 0;
#pragma unroll 1
        for (; rows < ROWS_WATCHED && number < last; rows++) {
            number += groups;
            const R row = row_of(batch, channel);
            channel = number / c.batch;
            batch = number - channel * c.batch;
            bits |= first_try(row) << rows;
        }
        Word again = group.out_of_range(bits, rows);
#pragma unroll 1
        for (; again; again &= again - 1) {
            const int that = number - (rows - __ffs(again) + 1) * groups, its_channel = that / c.batch;
            const R row = row_of(that - its_channel * c.batch, its_channel);
            if constexpr (MODE == Mode::Whole)
                general(row, group.template scale_of<K>(row, c.length));
            else // a piece ends with its outputs
                general(row, group.template scale_of<K>(row, row.outputs().end, max(row.inputs().origin, 0)));
        }
    }
}
