// Long convolution of f32 rows in one pass: up to 16384 samples, in f32 throughout. Longer ones: long_full_rows.cuh.
//
// y = Re(w^-n IFFT_P(S * FFT_P(v w^n))), w = exp(i pi/(2P)), v = in_gate*u, then the
// other gate; S is what spectrum_full_pP wrote, the inverse's 1/P in it.
//
// A thread has 16 or 32 points of a row in registers; the passes, and where the points
// lie in shared memory, are those of fft_f32.cuh. The weights w^n come with the
// twiddles of the forward transform. Its first pass reads real points, with constant
// twiddles. The last pass of the inverse computes the real part alone; there the
// weights w^-n are a factor c of the thread, in the table beside the twiddles, and a
// constant of the result.
//
// Bound by issue slots, 100 to 110 instructions a point, and from P = 8192 on by shared
// memory as well: a multiprocessor holds few rows, whose warps tend to exchange at the
// same time.
#pragma once

#include "convolution.cuh"
#include "fft_f32.cuh"
#include "taps.cuh"

namespace fft {

// Where the twiddles begin in the table, in floats. src/cuda/conv/full_rows/tables.rs
// makes it: forward passes {W, W^2}[high] {W^4, W^8}[high] ... for each settled high part,
// then the inverse ones [m] alike, then the last pass: W[m], W^2[m], ..., c[m],
// c*W^(FIRST/2)[m].
template <class Plan> struct Table {
    // Values of one index in a later pass: W, W^2, W^4, ...
    static constexpr int VALUES = Plan::LOG_POINTS;

    static FFT_CONSTEXPR int forward(int pass)
    {
        int offset = 0;
        for (int i = 0; i < pass; i++) {
            offset += 2 * VALUES * Plan::settled(i);
        }
        return offset;
    }
    static FFT_CONSTEXPR int inverse(int pass)
    {
        int offset = forward(Plan::LATER);
        for (int i = 0; i < pass; i++) {
            offset += 2 * VALUES * Plan::stride(i);
        }
        return offset;
    }
    static constexpr int LAST = inverse(Plan::LATER - 1);

    const float *data;

    template <int OFFSET, int ENTRIES> FFT_INLINE Twiddles<Plan::POINTS> powers(int index) const
    {
        Twiddles<Plan::POINTS> w;
        unroll<VALUES / 2>([&](auto i) {
            const float4 *pairs = reinterpret_cast<const float4 *>(data + OFFSET) + ENTRIES * i.value;
            const float4 pair = __ldg(pairs + index);
            w.power[2 * i.value] = {pair.x, pair.y};
            w.power[2 * i.value + 1] = {pair.z, pair.w};
        });
        if constexpr (VALUES % 2 == 1) {
            w.power[VALUES - 1] = value<OFFSET + 2 * (VALUES - 1) * ENTRIES>(index);
        }
        return w;
    }

    template <int OFFSET> FFT_INLINE Complex value(int index) const
    {
        const float2 z = __ldg(reinterpret_cast<const float2 *>(data + OFFSET) + index);
        return {z.x, z.y};
    }

    // Of the later forward passes.
    template <int PASS> FFT_INLINE Twiddles<Plan::POINTS> later(int t) const
    {
        return powers<forward(PASS), Plan::settled(PASS)>(t / Plan::stride(PASS));
    }

    // Of the inverse ones.
    template <int PASS> FFT_INLINE Twiddles<Plan::POINTS> settled(int t) const
    {
        return powers<inverse(PASS), Plan::stride(PASS)>(t % Plan::stride(PASS));
    }

    // Of the last pass; m < P/FIRST.
    template <int VALUE> FFT_INLINE Complex last(int m) const
    {
        return value<LAST + 2 * VALUE * Plan::FIRST_STRIDE>(m);
    }
};

// First pass of the forward transform of real points with the weights w^n: input
// v[i] = input[t + THREADS*i].
template <class Plan>
FFT_INLINE void forward_first_real(Complex (&x)[Plan::POINTS], const float (&v)[Plan::POINTS])
{
    constexpr int R = Plan::FIRST;
    // W = exp(2 pi i/(4R)); the level LENGTH has W^(R/LENGTH).
    unroll<Plan::GROUPS>([&](auto group) {
        Complex part[R];
        constexpr float re = float(cosine(PI / 4)), im = float(sine(PI / 4)); // W^(R/2)
        unroll<R / 2>([&](auto j) {
            const float a = v[group.value + Plan::GROUPS * j.value];
            const float b = v[group.value + Plan::GROUPS * (j.value + R / 2)];
            part[j.value] = {fmaf(re, b, a), im * b};
            part[j.value + R / 2] = {fmaf(-re, b, a), -im * b};
        });
        if constexpr (R >= 4) {
            level<R, 4, -1>(part, rotated<1, 16>({1, 0}));
        }
        if constexpr (R >= 8) {
            level<R, 8, -1>(part, rotated<1, 32>({1, 0}));
        }
        if constexpr (R >= 16) {
            level<R, 16, -1>(part, rotated<1, 64>({1, 0}));
        }
        if constexpr (R >= 32) {
            level<R, 32, -1>(part, rotated<1, 128>({1, 0}));
        }
        if constexpr (R >= 64) {
            level<R, 64, -1>(part, rotated<1, 256>({1, 0}));
        }
        unroll<R>([&](auto j) {
            constexpr int from = reverse_bits(j.value, log2(R));
            x[group.value + Plan::GROUPS * j.value] = part[from];
        });
    });
}

// The passes of the inverse but for the last one, from result j of the last forward pass
// in x[j]; the points are written to shared memory, for the last pass to read.
template <class Plan, int PASS = Plan::LATER - 1>
FFT_INLINE void inverse_later(Complex *shared, Complex (&x)[Plan::POINTS], int t, const Table<Plan> &table)
{
    if constexpr (PASS == Plan::LATER - 1) {
        plain_transform<Plan::POINTS, 1>(x);
        Places<Plan, PASS>::write_reversed(shared, x, t);
    }
    if constexpr (PASS > 0) {
        const Twiddles<Plan::POINTS> w = table.template settled<PASS - 1>(t);
        synchronise<Plan::sharing(PASS)>();
        Places<Plan, PASS - 1>::read(shared, x, t);
        transform<Plan::POINTS, 1>(x, w);
        Places<Plan, PASS - 1>::write_reversed(shared, x, t);
        inverse_later<Plan, PASS - 1>(shared, x, t, table);
    }
}

// What a thread needs for the last pass: for each of its transforms W, W^2, ..., c, c*W^(FIRST/2).
template <class Plan> struct LastTwiddles {
    static constexpr int VALUES = log2(Plan::FIRST) + 1;
    Complex values[Plan::GROUPS][VALUES];

    FFT_INLINE LastTwiddles(const Table<Plan> &table, int t)
    {
        unroll<Plan::GROUPS>([&](auto group) {
            unroll<VALUES>([&](auto value) {
                values[group.value][value.value] =
                    table.template last<value.value>(t + Plan::THREADS * group.value);
            });
        });
    }
};

// v[k] = Re(exp(-i pi k/(2R)) (a + w*b)), and that of k + R/2 with a - w*b.
template <int R, int K> FFT_INLINE void real_butterfly(float &low, float &high, Complex a, Complex b, Complex w)
{
    butterfly(a, b, w);
    constexpr double angle = PI * K / (2 * R), high_angle = angle + PI / 4;
    constexpr float re = float(cosine(angle)), im = float(sine(angle));
    constexpr float high_re = float(cosine(high_angle)), high_im = float(sine(high_angle));
    low = K == 0 ? a.re : fmaf(a.im, im, a.re * re);
    high = fmaf(b.im, high_im, b.re * high_re);
}

// The last pass of the inverse: real samples v[i] = output[t + THREADS*i].
template <class Plan>
FFT_INLINE void inverse_last_real(
    float (&v)[Plan::POINTS], const Complex (&x)[Plan::POINTS], const LastTwiddles<Plan> &twiddles)
{
    constexpr int R = Plan::FIRST, LEVELS = log2(R);
    unroll<Plan::GROUPS>([&](auto group) {
        constexpr int GROUP = decltype(group)::value;
        const auto &values = twiddles.values[GROUP];
        Complex part[R];
        unroll<R>([&](auto j) { part[j.value] = x[GROUP + Plan::GROUPS * j.value]; });
        const Complex c = values[LEVELS - 1], cw = values[LEVELS];
        unroll<R / 2>([&](auto j) { part[j.value] = multiply(c, part[j.value]); });
        if constexpr (R == 2) {
            real_butterfly<2, 0>(v[GROUP], v[GROUP + Plan::GROUPS], part[0], part[1], cw);
        } else {
            level<R, 2, 1>(part, cw);
            if constexpr (R > 4) {
                level<R, 4, 1>(part, values[LEVELS - 2]);
            }
            if constexpr (R > 8) {
                level<R, 8, 1>(part, values[LEVELS - 3]);
            }
            if constexpr (R > 16) {
                level<R, 16, 1>(part, values[LEVELS - 4]);
            }
            const Complex power = values[0];
            unroll<R / 4>([&](auto index) {
                constexpr int k = decltype(index)::value;
                constexpr int first = 2 * reverse_bits(k, LEVELS - 1);
                constexpr int second = 2 * reverse_bits(k + R / 4, LEVELS - 1);
                Complex w = power;
                if constexpr (k > 0) {
                    w = rotated<k, R>(power);
                }
                constexpr int low = GROUP + Plan::GROUPS * k;
                constexpr int quarter = Plan::GROUPS * R / 4;
                real_butterfly<R, k>(v[low], v[low + 2 * quarter], part[first], part[first + 1], w);
                real_butterfly<R, k + R / 4>(
                    v[low + quarter], v[low + 3 * quarter], part[second], part[second + 1], {-w.im, w.re});
            });
        }
    });
}

} // namespace fft

// How rows of up to P samples lie over blocks: src/cuda/conv/full_rows/recipe.rs has the same.
template <int P, int POINTS> struct FullRows {
    using Plan = fft::Plan<P, POINTS>;
    static constexpr int BLOCK = Plan::THREADS > 32 ? Plan::THREADS : 128;
    static constexpr int ROWS = BLOCK / Plan::THREADS; // rows of a block
    // Blocks of a multiprocessor: 64 registers a thread, or 128.
    static constexpr int BLOCKS = (POINTS == 16 ? 1024 : 512) / BLOCK;
};

// v[i] = row[t + THREADS*i] of a part of a row, or zero where it does not hold it.
template <class Plan> FFT_INLINE void load(float (&v)[Plan::POINTS], const float *row, int t, const Part &part)
{
    row += part.origin + t;
    if (part.origin + t >= 0 && part.origin + t + (Plan::POINTS - 1) * Plan::THREADS < part.end) {
        fft::unroll<Plan::POINTS>([&](auto i) { v[i.value] = row[Plan::THREADS * i.value]; });
    } else {
        fft::unroll<Plan::POINTS>([&](auto i) {
            v[i.value] = part.holds(t + Plan::THREADS * i.value) ? row[Plan::THREADS * i.value] : 0.0f;
        });
    }
}

template <class Plan> FFT_INLINE void multiply_by(float (&v)[Plan::POINTS], const float *row, int t, const Part &part)
{
    float factor[Plan::POINTS];
    load<Plan>(factor, row, t, part);
    fft::unroll<Plan::POINTS>([&](auto i) { v[i.value] *= factor[i.value]; });
}

template <class Plan>
FFT_INLINE void store(const float (&v)[Plan::POINTS], float *row, int t, const Part &part, bool accumulate)
{
    row += part.origin + t;
    if (part.origin + t + (Plan::POINTS - 1) * Plan::THREADS < part.end && !accumulate) {
        fft::unroll<Plan::POINTS>([&](auto i) { row[Plan::THREADS * i.value] = v[i.value]; });
    } else {
        fft::unroll<Plan::POINTS>([&](auto i) {
            float *sample = row + Plan::THREADS * i.value;
            if (part.holds(t + Plan::THREADS * i.value)) {
                *sample = accumulate ? *sample + v[i.value] : v[i.value];
            }
        });
    }
}

// Values of the last forward pass times those of the spectrum, in order; CONJUGATED for
// the transposed convolution, a correlation.
template <class Plan, bool CONJUGATED>
FFT_INLINE void multiply_by_spectrum(fft::Complex (&x)[Plan::POINTS], const void *spectrum, long long row, int t)
{
    const float4 *pairs = static_cast<const float4 *>(spectrum) + row * (Plan::SIZE / 2) + t;
    const auto product = [](fft::Complex z, float re, float im) {
        return fft::multiply(z, {re, CONJUGATED ? -im : im});
    };
    fft::Complex in_order[Plan::POINTS];
    fft::unroll<Plan::POINTS / 2>([&](auto j) {
        const float4 pair = __ldg(pairs + Plan::THREADS * j.value);
        constexpr int even = fft::reverse_bits(2 * j.value, Plan::LOG_POINTS);
        constexpr int odd = fft::reverse_bits(2 * j.value + 1, Plan::LOG_POINTS);
        in_order[2 * j.value] = product(x[even], pair.x, pair.y);
        in_order[2 * j.value + 1] = product(x[odd], pair.z, pair.w);
    });
    fft::unroll<Plan::POINTS>([&](auto j) { x[j.value] = in_order[j.value]; });
}

// Writes the values of the last forward pass times a factor, in the order in which the above reads them.
template <class Plan> FFT_INLINE void store_spectrum(float4 *pairs, const fft::Complex (&x)[Plan::POINTS], float scale)
{
    fft::unroll<Plan::POINTS / 2>([&](auto j) {
        constexpr int even = fft::reverse_bits(2 * j.value, Plan::LOG_POINTS);
        constexpr int odd = fft::reverse_bits(2 * j.value + 1, Plan::LOG_POINTS);
        pairs[Plan::THREADS * j.value] = {
            scale * x[even].re, scale * x[even].im, scale * x[odd].re, scale * x[odd].im};
    });
}

// Rows that begin before a large GPU comes to the next ones: about one a multiprocessor.
constexpr unsigned ROWS_AHEAD = 132;

// Fetches u of a later row into the L2, a line of 128 bytes a thread: where rows are long, and their inputs have no gates,
// which keep as much under way.
template <class Plan> FFT_INLINE void fetch_ahead(const Convolution &c, unsigned index, unsigned rows, int t)
{
    constexpr int LINE = 32; // samples
    if (Plan::SIZE >= 4096 && index < rows && c.pieces == 1 && !c.in_gate.data && LINE * t < c.length) {
        const Row<float> row(c, int(index % unsigned(c.batch)), int(index / unsigned(c.batch)));
        asm volatile("prefetch.global.L2 [%0];" ::"l"(row.u() + LINE * t));
    }
}

// `c.length` samples are read, `output_length` written.
template <class Shape, bool CONJUGATED> FFT_INLINE void full_rows(const Convolution &c, int output_length)
{
    using Plan = typename Shape::Plan;
    extern __shared__ __align__(16) unsigned char memory[];
    const int t = threadIdx.x % Plan::THREADS, group = threadIdx.x / Plan::THREADS;
    fft::Complex *shared = reinterpret_cast<fft::Complex *>(memory) + group * Plan::PADDED;
    const fft::Table<Plan> table = {static_cast<const float *>(c.tables)};

    // Rows of one channel side by side: they share its spectrum. Threads beyond the last
    // row compute it again, to take part in the exchanges.
    const unsigned rows = unsigned(c.batch) * unsigned(c.channels);
    const unsigned own = blockIdx.x * Shape::ROWS + group, last = rows - 1;
    const unsigned index = own < last ? own : last;
    const auto row = Row<float>::of_piece(c, int(index % unsigned(c.batch)), int(index / unsigned(c.batch)));

    float v[Plan::POINTS];
    load<Plan>(v, row.u(), t, row.inputs());
    fetch_ahead<Plan>(c, own + ROWS_AHEAD, rows, t);
    if (c.in_gate.data) {
        multiply_by<Plan>(v, row.in_gate(), t, row.inputs());
    }
    fft::Complex x[Plan::POINTS];
    fft::forward_first_real<Plan>(x, v);
    fft::FirstPlaces<Plan>::write(shared, x, t);
    fft::forward_later<Plan>(shared, x, t, table);
    multiply_by_spectrum<Plan, CONJUGATED>(x, c.spectrum, row.channel, t);
    fft::inverse_later<Plan>(shared, x, t, table);
    const fft::LastTwiddles<Plan> twiddles(table, t);
    fft::synchronise<Plan::THREADS>();
    fft::FirstPlaces<Plan>::read(shared, x, t);
    fft::inverse_last_real<Plan>(v, x, twiddles);
    if (c.out_gate.data) {
        multiply_by<Plan>(v, row.out_gate(), t, row.outputs(output_length));
    }
    if (own < rows) {
        store<Plan>(v, row.y(), t, row.outputs(output_length), c.accumulate);
    }
}

// values[channel][j/2][t][j%2] = FFT_P(c w^n)[k]/P, of the frequency k that thread t has as
// value j of the last pass.
template <class Shape> FFT_INLINE void full_spectrum(const Taps &taps, float *values)
{
    using Plan = typename Shape::Plan;
    extern __shared__ __align__(16) unsigned char memory[];
    const int t = threadIdx.x % Plan::THREADS, group = threadIdx.x / Plan::THREADS;
    fft::Complex *shared = reinterpret_cast<fft::Complex *>(memory) + group * Plan::PADDED;
    const long long own = (long long)blockIdx.x * Shape::ROWS + group;
    const TapRow<Plan::SIZE> row(taps, own < taps.channels ? own : 0);

    fft::Complex x[Plan::POINTS];
    fft::unroll<Plan::POINTS>([&](auto i) {
        const int n = t + Plan::THREADS * i.value;
        x[i.value] = {row.real[n], -row.minus_imaginary[n]};
    });
    fft::forward<Plan>(shared, x, t, -0.25f);
    if (own >= taps.channels) {
        return;
    }
    store_spectrum<Plan>(
        reinterpret_cast<float4 *>(values) + own * (Plan::SIZE / 2) + t, x, 1.0f / Plan::SIZE);
}
