// Long convolution of f32 rows in one pass: up to 16384 samples, in f32 throughout.
//
// y = Re(w^-n IFFT_P(S * FFT_P(v w^n))), w = exp(i pi/(2P)), v = in_gate*u, then the
// other gate; S is what spectrum_full_pP wrote, the inverse's 1/P in it.
//
// P/16 threads a row, 16 points a thread in registers; the passes, and where the
// points lie in shared memory, are those of fft_f32.cuh. The weights w^n come with
// the twiddles of the forward transform. Of its first pass only the real part is
// read, and all twiddles are constants. The last pass of the inverse computes the
// real part alone; there the weights w^-n are a factor c of the thread, in the table
// beside the twiddles, and a constant of the result.
//
// Bound by issue slots: about 100 instructions a point at P = 4096.
#pragma once

#include "convolution.cuh"
#include "fft_f32.cuh"
#include "taps.cuh"

namespace fft {

// Where the twiddles of P points begin in the table, in floats. src/cuda/conv/full_rows.rs
// writes it: forward passes {W, W^2}[high] {W^4, W^8}[high] for each settled high part,
// then the inverse ones [m] alike, then the last pass: W, W^2, ..., c, c*W^(FIRST/2) [m].
template <int P> struct Table {
    using Passes = Plan<P>;

    static FFT_CONSTEXPR int forward(int pass)
    {
        int offset = 0;
        for (int i = 0; i < pass; i++) {
            offset += 8 * (Passes::FIRST << (4 * i));
        }
        return offset;
    }
    static FFT_CONSTEXPR int inverse(int pass)
    {
        int offset = forward(Passes::LATER);
        for (int i = 0; i < pass; i++) {
            offset += 8 * Passes::stride(i);
        }
        return offset;
    }
    static constexpr int LAST = inverse(Passes::LATER - 1);
    static constexpr int LAST_VALUES = log2(Passes::FIRST) + 1;

    const float *data;

    FFT_INLINE Twiddles<16> pair_of_pairs(int offset, int entries, int index) const
    {
        const float4 *pairs = reinterpret_cast<const float4 *>(data + offset);
        const float4 low = __ldg(pairs + index), high = __ldg(pairs + entries + index);
        return {{{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}}};
    }

    // Of the forward passes of radix 16.
    template <int PASS> FFT_INLINE Twiddles<16> later(int t) const
    {
        constexpr int OFFSET = forward(PASS), ENTRIES = Passes::FIRST << (4 * PASS);
        return pair_of_pairs(OFFSET, ENTRIES, t / Passes::stride(PASS));
    }

    // Of the inverse ones.
    template <int PASS> FFT_INLINE Twiddles<16> settled(int t) const
    {
        constexpr int OFFSET = inverse(PASS), ENTRIES = Passes::stride(PASS);
        return pair_of_pairs(OFFSET, ENTRIES, t % ENTRIES);
    }

    // Of the last pass; m < P/FIRST.
    FFT_INLINE Complex last(int value, int m) const
    {
        const float2 *values = reinterpret_cast<const float2 *>(data + LAST);
        const float2 z = __ldg(values + value * Passes::FIRST_STRIDE + m);
        return {z.x, z.y};
    }
};

// First pass of the forward transform of real points with the weights w^n: input
// v[i] = input[t + THREADS*i].
template <int P> FFT_INLINE void forward_first_real(Complex (&x)[16], const float (&v)[16])
{
    using Plan = Plan<P>;
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
        unroll<R>([&](auto j) {
            constexpr int from = reverse_bits(j.value, log2(R));
            x[group.value + Plan::GROUPS * j.value] = part[from];
        });
    });
}

// The passes of radix 16 of the inverse, from result j of the last forward pass in x[j].
// Leaves the points in shared memory, for the last pass to read.
template <int P, int PASS = Plan<P>::LATER - 1>
FFT_INLINE void inverse_later(Complex *shared, Complex (&x)[16], int t, const Table<P> &table)
{
    using Plan = Plan<P>;
    if constexpr (PASS == Plan::LATER - 1) {
        plain_transform<16, 1>(x);
    } else {
        read<P, PASS>(shared, x, t);
        transform<16, 1>(x, table.template settled<PASS>(t));
    }
    write_reversed<P, PASS>(shared, x, t);
    synchronise<Plan::THREADS>();
    if constexpr (PASS > 0) {
        inverse_later<P, PASS - 1>(shared, x, t, table);
    }
}

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
template <int P> FFT_INLINE void inverse_last_real(float (&v)[16], const Complex (&x)[16], int t, const Table<P> &table)
{
    using Plan = Plan<P>;
    constexpr int R = Plan::FIRST, LEVELS = log2(R);
    unroll<Plan::GROUPS>([&](auto group) {
        const int m = t + Plan::THREADS * group.value;
        Complex part[R];
        unroll<R>([&](auto j) { part[j.value] = x[group.value + Plan::GROUPS * j.value]; });
        const Complex c = table.last(LEVELS - 1, m), cw = table.last(LEVELS, m);
        unroll<R / 2>([&](auto j) { part[j.value] = multiply(c, part[j.value]); });
        if constexpr (R == 2) {
            real_butterfly<2, 0>(v[group.value], v[group.value + Plan::GROUPS], part[0], part[1], cw);
        } else {
            level<R, 2, 1>(part, cw);
            if constexpr (R > 4) {
                level<R, 4, 1>(part, table.last(LEVELS - 2, m));
            }
            if constexpr (R > 8) {
                level<R, 8, 1>(part, table.last(LEVELS - 3, m));
            }
            const Complex power = table.last(0, m);
            unroll<R / 4>([&](auto index) {
                constexpr int k = decltype(index)::value;
                constexpr int first = 2 * reverse_bits(k, LEVELS - 1);
                constexpr int second = 2 * reverse_bits(k + R / 4, LEVELS - 1);
                Complex w = power;
                if constexpr (k > 0) {
                    w = rotated<k, R>(power);
                }
                constexpr int low = group.value + Plan::GROUPS * k;
                constexpr int quarter = Plan::GROUPS * R / 4;
                real_butterfly<R, k>(v[low], v[low + 2 * quarter], part[first], part[first + 1], w);
                real_butterfly<R, k + R / 4>(
                    v[low + quarter], v[low + 3 * quarter], part[second], part[second + 1], {-w.im, w.re});
            });
        }
    });
}

} // namespace fft

// How rows of up to P samples lie over blocks: src/cuda/conv/full_rows.rs has the same.
template <int P> struct FullRows {
    static constexpr int THREADS = fft::Plan<P>::THREADS;        // of a row
    static constexpr int BLOCK = THREADS < 128 ? 128 : THREADS;
    static constexpr int ROWS = BLOCK / THREADS;                 // rows of a block
    static constexpr int BLOCKS = BLOCK >= 1024 ? 1 : 1024 / BLOCK; // of a multiprocessor: 64 registers a thread
    static constexpr int PADDED = fft::Plan<P>::PADDED;
};

// v[i] = row[t + THREADS*i], or zero from `length` on.
template <int P> FFT_INLINE void load(float (&v)[16], const float *row, int t, int length)
{
    constexpr int THREADS = FullRows<P>::THREADS;
    row += t;
    if (t + 15 * THREADS < length) {
        fft::unroll<16>([&](auto i) { v[i.value] = row[THREADS * i.value]; });
    } else {
        fft::unroll<16>([&](auto i) {
            v[i.value] = t + THREADS * i.value < length ? row[THREADS * i.value] : 0.0f;
        });
    }
}

template <int P> FFT_INLINE void multiply_by(float (&v)[16], const float *row, int t, int length)
{
    float factor[16];
    load<P>(factor, row, t, length);
    fft::unroll<16>([&](auto i) { v[i.value] *= factor[i.value]; });
}

template <int P> FFT_INLINE void store(const float (&v)[16], float *row, int t, int length, bool accumulate)
{
    constexpr int THREADS = FullRows<P>::THREADS;
    row += t;
    if (t + 15 * THREADS < length && !accumulate) {
        fft::unroll<16>([&](auto i) { row[THREADS * i.value] = v[i.value]; });
    } else {
        fft::unroll<16>([&](auto i) {
            float *sample = row + THREADS * i.value;
            if (t + THREADS * i.value < length) {
                *sample = accumulate ? *sample + v[i.value] : v[i.value];
            }
        });
    }
}

// Values j of the last forward pass, with those of the spectrum; CONJUGATED for the
// transposed convolution, a correlation.
template <int P, bool CONJUGATED>
FFT_INLINE void multiply_by_spectrum(fft::Complex (&x)[16], const float *spectrum, int channel, int t)
{
    constexpr int THREADS = FullRows<P>::THREADS;
    const float4 *pairs = reinterpret_cast<const float4 *>(spectrum) + (long long)channel * (P / 2) + t;
    const auto product = [](fft::Complex z, float re, float im) {
        return fft::multiply(z, {re, CONJUGATED ? -im : im});
    };
    fft::Complex in_order[16];
    fft::unroll<8>([&](auto j) {
        const float4 pair = __ldg(pairs + THREADS * j.value);
        constexpr int even = fft::reverse_bits(2 * j.value, 4), odd = fft::reverse_bits(2 * j.value + 1, 4);
        in_order[2 * j.value] = product(x[even], pair.x, pair.y);
        in_order[2 * j.value + 1] = product(x[odd], pair.z, pair.w);
    });
    fft::unroll<16>([&](auto j) { x[j.value] = in_order[j.value]; });
}

// `c.length` samples are read, `output_length` written.
template <int P, bool CONJUGATED> FFT_INLINE void full_rows(const Convolution &c, int output_length)
{
    using Shape = FullRows<P>;
    extern __shared__ __align__(16) unsigned char memory[];
    const int t = threadIdx.x % Shape::THREADS, group = threadIdx.x / Shape::THREADS;
    fft::Complex *shared = reinterpret_cast<fft::Complex *>(memory) + group * Shape::PADDED;
    const fft::Table<P> table = {static_cast<const float *>(c.tables)};

    // Rows of one channel side by side: they share its spectrum. Threads beyond the last
    // row compute it again, to take part in the exchanges.
    const unsigned rows = unsigned(c.batch) * unsigned(c.channels);
    const unsigned own = blockIdx.x * Shape::ROWS + group, last = rows - 1;
    const unsigned index = own < last ? own : last;
    const int channel = int(index / unsigned(c.batch)), batch = int(index % unsigned(c.batch));
    const Row<float> row(c, batch, channel);

    float v[16];
    load<P>(v, row.u(), t, c.length);
    if (c.in_gate.data) {
        multiply_by<P>(v, row.in_gate(), t, c.length);
    }
    fft::Complex x[16];
    fft::forward_first_real<P>(x, v);
    fft::write_first<P>(shared, x, t);
    fft::forward_later<P>(shared, x, t, table);
    multiply_by_spectrum<P, CONJUGATED>(x, static_cast<const float *>(c.spectrum), channel, t);
    fft::inverse_later<P>(shared, x, t, table);
    fft::read_first<P>(shared, x, t);
    fft::inverse_last_real<P>(v, x, t, table);
    if (c.out_gate.data) {
        multiply_by<P>(v, row.out_gate(), t, output_length);
    }
    if (own < rows) {
        store<P>(v, row.y(), t, output_length, c.accumulate);
    }
}

// values[channel][j/2][t][j%2] = FFT_P(c w^n)[k]/P, of the frequency k that thread t has as
// value j of the last pass.
template <int P> FFT_INLINE void full_spectrum(const Taps &taps, float *values)
{
    using Shape = FullRows<P>;
    extern __shared__ __align__(16) unsigned char memory[];
    const int t = threadIdx.x % Shape::THREADS, group = threadIdx.x / Shape::THREADS;
    fft::Complex *shared = reinterpret_cast<fft::Complex *>(memory) + group * Shape::PADDED;
    const long long own = (long long)blockIdx.x * Shape::ROWS + group;
    const TapRow<P> row(taps, own < taps.channels ? own : 0);

    fft::Complex x[16];
    fft::unroll<16>([&](auto i) {
        const int n = t + Shape::THREADS * i.value;
        x[i.value] = {row.real[n], -row.minus_imaginary[n]};
    });
    fft::forward<P>(shared, x, t, -0.25f);
    if (own >= taps.channels) {
        return;
    }
    float4 *pairs = reinterpret_cast<float4 *>(values) + own * (P / 2) + t;
    fft::unroll<8>([&](auto j) {
        constexpr int even = fft::reverse_bits(2 * j.value, 4), odd = fft::reverse_bits(2 * j.value + 1, 4);
        constexpr float scale = 1.0f / P;
        pairs[Shape::THREADS * j.value] = {
            scale * x[even].re, scale * x[even].im, scale * x[odd].re, scale * x[odd].im};
    });
}
