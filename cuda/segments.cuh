// Rows of several segments of S samples, one after the other: causal convolutions of rows that no transform on the chip
// holds, from transforms of S points and products of frequencies alone.
//
// Modulo x^S - i the convolution of a segment u_j with S taps has its first half in the real and its second half, that of
// the next segment, in the imaginary part. With the spectrum K_d of the taps at lags from d S - S + 1 to d S + S - 1 (the
// ones below d S times -i, as spectra of lags of both signs have them), both meet in the real part:
//
//   y_i = Re inverse(sum over j <= i of K_(i - j) X_j),   X_j the transform of u_j.
//
// A thread keeps its frequencies of each X_j in device memory and reads them again itself, so nothing waits for others.
// Spectra: [channel][d][as for rows of S samples]. Grows with the square of the number of segments: for a few.
#pragma once
#include "convolution.cuh"
#include "row_pass.cuh"

// sum over j <= segment of spectrum (segment - j) times transform j, for R words at a time.
template <int R> struct SegmentProduct {
    typedef ColumnTable<R, 4, true> Spectrum;
    const uint4 *spectra; // this lane's entries for d = 0
    uint4 *kept;          // the same of transform 0
    int step;             // entries from one to the next
    int segment;
    bool last;

    DEVICE void operator()(int q, Word (&re)[R], Word (&im)[R]) const
    {
        const uint4 *spectrum = spectra + q * (R / 2) * 32;
        uint4 *const transforms = kept + q * (R / 2) * 32;
        if (!last) {
            uint4 *own = transforms + (size_t)segment * step;
#pragma unroll
            for (int j = 0; j < R; j += 4) {
                __stcg(own + j / 2 * 32, make_uint4(re[j], re[j + 1], re[j + 2], re[j + 3]));
                __stcg(own + (j / 2 + 1) * 32, make_uint4(im[j], im[j + 1], im[j + 2], im[j + 3]));
            }
        }
        ColumnTransform<R, false>::multiply_by({spectrum}, re, im);
#pragma unroll 1
        for (int before = segment - 1; before >= 0; before--) {
            spectrum += step;
            const uint4 *that = transforms + (size_t)before * step;
            for_each_column<R>(Spectrum{spectrum}, that, [&](int j, Word a, Word b, Word x, Word y) {
                re[j] = multiply_add(x, a, multiply_add(negate(y), b, re[j]));
                im[j] = multiply_add(x, b, multiply_add(y, a, im[j]));
            });
        }
    }

    // Calls body(j, spectrum re, im, transform re, im) for every column.
    template <int COLUMNS, typename Body> static DEVICE void for_each_column(const Spectrum &spectrum, const uint4 *transform, const Body &body)
    {
#pragma unroll
        for (int first = 0; first < COLUMNS; first += 4) {
            Word a[4], b[4];
            spectrum.load(first, a, b);
            const uint4 x = __ldcg(transform + first / 2 * 32), y = __ldcg(transform + (first / 2 + 1) * 32);
            const Word xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; i++)
                body(first + i, a[i], b[i], xs[i], ys[i]);
        }
    }
};

// A row of one segment.
template <typename T, bool SEGMENTED, int S> struct RowSegment {
    Row<T> row;

    DEVICE RowSegment(const Row<T> &row, int) : row(row) {}
    DEVICE bool next_segment() { return false; }
    DEVICE const T *u() const { return row.u(); }
    DEVICE const T *in_gate() const { return row.in_gate(); }
    DEVICE const T *out_gate() const { return row.out_gate(); }
    DEVICE T *y() const { return row.y(); }
    DEVICE int length() const { return row.c.length; } // of what is left of the row
    DEVICE float margin() const { return 1; }
    template <int R> DEVICE SpectrumProduct<R> product(int entries, uint4 *) const
    {
        return {static_cast<const uint4 *>(row.c.spectrum) + (size_t)row.channel * (S / 4) + entries};
    }
};

// One of the segments of a row.
template <typename T, int S> struct RowSegment<T, true, S> {
    Row<T> row;
    int segment, segments;

    DEVICE RowSegment(const Row<T> &row, int segments) : row(row), segment(0), segments(segments) {}
    // Goes on to the next one, if there is one.
    DEVICE bool next_segment() { return ++segment < segments; }
    DEVICE const T *u() const { return row.u() + segment * S; }
    DEVICE const T *in_gate() const { return row.in_gate() + segment * S; }
    DEVICE const T *out_gate() const { return row.out_gate() + segment * S; }
    DEVICE T *y() const { return row.y() + segment * S; }
    DEVICE int length() const { return row.c.length - segment * S; }
    // What the scale of a row has to be multiplied by so that sums of that many products do not overflow either: a power
    // of two of at most half of one over their number.
    DEVICE float margin() const { return ldexpf(1.f, __clz(segments - 1) - 33); }
    template <int R> DEVICE SegmentProduct<R> product(int entries, uint4 *kept) const
    {
        const uint4 *spectra = static_cast<const uint4 *>(row.c.spectrum) + (size_t)row.channel * segments * (S / 4);
        return {spectra + entries, kept + entries, S / 4, segment, segment + 1 == segments};
    }
};
