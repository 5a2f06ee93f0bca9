// Complex FFTs in f32, one transform over a group of threads: what the prepare
// kernels (spectrum.cu, full_rows.cu) and the f32 convolution share.
//
// A transform of P points runs on P/16 threads with 16 points each, or P/32 with 32: a
// pass of a radix from 2 to 16 (32), then passes of radix 16 (32), with an exchange
// through shared memory between any two. With n = n1*S1 + n2*S2 + ... (digits from the
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
// Point i lies in shared memory at i + i/16 (i + i/32): no bank conflicts in any pass.
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

// How a transform of P points is cut into passes: POINTS of them in each thread, a first
// pass of a radix up to POINTS and later ones of radix POINTS.
template <int P, int POINTS_OF_THREAD = 16> struct Plan {
    static_assert((P & (P - 1)) == 0 && P > POINTS_OF_THREAD, "a power of two");
    static constexpr int SIZE = P;
    static constexpr int POINTS = POINTS_OF_THREAD;
    static constexpr int LOG_POINTS = log2(POINTS);
    static constexpr int THREADS = P / POINTS;
    static constexpr int FIRST = 1 << ((log2(P) - 1) % LOG_POINTS + 1);
    static constexpr int LATER = log2(P / FIRST) / LOG_POINTS; // passes after the first
    static constexpr int FIRST_STRIDE = P / FIRST;
    static constexpr int GROUPS = POINTS / FIRST; // transforms of the first radix in a thread
    // Points of shared memory that one transform takes.
    static constexpr int PADDED = P + P / POINTS;
    static FFT_CONSTEXPR int stride(int pass) { return 1 << (LOG_POINTS * (LATER - 1 - pass)); }
    // Threads side by side that wait for each other between later pass `pass` and the one
    // before it: those that exchange points, after the first pass often a part of a warp.
    static FFT_CONSTEXPR int sharing(int pass) { return pass == 0 ? THREADS : stride(pass - 1); }
    // Frequencies that are settled before a later pass.
    static FFT_CONSTEXPR int settled(int pass) { return FIRST << (LOG_POINTS * pass); }
    static FFT_CONSTEXPR int place(int i) { return i + (i >> LOG_POINTS); }
};

// All of so many threads side by side have written before any of them goes on.
template <int THREADS> FFT_INLINE void synchronise()
{
    if constexpr (THREADS <= 32) {
        __syncwarp();
    } else {
        __syncthreads();
    }
}

// The frequency that the digits before later pass `pass` have settled, in a thread whose
// points lie below `high`.
template <class Plan> FFT_INLINE int settled_frequency(int high, int pass)
{
    constexpr int BITS = Plan::LOG_POINTS;
    const int first = high >> (BITS * pass);
    int later = 0;
#pragma unroll
    for (int digit = 0; digit < pass; digit++) {
        later = (later << BITS) | ((high >> (BITS * digit)) & (Plan::POINTS - 1));
    }
    return first + Plan::FIRST * later;
}

// Frequency of result `j` of the last pass in thread `t`.
template <class Plan> FFT_INLINE int frequency(int t, int j)
{
    return settled_frequency<Plan>(t, Plan::LATER - 1) + Plan::THREADS * j;
}

// Twiddles computed on the spot, of W = exp(-2 pi i (K + shift)/size): the argument
// is exact in f32. For transforms that run once for many that read a table.
template <int RADIX> FFT_INLINE Twiddles<RADIX> computed_twiddles(int settled, float shift, int size)
{
    Twiddles<RADIX> w;
#pragma unroll
    for (int level = 0; level < log2(RADIX); level++) {
        const float half_turns = -2.0f * (float(settled) + shift) * float(1 << level) / float(size);
        sincospif(half_turns, &w.power[level].im, &w.power[level].re);
    }
    return w;
}

// Those of the later passes.
template <class Plan> struct ComputedPasses {
    float shift;

    template <int PASS> FFT_INLINE Twiddles<Plan::POINTS> later(int t) const
    {
        const int settled = settled_frequency<Plan>(t / Plan::stride(PASS), PASS);
        return computed_twiddles<Plan::POINTS>(settled, shift, Plan::settled(PASS + 1));
    }
};

// The points of the first pass: x[i] at t + THREADS*i.
template <class Plan> struct FirstPlaces {
    static FFT_CONSTEXPR int step(int i) { return Plan::THREADS * i + ((Plan::THREADS * i) >> Plan::LOG_POINTS); }

    static FFT_INLINE void write(Complex *shared, const Complex (&x)[Plan::POINTS], int t)
    {
        Complex *place = shared + Plan::place(t);
        unroll<Plan::POINTS>([&](auto i) { place[step(i.value)] = x[i.value]; });
    }

    static FFT_INLINE void read(const Complex *shared, Complex (&x)[Plan::POINTS], int t)
    {
        const Complex *place = shared + Plan::place(t);
        unroll<Plan::POINTS>([&](auto i) { x[i.value] = place[step(i.value)]; });
    }
};

// Those of a later pass: all values of one digit.
template <class Plan, int PASS> struct Places {
    static constexpr int S = Plan::stride(PASS);
    static constexpr int STEP = S == 1 ? 1 : Plan::place(S);

    static FFT_INLINE int start(int t) { return Plan::place(t / S * (Plan::POINTS * S) + t % S); }

    // Results in bit-reversed registers.
    static FFT_INLINE void write_reversed(Complex *shared, const Complex (&x)[Plan::POINTS], int t)
    {
        Complex *place = shared + start(t);
        unroll<Plan::POINTS>([&](auto j) {
            constexpr int from = reverse_bits(j.value, Plan::LOG_POINTS);
            place[j.value * STEP] = x[from];
        });
    }

    static FFT_INLINE void read(const Complex *shared, Complex (&x)[Plan::POINTS], int t)
    {
        const Complex *place = shared + start(t);
        unroll<Plan::POINTS>([&](auto j) { x[j.value] = place[j.value * STEP]; });
    }
};

// The first pass of complex points x[i] = input[t + THREADS*i], results in the same order.
template <class Plan>
FFT_INLINE void forward_first(Complex (&x)[Plan::POINTS], const Twiddles<Plan::FIRST> &w)
{
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

// The later passes of the forward transform, from points that the first one wrote
// to shared memory; leaves result j of the last pass in x[reverse_bits(j)]. Twiddles
// are fetched before the threads wait for each other.
template <class Plan, int PASS = 0, class Source>
FFT_INLINE void forward_later(Complex *shared, Complex (&x)[Plan::POINTS], int t, const Source &twiddles)
{
    const Twiddles<Plan::POINTS> w = twiddles.template later<PASS>(t);
    synchronise<Plan::sharing(PASS)>();
    Places<Plan, PASS>::read(shared, x, t);
    transform<Plan::POINTS, -1>(x, w);
    if constexpr (PASS + 1 < Plan::LATER) {
        Places<Plan, PASS>::write_reversed(shared, x, t);
        forward_later<Plan, PASS + 1>(shared, x, t, twiddles);
    }
}

// FFT of complex points x[i] = input[t + THREADS*i] times exp(-2 pi i shift*n/SIZE).
// Result of frequency<Plan>(t, j) in x[reverse_bits(j)].
template <class Plan> FFT_INLINE void forward(Complex *shared, Complex (&x)[Plan::POINTS], int t, float shift)
{
    forward_first<Plan>(x, computed_twiddles<Plan::FIRST>(0, shift, Plan::FIRST));
    FirstPlaces<Plan>::write(shared, x, t);
    forward_later<Plan>(shared, x, t, ComputedPasses<Plan>{shift});
}

} // namespace fft
