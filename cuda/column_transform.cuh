// The digit j of a transform of rows of 256 R points, between the forward and the inverse transform of the other two:
// twiddle, R-point butterfly over registers, product with the spectrum, and back.
#pragma once
#include "butterfly.cuh"
#include "row_stages.cuh"

// The factors of the columns, in entries for GROUP columns at a time, real parts first: GROUP / 4 entries of 4 columns,
// then the imaginary ones. For R = 2 one entry holds both. GLOBAL: in device memory and not in shared memory.
template <int R, int GROUP, bool GLOBAL> struct ColumnTable {
    const uint4 *entries; // of this lane

    DEVICE void load(int j, Word (&re)[4], Word (&im)[4]) const // of columns j .. j + 3
    {
        const int group = j / GROUP * (GROUP / 2), within = j % GROUP / 4;
        const uint4 a = entry(group + within), b = entry(group + GROUP / 4 + within);
        re[0] = a.x, re[1] = a.y, re[2] = a.z, re[3] = a.w;
        im[0] = b.x, im[1] = b.y, im[2] = b.z, im[3] = b.w;
    }
    DEVICE uint4 entry(int i) const { return GLOBAL ? __ldg(entries + i * 32) : entries[i * 32]; }
};
template <bool GLOBAL> struct ColumnTable<2, 2, GLOBAL> {
    const uint4 *entries;

    DEVICE void load(int, Word (&re)[4], Word (&im)[4]) const
    {
        const uint4 a = GLOBAL ? __ldg(entries) : *entries;
        re[0] = a.x, re[1] = a.y, im[0] = a.z, im[1] = a.w;
    }
};

// How many columns one load serves.
template <int R> constexpr int COLUMNS_LOADED = R < 4 ? R : 4;

// Calls body(j, re, im) with the factors of every column.
template <int R, typename Table, typename Body> DEVICE void for_each_column(const Table &table, const Body &body)
{
#pragma unroll
    for (int first = 0; first < R; first += COLUMNS_LOADED<R>) {
        Word re[4], im[4];
        table.load(first, re, im);
#pragma unroll
        for (int i = 0; i < COLUMNS_LOADED<R>; i++)
            body(first + i, re[i], im[i]);
    }
}

template <int R, bool PRECISE> struct ColumnTransform {
    typedef ColumnTable<R, R, false> Twiddles;
    typedef ColumnTable<R, (R < 4 ? R : 4), true> Spectrum;

    // On words of two points.
    static DEVICE void forward(const Twiddles &twiddles, Word (&re)[R], Word (&im)[R])
    {
        for_each_column<R>(twiddles, [&](int j, Word a, Word b) {
            if (j > 0) // the factor of column 0 is 1
                multiply_complex(re[j], im[j], a, b);
        });
        forward_butterfly<R>(re, im);
    }
    static DEVICE void multiply_by(const Spectrum &spectrum, Word (&re)[R], Word (&im)[R])
    {
        for_each_column<R>(spectrum, [&](int j, Word a, Word b) { multiply_complex(re[j], im[j], a, b); });
    }
    static DEVICE void inverse(const Twiddles &twiddles, Word (&re)[R], Word (&im)[R])
    {
        inverse_butterfly<R>(re, im);
        for_each_column<R>(twiddles, [&](int j, Word a, Word b) {
            if (j > 0)
                multiply_conjugate(re[j], im[j], a, b);
        });
    }
    static DEVICE void packed(const Twiddles &twiddles, const Spectrum &spectrum, Word (&re)[R], Word (&im)[R])
    {
        forward(twiddles, re, im);
        multiply_by(spectrum, re, im);
        inverse(twiddles, re, im);
    }

    // In f32, the first points of all words and then the second ones.
    static DEVICE void in_f32(const Twiddles &twiddles, const Spectrum &spectrum, Word (&re)[R], Word (&im)[R])
    {
#pragma unroll 1
        for (int shift = 0; shift < 32; shift += 16) {
            const auto value = [&](Word word) { return low_half(word >> shift); };
            float x[R], y[R];
            for_each_column<R>(twiddles, [&](int j, Word a, Word b) {
                x[j] = value(re[j]), y[j] = value(im[j]);
                multiply_complex(x[j], y[j], value(a), value(b));
            });
            forward_butterfly<R>(x, y);
            for_each_column<R>(spectrum, [&](int j, Word a, Word b) { multiply_complex(x[j], y[j], value(a), value(b)); });
            inverse_butterfly<R>(x, y);
            const Word kept = 0xffff0000u >> shift;
            for_each_column<R>(twiddles, [&](int j, Word a, Word b) {
                multiply_conjugate(x[j], y[j], value(a), value(b));
                re[j] = (re[j] & kept) | pack_half(x[j], 0) << shift;
                im[j] = (im[j] & kept) | pack_half(y[j], 0) << shift;
            });
        }
    }

    static DEVICE void apply(const uint4 *twiddles, const uint4 *spectrum, Word (&re)[R], Word (&im)[R])
    {
        if (PRECISE)
            in_f32({twiddles}, {spectrum}, re, im);
        else
            packed({twiddles}, {spectrum}, re, im);
    }
};
