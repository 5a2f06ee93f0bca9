// Long convolution of f32 rows of more samples than one transform holds, in f32 throughout: P = A1 A2 M points,
// M = 8192, in passes over groups of rows whose complex intermediate results go through a workspace.
//
// y as in full_rows.cuh. With n = X1 A2 M + X2 M + m and frequencies K = k1 + A1 k2 + A1 A2 k3,
//
//   (K - 1/4) n / P = (k1 - 1/4) X1 / A1 + (k1 + A1 k2 - 1/4) X2 / (A1 A2) + (K - 1/4) m / P   (mod 1)
//
// 1. Columns: A1-point transforms over X1 of real samples, with constant twiddles: [k1][X2][m] to the workspace.
// 2. Columns between, if A2 > 1: A2-point transforms over X2 with the twiddles of k1, in place: [k1][k2][m].
// 3. Rows: M-point transforms shifted by (k1 + A1 k2 - 1/4) / (A1 A2), product with the spectrum, and back, in place.
// 4. and 5. The inverses of 2. and 1., the latter of the real part alone, and the out-gate.
//
// A thread has one column of up to 32 points in registers (64 for the longest rows), neighbouring threads neighbouring columns; rows are as in
// full_rows.cuh, but for twiddles computed on the spot, since every row has its own shift. The spectrum of a kernel is
// made by passes 1 to 3; so are those of f16 (long_spectrum.cuh).
//
// Bound by the workspace: 32 bytes a point and pass there and back, from the L2 as long as a group fits it.
#pragma once

#include "full_rows.cuh"

struct LongFullRows {
    Convolution c;
    float *workspace; // complex, [row of the group][k1][k2][m]
    int first, rows;  // the group: rows by number channel * batch size + batch
    int outer, inner; // A1, A2
    int quarters;     // 1 for weights exp(2 pi i n / (4 P)), 0 for none
    int output_length;
};

namespace long_full {

using fft::Complex;

constexpr int POINTS = 8192; // M
using Plan = fft::Plan<POINTS, 32>;
constexpr int COLUMN_THREADS = 256;

// What forward_first_real and forward_first ask of a plan: one transform of A points in each thread.
template <int A> struct Column {
    static constexpr int FIRST = A, POINTS = A, GROUPS = 1;
};

FFT_INLINE long long size_of(const LongFullRows &a) { return (long long)a.outer * a.inner * POINTS; }

FFT_INLINE Row<float> row_of(const LongFullRows &a, int index)
{
    const int number = a.first + index, channel = number / a.c.batch;
    return Row<float>(a.c, number - channel * a.c.batch, channel);
}

FFT_INLINE Complex *row_in_workspace(const LongFullRows &a, int index)
{
    return reinterpret_cast<Complex *>(a.workspace) + index * size_of(a);
}

// exp(2 pi i numerator/denominator) of a power of two up to 2^30.
FFT_INLINE Complex root(unsigned numerator, unsigned denominator)
{
    // To -1/2 .. 1/2 turns: exact in f32 for denominators up to 2^25.
    int rest = int(numerator & (denominator - 1));
    if (rest > int(denominator / 2)) {
        rest -= int(denominator);
    }
    Complex z;
    sincospif(2.0f * float(rest) / float(denominator), &z.im, &z.re);
    return z;
}

// W, W^2, W^4 ... of W = exp(2 pi i numerator/denominator).
template <int RADIX> FFT_INLINE fft::Twiddles<RADIX> roots(unsigned numerator, unsigned denominator)
{
    fft::Twiddles<RADIX> w;
#pragma unroll
    for (int level = 0; level < fft::log2(RADIX); level++) {
        w.power[level] = root(numerator << level, denominator);
    }
    return w;
}

// x[j] *= start * step^j, by products of the powers step^(2^i): few roundings each.
template <int COUNT> FFT_INLINE void turn_by(Complex (&x)[COUNT], Complex start, const fft::Twiddles<COUNT> &step)
{
    Complex factor[COUNT];
    factor[0] = start;
    fft::unroll<fft::log2(COUNT)>([&](auto level) {
        constexpr int half = 1 << level.value;
        fft::unroll<half>([&](auto j) {
            factor[j.value + half] = fft::multiply(factor[j.value], step.power[level.value]);
        });
    });
    fft::unroll<COUNT>([&](auto j) { x[j.value] = fft::multiply(x[j.value], factor[j.value]); });
}

// Real samples X1 * columns + column, times the gate.
template <int A>
FFT_INLINE void load_column(float (&v)[A], const float *row, int column, int columns, int length)
{
    fft::unroll<A>([&](auto x) {
        const int n = x.value * columns + column;
        v[x.value] = n < length ? row[n] : 0.0f;
    });
}
template <int A>
FFT_INLINE void multiply_column(float (&v)[A], const float *gate, int column, int columns, int length)
{
    float factor[A];
    load_column<A>(factor, gate, column, columns, length);
    fft::unroll<A>([&](auto x) { v[x.value] *= factor[x.value]; });
}

// 1. A block of threads takes as many columns of a row: blockIdx.x by column, blockIdx.y by row.
template <int A> FFT_INLINE void columns(const LongFullRows &a)
{
    const int columns = a.inner * POINTS, column = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    const Row<float> row = row_of(a, blockIdx.y);
    float v[A];
    load_column<A>(v, row.u(), column, columns, a.c.length);
    if (a.c.in_gate.data) {
        multiply_column<A>(v, row.in_gate(), column, columns, a.c.length);
    }
    Complex x[A];
    fft::forward_first_real<Column<A>>(x, v);
    Complex *to = row_in_workspace(a, blockIdx.y) + column;
    fft::unroll<A>([&](auto k) { to[(long long)k.value * columns] = x[k.value]; });
}

// The same of taps c[n] = real[n] - i*minus_imaginary[n]; rows are channels.
template <int A> FFT_INLINE void tap_columns(const LongFullRows &a, const Taps &taps)
{
    const int columns = a.inner * POINTS, column = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    const LongTapRow row(taps, a.first + blockIdx.y, int(size_of(a)));
    Complex x[A];
    fft::unroll<A>([&](auto i) {
        const int n = i.value * columns + column;
        x[i.value] = {row.real[n], -row.minus_imaginary[n]};
    });
    fft::forward_first<Column<A>>(x, fft::computed_twiddles<A>(0, -0.25f * a.quarters, A));
    Complex *to = row_in_workspace(a, blockIdx.y) + column;
    fft::unroll<A>([&](auto k) { to[(long long)k.value * columns] = x[k.value]; });
}

// 5.
template <int A> FFT_INLINE void inverse_columns(const LongFullRows &a)
{
    const int columns = a.inner * POINTS, column = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    const Row<float> row = row_of(a, blockIdx.y);
    const Complex *from = row_in_workspace(a, blockIdx.y) + column;
    Complex x[A];
    fft::unroll<A>([&](auto k) { x[k.value] = from[(long long)k.value * columns]; });
    fft::plain_transform<A, 1>(x);
    float v[A];
    fft::unroll<A>([&](auto k) {
        constexpr double angle = fft::PI * decltype(k)::value / (2 * A);
        constexpr float re = float(fft::cosine(angle)), im = float(fft::sine(angle));
        const Complex z = x[fft::reverse_bits(decltype(k)::value, fft::log2(A))];
        v[k.value] = fmaf(z.im, im, z.re * re);
    });
    if (a.c.out_gate.data) {
        multiply_column<A>(v, row.out_gate(), column, columns, a.output_length);
    }
    float *y = row.y();
    fft::unroll<A>([&](auto k) {
        const int n = k.value * columns + column;
        if (n < a.output_length) {
            y[n] = v[k.value];
        }
    });
}

// 2. and 4., 32 points, of the row k1 of A2 M points: blockIdx.x by column and k1, blockIdx.y by row.
template <bool INVERSE> FFT_INLINE void middle_columns(const LongFullRows &a)
{
    constexpr int A = 32, BLOCKS = POINTS / COLUMN_THREADS;
    const int k1 = blockIdx.x / BLOCKS, column = blockIdx.x % BLOCKS * COLUMN_THREADS + threadIdx.x;
    Complex *place = row_in_workspace(a, blockIdx.y) + (long long)k1 * A * POINTS + column;
    Complex x[A];
    fft::unroll<A>([&](auto i) { x[i.value] = place[i.value * POINTS]; });
    // k1 - 1/4 over A1 A2
    const unsigned denominator = 4 * A * a.outer, numerator = 4 * k1 - a.quarters;
    Complex result[A];
    if constexpr (INVERSE) {
        fft::plain_transform<A, 1>(x);
        fft::unroll<A>([&](auto i) { result[i.value] = x[fft::reverse_bits(decltype(i)::value, 5)]; });
        turn_by<A>(result, {1, 0}, roots<A>(numerator, denominator));
    } else {
        fft::transform<A, -1>(x, roots<A>(-numerator, denominator));
        fft::unroll<A>([&](auto i) { result[i.value] = x[fft::reverse_bits(decltype(i)::value, 5)]; });
    }
    fft::unroll<A>([&](auto i) { place[i.value * POINTS] = result[i.value]; });
}

// A row of M points: blockIdx.x by k1 and k2, blockIdx.y by row of the group.
struct Place {
    int row;           // k1 A2 + k2
    unsigned quarters; // 4 (k1 + A1 k2) - 1 with the weights: over 4 A1 A2 the shift of the frequencies

    FFT_INLINE Place(const LongFullRows &a) : row(blockIdx.x)
    {
        quarters = 4 * (row / a.inner + a.outer * (row % a.inner)) - a.quarters;
    }
};

FFT_INLINE void transform_row(
    const LongFullRows &a, const Place &place, Complex *shared, const Complex *data, Complex (&x)[Plan::POINTS])
{
    const int t = threadIdx.x;
    fft::unroll<Plan::POINTS>([&](auto i) { x[i.value] = data[t + Plan::THREADS * i.value]; });
    fft::forward<Plan>(shared, x, t, float(int(place.quarters)) / float(4 * a.outer * a.inner));
}

// 3.
template <bool CONJUGATED> FFT_INLINE void rows(const LongFullRows &a)
{
    extern __shared__ __align__(16) unsigned char memory[];
    Complex *shared = reinterpret_cast<Complex *>(memory);
    const int t = threadIdx.x, count = a.outer * a.inner;
    const Place place(a);
    Complex *data = row_in_workspace(a, blockIdx.y) + (long long)place.row * POINTS;
    Complex x[Plan::POINTS];
    transform_row(a, place, shared, data, x);
    const long long spectrum_row = (long long)row_of(a, blockIdx.y).channel * count + place.row;
    multiply_by_spectrum<Plan, CONJUGATED>(x, a.c.spectrum, spectrum_row, t);
    const fft::Table<Plan> table = {static_cast<const float *>(a.c.tables)};
    fft::inverse_later<Plan>(shared, x, t, table);
    fft::synchronise<Plan::THREADS>();
    fft::FirstPlaces<Plan>::read(shared, x, t);
    // The last pass: m is settled, and the samples are m + FIRST_STRIDE k.
    constexpr int R = Plan::FIRST, BITS = fft::log2(R);
    const fft::Twiddles<R> step = roots<R>(place.quarters, 4u * count * R);
    fft::unroll<Plan::GROUPS>([&](auto group) {
        constexpr int GROUP = decltype(group)::value;
        const int m = t + Plan::THREADS * GROUP;
        Complex part[R], result[R];
        fft::unroll<R>([&](auto j) { part[j.value] = x[GROUP + Plan::GROUPS * j.value]; });
        fft::transform<R, 1>(part, roots<R>(m, POINTS));
        fft::unroll<R>([&](auto k) { result[k.value] = part[fft::reverse_bits(decltype(k)::value, BITS)]; });
        turn_by<R>(result, root(place.quarters * m, 4u * count * POINTS), step);
        fft::unroll<R>([&](auto k) { data[m + Plan::FIRST_STRIDE * k.value] = result[k.value]; });
    });
}

// 3. for the spectra of kernels: divided by P, in the order in which `rows` reads them, in place.
FFT_INLINE void spectrum_rows(const LongFullRows &a)
{
    extern __shared__ __align__(16) unsigned char memory[];
    const Place place(a);
    Complex *data = row_in_workspace(a, blockIdx.y) + (long long)place.row * POINTS;
    Complex x[Plan::POINTS];
    transform_row(a, place, reinterpret_cast<Complex *>(memory), data, x);
    store_spectrum<Plan>(reinterpret_cast<float4 *>(data) + threadIdx.x, x, 1.0f / float(size_of(a)));
}

} // namespace long_full
