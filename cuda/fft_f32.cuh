// Complex FFTs in f32, one transform over a group of threads: what the prepare
// kernels (spectrum.cu, full_rows.cu) and the f32 convolution share.
//
// A transform of P points runs on P/16 threads, 16 points a thread: a pass of
// radix 2, 4, 8 or 16 and then passes of radix 16, with an exchange through
// shared memory between any two. With n = n1*S1 + n2*S2 + ... (digits from the
// most significant on, S the strides) and k = k1 + R1*k2 + R1*R2*k3 + ...,
//
//   n*k/P = n1*k1/R1  +  n2*(k1 + R1*k2)/(R1*R2)  +  ...   (mod 1)
//
// so pass p multiplies the point of digit value j by W^j, W = exp(-2 pi i K/(R1...Rp)),
// where K is the frequency that the digits before it have settled, and then
// transforms along the digit. Frequencies replace times digit by digit in place:
// the order of the result is that of the registers, and nobody reorders it.
// Multiplying the input by exp(-2 pi i shift*n/P) is K + shift in place of K: the
// weights of the right-angle form, shift = -1/4, cost nothing.
//
// The inverse runs the passes the other way round; its W is exp(2 pi i m/(R*S))
// with m = n mod S, the part of the time that the passes before it have settled.
//
// Points lie in shared memory at i + i/16: conflict-free in every pass.
#pragma once

namespace fft {

#define FFT_INLINE __device__ __forceinline__
#define FFT_CONSTEXPR __host__ __device__ constexpr

constexpr double PI = 3.14159265358979323846;

// Series good to a double's rounding for |x| <= pi.
FFT_CONSTEXPR double cosine(double x)
{
    double sum = 1, term = 1;
    for (int k = 1; k < 16; k++) {
        term *= -x * x / ((2 * k - 1) * (2 * k));
        sum += term;
    }
    return sum;
}

FFT_CONSTEXPR double sine(double x)
{
    double sum = x, term = x;
    for (int k = 1; k < 16; k++) {
        term *= -x * x / ((2 * k) * (2 * k + 1));
        sum += term;
    }
    return sum;
}

FFT_CONSTEXPR int log2(int n) { return n <= 1 ? 0 : 1 + log2(n / 2); }

FFT_CONSTEXPR int reverse_bits(int value, int count)
{
    int reversed = 0;
    for (int bit = 0; bit < count; bit++) {
        reversed |= ((value >> bit) & 1) << (count - 1 - bit);
    }
    return reversed;
}

// A loop index that is a constant in each turn: no register array is indexed at
// run time, and no constant is left to be computed there.
template <int I> struct Index {
    static constexpr int value = I;
};

template <int COUNT, int I = 0, class Body> FFT_INLINE void unroll(const Body &body)
{
    if constexpr (I < COUNT) {
        body(Index<I>());
        unroll<COUNT, I + 1>(body);
    }
}

struct Complex {
    float re, im;
};

FFT_INLINE Complex multiply(Complex a, Complex b)
{
    return {fmaf(a.re, b.re, -a.im * b.im), fmaf(a.re, b.im, a.im * b.re)};
}

// x * exp(2 pi i NUMERATOR/DENOMINATOR)
template <int NUMERATOR, int DENOMINATOR> FFT_INLINE Complex rotated(Complex x)
{
    constexpr float re = float(cosine(2 * PI * NUMERATOR / DENOMINATOR));
    constexpr float im = float(sine(2 * PI * NUMERATOR / DENOMINATOR));
    return multiply(x, {re, im});
}

// (a, b) -> (a + w*b, a - w*b) in six fused operations.
FFT_INLINE void butterfly(Complex &a, Complex &b, Complex w)
{
    const Complex sum = {
        fmaf(-w.im, b.im, fmaf(w.re, b.re, a.re)),
        fmaf(w.im, b.re, fmaf(w.re, b.im, a.im)),
    };
    b = {fmaf(2.0f, a.re, -sum.re), fmaf(2.0f, a.im, -sum.im)};
    a = sum;
}

// The same without a twiddle.
FFT_INLINE void butterfly(Complex &a, Complex &b)
{
    const Complex sum = {a.re + b.re, a.im + b.im};
    b = {a.re - b.re, a.im - b.im};
    a = sum;
}

// The powers W, W^2, W^4, ... that a radix needs.
template <int RADIX> struct Twiddles {
    Complex power[log2(RADIX)];
};

// (a, b) -> (a + i*SIGN*b, a - i*SIGN*b)
template <int SIGN> FFT_INLINE void quarter_butterfly(Complex &a, Complex &b)
{
    const Complex sum = {a.re - SIGN * b.im, a.im + SIGN * b.re};
    b = {a.re + SIGN * b.im, a.im - SIGN * b.re};
    a = sum;
}

// One level of a transform over registers: from transforms of LENGTH/2 points to
// those of LENGTH. `sign` is that of the exponent.
template <int RADIX, int LENGTH, int SIGN>
FFT_INLINE void level(Complex (&x)[RADIX], Complex power)
{
    constexpr int S = RADIX / LENGTH;
    if constexpr (LENGTH == 2) {
        unroll<S>([&](auto o) { butterfly(x[o.value], x[o.value + S], power); });
    } else {
        unroll<LENGTH / 4>([&](auto index) {
            constexpr int k = decltype(index)::value;
            constexpr int first = 2 * S * reverse_bits(k, log2(LENGTH / 2));
            constexpr int second = 2 * S * reverse_bits(k + LENGTH / 4, log2(LENGTH / 2));
            Complex w = power;
            if constexpr (k > 0) {
                w = rotated<SIGN * k, LENGTH>(power);
            }
            // exp(SIGN * i pi/2) * w
            const Complex turned = SIGN > 0 ? Complex{-w.im, w.re} : Complex{w.im, -w.re};
            unroll<S>([&](auto o) {
                butterfly(x[o.value + first], x[o.value + first + S], w);
                butterfly(x[o.value + second], x[o.value + second + S], turned);
            });
        });
    }
}

// The same with W = 1.
template <int RADIX, int LENGTH, int SIGN> FFT_INLINE void plain_level(Complex (&x)[RADIX])
{
    constexpr int S = RADIX / LENGTH;
    unroll<LENGTH / 2>([&](auto index) {
        constexpr int k = decltype(index)::value;
        constexpr int first = 2 * S * reverse_bits(k, log2(LENGTH / 2));
        unroll<S>([&](auto o) {
            Complex &a = x[o.value + first], &b = x[o.value + first + S];
            if constexpr (k == 0) {
                butterfly(a, b);
            } else if constexpr (4 * k == LENGTH) {
                quarter_butterfly<SIGN>(a, b);
            } else {
                butterfly(a, b, rotated<SIGN * k, LENGTH>({1, 0}));
            }
        });
    });
}

// transform() with W = 1.
template <int RADIX, int SIGN, int LENGTH = 2> FFT_INLINE void plain_transform(Complex (&x)[RADIX])
{
    plain_level<RADIX, LENGTH, SIGN>(x);
    if constexpr (LENGTH < RADIX) {
        plain_transform<RADIX, SIGN, 2 * LENGTH>(x);
    }
}

// X[k] = sum_j x[j] W^j exp(SIGN * 2 pi i j k/RADIX), left in x[reverse_bits(k)],
// from the level LENGTH on.
template <int RADIX, int SIGN, int LENGTH = 2>
FFT_INLINE void transform(Complex (&x)[RADIX], const Twiddles<RADIX> &w)
{
    level<RADIX, LENGTH, SIGN>(x, w.power[log2(RADIX / LENGTH)]);
    if constexpr (LENGTH < RADIX) {
        transform<RADIX, SIGN, 2 * LENGTH>(x, w);
    }
}

// How a transform of P points is cut into passes.
template <int P> struct Plan {
    static_assert(P >= 32 && (P & (P - 1)) == 0, "a power of two from 32 on");
    static constexpr int POINTS = 16;
    static constexpr int THREADS = P / POINTS;
    static constexpr int FIRST = 1 << ((log2(P) - 1) % 4 + 1); // 2, 4, 8 or 16
    static constexpr int LATER = log2(P / FIRST) / 4;          // passes of radix 16 after it
    static constexpr int FIRST_STRIDE = P / FIRST;
    static constexpr int GROUPS = POINTS / FIRST; // transforms of the first radix in a thread
    // Points of padded shared memory that one transform takes.
    static constexpr int PADDED = P + P / 16;
    static FFT_CONSTEXPR int stride(int pass) { return 1 << (4 * (LATER - 1 - pass)); }
};

FFT_CONSTEXPR int padded(int i) { return i + (i >> 4); }

// All threads of the transform have written before any goes on.
template <int THREADS> FFT_INLINE void synchronise()
{
    if constexpr (THREADS <= 32) {
        __syncwarp();
    } else {
        __syncthreads();
    }
}

// The frequency that the digits before pass `pass` of radix 16 have settled, in a
// thread whose points lie below `high`.
template <int FIRST> FFT_INLINE int settled_frequency(int high, int pass)
{
    const int first = high >> (4 * pass);
    int later = 0;
#pragma unroll
    for (int digit = 0; digit < pass; digit++) {
        later |= ((high >> (4 * digit)) & 15) << (4 * (pass - 1 - digit));
    }
    return first + FIRST * later;
}

// Frequency of result `j` of the last pass in thread `t`.
template <int P> FFT_INLINE int frequency(int t, int j)
{
    using Plan = Plan<P>;
    return settled_frequency<Plan::FIRST>(t, Plan::LATER - 1) + P / 16 * j;
}

// Twiddles computed on the spot, of W = exp(-2 pi i (K + shift)/size): the argument
// is exact in f32. For transforms that run once for many that read a table.
struct ComputedTwiddles {
    float shift;

    template <int RADIX> FFT_INLINE Twiddles<RADIX> at(int settled, int size) const
    {
        Twiddles<RADIX> w;
#pragma unroll
        for (int level = 0; level < log2(RADIX); level++) {
            const float half_turns = -2.0f * (float(settled) + shift) * float(1 << level) / float(size);
            sincospif(half_turns, &w.power[level].im, &w.power[level].re);
        }
        return w;
    }
};

// From pass `pass` - 1 (-1 the first radix) to pass `pass` of radix 16: each thread
// gives the points it has and takes those it needs.
template <int P> FFT_INLINE void write_first(Complex *shared, const Complex (&x)[16], int t)
{
    using Plan = Plan<P>;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        shared[padded(t) + Plan::THREADS * i + ((Plan::THREADS * i) >> 4)] = x[i];
    }
}

template <int P> FFT_INLINE void read_first(const Complex *shared, Complex (&x)[16], int t)
{
    using Plan = Plan<P>;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        x[i] = shared[padded(t) + Plan::THREADS * i + ((Plan::THREADS * i) >> 4)];
    }
}

// Place of digit value 0 of pass `pass` in thread t; value j is `step` further each.
template <int P, int PASS> struct Places {
    static constexpr int S = Plan<P>::stride(PASS);
    static constexpr int STEP = S == 1 ? 1 : S + S / 16;
    static FFT_INLINE int start(int t) { return padded((t / S) * 16 * S + t % S); }
};

// Results in bit-reversed registers.
template <int P, int PASS>
FFT_INLINE void write_reversed(Complex *shared, const Complex (&x)[16], int t)
{
    Complex *place = shared + Places<P, PASS>::start(t);
    unroll<16>([&](auto j) {
        constexpr int from = reverse_bits(j.value, 4);
        place[j.value * Places<P, PASS>::STEP] = x[from];
    });
}

template <int P, int PASS> FFT_INLINE void read(const Complex *shared, Complex (&x)[16], int t)
{
    const Complex *place = shared + Places<P, PASS>::start(t);
#pragma unroll
    for (int j = 0; j < 16; j++) {
        x[j] = place[j * Places<P, PASS>::STEP];
    }
}

// The later passes of the forward transform, from points that the first one wrote
// to shared memory; leaves result j of the last pass in x[reverse_bits(j)].
template <int P, int PASS = 0, class Source>
FFT_INLINE void forward_later(Complex *shared, Complex (&x)[16], int t, const Source &twiddles)
{
    using Plan = Plan<P>;
    synchronise<Plan::THREADS>();
    read<P, PASS>(shared, x, t);
    transform<16, -1>(x, twiddles.template later<PASS>(t));
    if constexpr (PASS + 1 < Plan::LATER) {
        write_reversed<P, PASS>(shared, x, t);
        forward_later<P, PASS + 1>(shared, x, t, twiddles);
    }
}

// The first pass of complex points x[i] = input[t + THREADS*i], results in the same order.
template <int P> FFT_INLINE void forward_first(Complex (&x)[16], const Twiddles<Plan<P>::FIRST> &w)
{
    using Plan = Plan<P>;
    unroll<Plan::GROUPS>([&](auto group) {
        Complex part[Plan::FIRST];
        unroll<Plan::FIRST>([&](auto j) { part[j.value] = x[group.value + Plan::GROUPS * j.value]; });
        transform<Plan::FIRST, -1>(part, w);
        unroll<Plan::FIRST>([&](auto j) {
            constexpr int from = reverse_bits(j.value, log2(Plan::FIRST));
            x[group.value + Plan::GROUPS * j.value] = part[from];
        });
    });
}

// Twiddles of the later passes of a transform of P points, computed.
template <int P> struct ComputedPasses {
    ComputedTwiddles computed;

    template <int PASS> FFT_INLINE Twiddles<16> later(int t) const
    {
        using Plan = Plan<P>;
        const int high = t / Plan::stride(PASS);
        const int settled = settled_frequency<Plan::FIRST>(high, PASS);
        return computed.at<16>(settled, Plan::FIRST << (4 * (PASS + 1)));
    }
};

// FFT of P complex points x[i] = input[t + THREADS*i] times exp(-2 pi i shift*n/P).
// Result of frequency<P>(t, j) in x[reverse_bits(j)].
template <int P> FFT_INLINE void forward(Complex *shared, Complex (&x)[16], int t, float shift)
{
    const ComputedTwiddles computed = {shift};
    forward_first<P>(x, computed.at<Plan<P>::FIRST>(0, Plan<P>::FIRST));
    write_first<P>(shared, x, t);
    forward_later<P>(shared, x, t, ComputedPasses<P>{computed});
}

} // namespace fft
