// Samples of a row: from memory to words of two f16 numbers, and back.
#pragma once
#include "convolution.cuh"
#include "packed_half.cuh"
#include <cuda_bf16.h>

// How a kernel takes rows. Whole: they have as many samples as the transform has points, begin at multiples of 16
// bytes, and are taken as they are. Aligned: rows of other lengths and pieces of rows, but of whole vectors of 16
// bytes, as they are. General: of any length, wherever they lie, times a scale.
enum class Mode { Whole, Aligned, General };

// What a kernel needs to know of a dtype.
template <typename T> struct Format;

template <> struct Format<__nv_bfloat16> {
    typedef __nv_bfloat162 Pair; // a word
    static constexpr bool RANGE_OF_F32 = true;
    static DEVICE float low(Word w) { return __uint_as_float(w << 16); }
    static DEVICE float high(Word w) { return __uint_as_float(w & 0xffff0000u); }
    static DEVICE Word pack(float low, float high)
    {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
        return *reinterpret_cast<const Word *>(&pair);
    }
    // The first (second) samples of two words, as f16.
    static DEVICE Word lows(Word a, Word b) { return pack_half(low(a), low(b)); }
    static DEVICE Word highs(Word a, Word b) { return pack_half(high(a), high(b)); }
    static DEVICE Word halves(Word a) { return pack_half(low(a), high(a)); }
};

template <> struct Format<__half> {
    typedef __half2 Pair;
    static constexpr bool RANGE_OF_F32 = false;
    static DEVICE float low(Word w) { return low_half(w); }
    static DEVICE float high(Word w) { return high_half(w); }
    static DEVICE Word pack(float low, float high) { return pack_half(low, high); }
    static DEVICE Word lows(Word a, Word b) { return __byte_perm(a, b, 0x5410); }
    static DEVICE Word highs(Word a, Word b) { return __byte_perm(a, b, 0x7632); }
    static DEVICE Word halves(Word a) { return a; }
};

template <typename T> DEVICE float as_float(T x);
template <> DEVICE float as_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <> DEVICE float as_float(__half x) { return __half2float(x); }

// C neighbouring samples that begin at a multiple of 2 C bytes. Read once, so not kept in the caches.
template <int C> DEVICE void load_vector(Word (&w)[C / 2], const void *p)
{
    if constexpr (C == 8) {
        const uint4 v = __ldcs(static_cast<const uint4 *>(p));
        w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    } else if constexpr (C == 4) {
        const uint2 v = __ldcs(static_cast<const uint2 *>(p));
        w[0] = v.x, w[1] = v.y;
    } else {
        w[0] = __ldcs(static_cast<const Word *>(p));
    }
}
template <int C> DEVICE void store_vector(void *p, const Word (&w)[C / 2])
{
    if constexpr (C == 8)
        __stcs(static_cast<uint4 *>(p), make_uint4(w[0], w[1], w[2], w[3]));
    else if constexpr (C == 4)
        __stcs(static_cast<uint2 *>(p), make_uint2(w[0], w[1]));
    else
        __stcs(static_cast<Word *>(p), w[0]);
}

// Words of C neighbouring samples from number `first` of a part of a row; those that it does not hold are zero.
template <int C, Mode MODE, typename T>
DEVICE void load_samples(Word (&w)[C / 2], const T *row, int first, const Part &part, const Convolution &c)
{
    if constexpr (MODE == Mode::Whole) {
        load_vector<C>(w, row + first);
    } else {
#pragma unroll
        for (int i = 0; i < C / 2; i++)
            w[i] = 0;
        row += part.origin + first;
        if (MODE == Mode::Aligned || c.vectors) {
            if (part.holds(first))
                load_vector<C>(w, row);
        } else {
            const unsigned short *p = reinterpret_cast<const unsigned short *>(row);
#pragma unroll
            for (int i = 0; i < C; i++)
                if (part.holds(first + i))
                    w[i / 2] |= (Word)__ldcs(p + i) << (i % 2 * 16);
        }
    }
}
// The same of rows that are not cut.
template <int C, Mode MODE, typename T>
DEVICE void load_samples(Word (&w)[C / 2], const T *row, int first, const Convolution &c)
{
    load_samples<C, MODE>(w, row, first, Part{0, c.length}, c);
}

template <int C, Mode MODE, typename T>
DEVICE void store_samples(T *row, int first, const Part &part, const Convolution &c, const Word (&w)[C / 2])
{
    if constexpr (MODE == Mode::Whole) {
        store_vector<C>(row + first, w);
    } else if (MODE == Mode::Aligned || c.vectors) {
        if (part.holds(first))
            store_vector<C>(row + part.origin + first, w);
    } else {
        unsigned short *p = reinterpret_cast<unsigned short *>(row) + part.origin + first;
#pragma unroll
        for (int i = 0; i < C; i++)
            if (part.holds(first + i))
                __stcs(p + i, (unsigned short)(w[i / 2] >> (i % 2 * 16)));
    }
}
template <int C, Mode MODE, typename T>
DEVICE void store_samples(T *row, int first, const Convolution &c, const Word (&w)[C / 2])
{
    store_samples<C, MODE>(row, first, Part{0, c.length}, c, w);
}

// What a kernel does: PRECISE ones take sums and butterflies in f32, which f16 results (11 bits) need and bf16 results
// (8 bits) seldom.
template <typename Sample, bool GATED_, bool PRECISE_> struct Traits {
    typedef Sample T;
    typedef Format<T> F;
    static constexpr bool GATED = GATED_;
    static constexpr bool PRECISE = PRECISE_;
};

// v = in_gate u (times `scale` in general) of two words of samples a and b: their first samples as one word of f16,
// their second ones as another. ga and gb are the words of the gate.
template <typename K, Mode MODE>
DEVICE void gate_in(Word a, Word b, Word ga, Word gb, float scale, Word &first, Word &second)
{
    typedef typename K::F F;
    if constexpr (!K::GATED && MODE != Mode::General) {
        first = F::lows(a, b);
        second = F::highs(a, b);
    } else {
        float v[4] = {F::low(a), F::low(b), F::high(a), F::high(b)};
        const float g[4] = {F::low(ga), F::low(gb), F::high(ga), F::high(gb)};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (MODE == Mode::General)
                v[i] *= scale;
            if (K::GATED)
                v[i] *= g[i];
        }
        first = pack_half(v[0], v[1]);
        second = pack_half(v[2], v[3]);
    }
}

// Two outputs times `factor` and their gates, as a word of samples. The factor is a power of two: exact in bf16.
template <typename K> DEVICE Word gate_out(float low, float high, Word gate, float factor)
{
    typedef typename K::F F;
    if constexpr (K::PRECISE) {
        low *= factor;
        high *= factor;
    }
    if (K::GATED) {
        low *= F::low(gate);
        high *= F::high(gate);
    }
    Word y = F::pack(low, high);
    if constexpr (!K::PRECISE) {
        const __nv_bfloat162 f = __float2bfloat162_rn(factor);
        __nv_bfloat162 product = __hmul2(*reinterpret_cast<__nv_bfloat162 *>(&y), f);
        y = *reinterpret_cast<Word *>(&product);
    }
    return y;
}
