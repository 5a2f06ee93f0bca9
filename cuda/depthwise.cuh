// What the kernels of the short depthwise convolution share: their arguments,
// the conversion of elements, and accesses of 16 bytes that respect the ends of a row.
//
//     y[b, h, t] = bias[h] + sum over j of weight[h, j] * x[b, h, t + j - left]
//
// with x zero outside of its samples. Products are summed in f32, taps in ascending order but for the kernels of the
// tensor cores.
#pragma once

#include "async_copy.cuh"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// A tensor of three dimensions whose last one is contiguous; strides in elements.
struct Signal {
    const void *data;
    long long batch_stride, line_stride; // a line: a row of samples, or the channels of a frame
};

// Weight (H, K) or bias (H,), or the gradient of one, strided; `kind` as in `read`.
struct Parameter {
    void *data; // null: there is none
    long long channel_stride, tap_stride;
    int kind;
};

// How blocks share the tiles of groups of channels, see depthwise_frame_turns.cuh.
struct Sharing {
    int parts, helped;
};

// The sum y, or y = z * sigmoid(z) of the sum z.
struct Correlation {
    Signal x;
    void *y; // contiguous
    Parameter weight, bias;
    int batch, channels, input_length, output_length, taps, left;
    int silu; // whether y = z * sigmoid(z) of the sum z is wanted
    Sharing sharing;
};

// The gradients of a correlation of the same names. Kernels of few taps: for 0 <= left < taps.
struct Gradient {
    Signal x, dy;
    void *dx;       // contiguous; null: not wanted
    float *pieces;  // (pieces, channels, taps + 1), the last column for the bias; null: a block has the whole sum
    Parameter weight, bias;
    Parameter weight_gradient, bias_gradient; // those that are wanted
    int batch, channels, input_length, output_length, taps, left;
    int vectors_a_row; // of dx or, for sums alone, of the longer of x and dy, where rows are cut into vectors
    Sharing sharing;
};

// Kernels are for exactly K taps or, where K = MANY_TAPS, for at most so many.
constexpr int MANY_TAPS = 16;

// One element of a parameter.
__device__ inline float read(const Parameter &p, int channel, int tap)
{
    const long long at = channel * p.channel_stride + tap * p.tap_stride;
    switch (p.kind) {
    case 0: return static_cast<const float *>(p.data)[at];
    case 1: return __half2float(static_cast<const __half *>(p.data)[at]);
    default: return __bfloat162float(static_cast<const __nv_bfloat16 *>(p.data)[at]);
    }
}

__device__ inline float read_bias(const Parameter &p, int channel)
{
    return p.data ? read(p, channel, 0) : 0.0f;
}

// Writes one element of the gradient of a parameter.
__device__ inline void write(const Parameter &p, int channel, int tap, float value)
{
    if (!p.data) return;
    const long long at = channel * p.channel_stride + tap * p.tap_stride;
    switch (p.kind) {
    case 0: static_cast<float *>(p.data)[at] = value; break;
    case 1: static_cast<__half *>(p.data)[at] = __float2half_rn(value); break;
    default: static_cast<__nv_bfloat16 *>(p.data)[at] = __float2bfloat16_rn(value);
    }
}

// Writes the gradient of one of the taps or, behind them, of the bias.
__device__ inline void write_sum(const Parameter &weight, const Parameter &bias, int taps, int channel, int tap, float sum)
{
    if (tap < taps) {
        write(weight, channel, tap, sum);
    } else {
        write(bias, channel, 0, sum);
    }
}

__device__ inline bool wants_sums(const Gradient &g)
{
    return g.pieces || g.weight_gradient.data || g.bias_gradient.data;
}

// What a block has of the sum for one of the taps or, behind them, for the bias: one of its pieces.
__device__ inline void leave_sum(const Gradient &g, int piece, int channel, int tap, float sum)
{
    if (g.pieces) {
        g.pieces[(piece * static_cast<long long>(g.channels) + channel) * (g.taps + 1) + tap] = sum;
    } else {
        write_sum(g.weight_gradient, g.bias_gradient, g.taps, channel, tap, sum);
    }
}

// Taps of a block of the kernels for any number of them.
constexpr int TAP_BLOCK = 128;

// What a block of those has of the sums for TAP_BLOCK taps from `first_tap` on and, in the last column, for the bias, which
// the first block of taps leaves: the sum of PARTS rows, which the threads have just written.
template <int PARTS>
__device__ inline void leave_sums(const Gradient &g, int channel, int first_tap, const float (&parts)[PARTS][TAP_BLOCK + 1])
{
    __syncthreads();
    for (int i = threadIdx.x; i <= TAP_BLOCK; i += blockDim.x) {
        float sum = 0.0f;
        for (int k = 0; k < PARTS; k++) sum += parts[k][i];
        if (i == TAP_BLOCK) {
            if (first_tap == 0) leave_sum(g, blockIdx.y, channel, g.taps, sum);
        } else if (first_tap + i < g.taps) {
            leave_sum(g, blockIdx.y, channel, first_tap + i, sum);
        }
    }
}

// An element type: PER_WORD of them in each 32-bit word.
template <class T> struct Element;

template <> struct Element<float> {
    static constexpr int PER_WORD = 1;
    static __device__ float unpack(uint32_t word, int) { return __uint_as_float(word); }
    static __device__ uint32_t pack(const float *values) { return __float_as_uint(values[0]); }
    static __device__ float round(float value) { return value; }
    static __device__ uint32_t bits(const float *at) { return __float_as_uint(__ldg(at)); }
    static __device__ void put(float *at, uint32_t word, int) { *at = __uint_as_float(word); }
};

// What both types of 16 bits share.
template <class T> struct Half {
    static constexpr int PER_WORD = 2;
    static __device__ uint32_t bits(const T *at)
    {
        return __ldg(reinterpret_cast<const unsigned short *>(at));
    }
    static __device__ void put(T *at, uint32_t word, int index)
    {
        *reinterpret_cast<unsigned short *>(at) = static_cast<unsigned short>(word >> (16 * index));
    }
};

template <> struct Element<__nv_bfloat16> : Half<__nv_bfloat16> {
    static constexpr bool BFLOAT = true;
    static __device__ float unpack(uint32_t word, int index)
    {
        return __uint_as_float(index ? word & 0xFFFF0000u : word << 16);
    }
    static __device__ uint32_t pack(const float *values)
    {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(values[0], values[1]);
        return *reinterpret_cast<const uint32_t *>(&pair);
    }
};

template <> struct Element<__half> : Half<__half> {
    static constexpr bool BFLOAT = false;
    static __device__ float unpack(uint32_t word, int index)
    {
        const __half2 pair = *reinterpret_cast<const __half2 *>(&word);
        return index ? __high2float(pair) : __low2float(pair);
    }
    static __device__ uint32_t pack(const float *values)
    {
        const __half2 pair = __floats2half2_rn(values[0], values[1]);
        return *reinterpret_cast<const uint32_t *>(&pair);
    }
};

// Words that the compiler does not know the origin of. It would otherwise convert elements in the branch that loads them,
// and wait there, before it asks for anything else.
template <int COUNT> __device__ inline void keep(uint32_t (&words)[COUNT])
{
#pragma unroll
    for (uint32_t &word : words) asm volatile("" : "+r"(word));
}

// At most K elements of a channel of a parameter, zeros behind the first `count`: asked for here, waited for where their
// values are taken. For callers that have other loads to start before they wait; `read` is enough for others.
template <int K> class Loaded {
    uint32_t words[K];
    int kind;

    template <class Bits> __device__ void load(const void *data, long long at, long long stride, int count)
    {
        const Bits *next = static_cast<const Bits *>(data) + at;
        if (stride == 1) {
#pragma unroll
            for (int j = 0; j < K; j++) words[j] = j < count ? next[j] : 0;
        } else {
#pragma unroll
            for (int j = 0; j < K; j++, next += stride) words[j] = j < count ? *next : 0;
        }
    }

  public:
    __device__ Loaded() {} // nothing yet

    __device__ Loaded(const Parameter &p, int channel, int count) : kind(p.kind)
    {
        const long long at = channel * p.channel_stride;
        if (kind == 0) {
            load<uint32_t>(p.data, at, p.tap_stride, count);
        } else {
            load<unsigned short>(p.data, at, p.tap_stride, count);
        }
    }

    __device__ void take(float (&values)[K])
    {
        keep(words);
        switch (kind) {
        case 0: return convert<float>(values);
        case 1: return convert<__half>(values);
        default: return convert<__nv_bfloat16>(values);
        }
    }

  private:
    template <class T> __device__ void convert(float (&values)[K]) const
    {
#pragma unroll
        for (int j = 0; j < K; j++) values[j] = Element<T>::unpack(words[j], 0);
    }
};

// The bias of a channel, 0 where there is none.
struct LoadedBias : Loaded<1> {
    __device__ LoadedBias() {}

    __device__ LoadedBias(const Parameter &p, int channel) : Loaded<1>(p, channel, p.data ? 1 : 0) {}

    __device__ float take()
    {
        float value[1];
        Loaded<1>::take(value);
        return value[0];
    }
};

// Elements in 16 bytes.
template <class T> constexpr int VECTOR = 16 / sizeof(T);

// How many elements an address lies behind a multiple of 16 bytes.
template <class T> __device__ inline int misalignment(const T *at)
{
    return static_cast<int>(reinterpret_cast<uintptr_t>(at) / sizeof(T)) & (VECTOR<T> - 1);
}

// Whether a vector at `position`, a multiple of 16 bytes from its neighbours, lies partly beyond the row.
template <class T> __device__ inline bool is_partial(int position, int length)
{
    constexpr int V = VECTOR<T>;
    return (position < 0 && position > -V) || (position < length && position > length - V);
}

// The elements of such a vector that lie inside the row; zeros for the others.
template <class T>
__device__ inline void load_partial(const T *row, int position, int length, uint32_t *words)
{
    constexpr int V = VECTOR<T>, P = Element<T>::PER_WORD;
#pragma unroll
    for (int i = 0; i < V; i++) {
        if (position + i >= 0 && position + i < length) {
            words[i / P] |= Element<T>::bits(row + (position + i)) << (16 * (i % P));
        }
    }
}

// Stores 16 bytes at `row + position`, an address divisible by 16, without what lies beyond the row.
// `ragged`: whether any vector of the row can lie partly beyond it.
template <class T>
__device__ inline void store_vector(T *row, int position, int length, bool ragged, const uint32_t (&words)[4])
{
    constexpr int V = VECTOR<T>, P = Element<T>::PER_WORD;
    if (position >= 0 && position <= length - V) {
        __stcs(reinterpret_cast<uint4 *>(row + position), make_uint4(words[0], words[1], words[2], words[3]));
    } else if (ragged && is_partial<T>(position, length)) {
#pragma unroll
        for (int i = 0; i < V; i++) {
            if (position + i >= 0 && position + i < length) {
                Element<T>::put(row + (position + i), words[i / P], i % P);
            }
        }
    }
}

// Drops the first `shift` elements, fewer than a vector holds; the same for all threads of a row.
template <class T, int COUNT> __device__ inline void drop(uint32_t (&words)[COUNT], int shift)
{
    constexpr int P = Element<T>::PER_WORD;
    if (shift & (2 * P)) {
#pragma unroll
        for (int i = 0; i + 2 < COUNT; i++) words[i] = words[i + 2];
    }
    if (shift & P) {
#pragma unroll
        for (int i = 0; i + 1 < COUNT; i++) words[i] = words[i + 1];
    }
    if (P == 2 && (shift & 1)) {
#pragma unroll
        for (int i = 0; i + 1 < COUNT; i++) words[i] = __byte_perm(words[i], words[i + 1], 0x5432);
    }
}

// Any shift, found at run time.
constexpr int ANY_SHIFT = -1;

// The shift of a window that starts `offset` elements behind a vector.
template <class T, int OFFSET> constexpr int SHIFT_OF = OFFSET & (VECTOR<T> - 1);

// NEEDED elements of a row from `start` on; zeros beyond the row. Whole vectors are loaded, of which
// the first `shift` elements are not needed. With a SHIFT known at compile time the row has to
// begin at a multiple of 16 bytes and to hold whole vectors, and `start` to be SHIFT elements behind
// a vector. Otherwise anything goes.
template <class T, int NEEDED, int SHIFT = ANY_SHIFT> struct Window {
    static constexpr int V = VECTOR<T>, KNOWN = SHIFT < 0 ? 0 : SHIFT, MOST = SHIFT < 0 ? V - 1 : SHIFT;
    static constexpr int VECTORS = (NEEDED + MOST + V - 1) / V;
    uint32_t words[4 * VECTORS];

    // `misaligned` is the misalignment of `row`.
    __device__ void load(const T *row, int start, int length, int misaligned)
    {
        const int shift = SHIFT < 0 ? (misaligned + start) & (V - 1) : SHIFT;
        const int first = start - shift;
        const uint4 *const at = reinterpret_cast<const uint4 *>(row + first);
        const unsigned whole = max(length - V + 1, 0); // positions where a whole vector fits
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            uint4 vector = make_uint4(0, 0, 0, 0);
            // The last one is needed for some shifts only.
            const bool needed = SHIFT >= 0 || (i + 1) * V <= NEEDED || i * V < NEEDED + shift;
            if (needed && static_cast<unsigned>(first + i * V) < whole) vector = __ldg(at + i);
            words[4 * i] = vector.x, words[4 * i + 1] = vector.y;
            words[4 * i + 2] = vector.z, words[4 * i + 3] = vector.w;
        }
        if (SHIFT < 0 && ((misaligned | length) & (V - 1))) {
#pragma unroll
            for (int i = 0; i < VECTORS; i++) {
                if (is_partial<T>(first + i * V, length)) load_partial(row, first + i * V, length, words + 4 * i);
            }
        }
    }

    // The same from vectors that lie in shared memory, for a known SHIFT.
    __device__ void take(const uint4 *vectors)
    {
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
            const uint4 vector = vectors[i];
            words[4 * i] = vector.x, words[4 * i + 1] = vector.y;
            words[4 * i + 2] = vector.z, words[4 * i + 3] = vector.w;
        }
    }

    // To be called once, after `load`: apart, so that several loads are under way first.
    __device__ void align(int start, int misaligned)
    {
        if (SHIFT < 0) drop<T>(words, (misaligned + start) & (V - 1));
    }

    // Keeps the compiler from waiting for the samples before this place: to be called when all else has been asked for.
    __device__ void arrive() { keep(words); }

    __device__ float operator[](int i) const
    {
        constexpr int P = Element<T>::PER_WORD;
        return Element<T>::unpack(words[(i + KNOWN) / P], (i + KNOWN) % P);
    }
};

template <class T> __device__ inline void pack_vector(const float *values, uint32_t (&words)[4])
{
    constexpr int P = Element<T>::PER_WORD;
#pragma unroll
    for (int k = 0; k < 4; k++) words[k] = Element<T>::pack(values + P * k);
}

// Accurate where T holds more than an approximation gives.
template <class T> __device__ inline float sigmoid(float z)
{
    return sizeof(T) == 4 ? 1.0f / (1.0f + expf(-z)) : __fdividef(1.0f, 1.0f + __expf(-z));
}

// z * sigmoid(z)
template <class T> __device__ inline float silu(float z)
{
    return z * sigmoid<T>(z);
}

// The derivative of z * sigmoid(z).
template <class T> __device__ inline float silu_slope(float z)
{
    const float s = sigmoid<T>(z);
    return fmaf(s * (1.0f - s), z, s);
}

// The same pointer, which the compiler does not compute anew at every place that it is used at.
template <class T> __device__ inline T *kept(T *pointer)
{
    asm volatile("" : "+l"(pointer));
    return pointer;
}

// Copies COUNT vectors of 16 bytes of a row from place `first` on by the lanes of a warp; zeros for those outside of the
// row. The row begins at a multiple of 16 bytes and holds whole vectors, and `first` is a multiple of them.
template <class T, int COUNT> __device__ inline void copy_vectors(uint4 *to, const T *row, int first, int length)
{
    constexpr int STEP = 32 * VECTOR<T>;
    const int lane = threadIdx.x, at = first + VECTOR<T> * lane;
    const T *const from = row + at;
#pragma unroll
    for (int i = 0; i < (COUNT + 31) / 32; i++) {
        const bool outside = static_cast<unsigned>(at + STEP * i) >= static_cast<unsigned>(length);
        if (32 * i + 32 > COUNT && lane + 32 * i >= COUNT) continue;
        copy_16_bytes(shared_address(to + lane + 32 * i), outside ? row : from + STEP * i, !outside);
    }
}

// A part of so many items, of the parts that they are cut into. Division of numbers of 32 bits, which takes a tenth of the
// time that of 64 bits does: batch items are fewer than 2^31, and several tiles of each would not fit into a GPU's memory.
struct Share {
    unsigned begin, count;

    __device__ Share(unsigned items, unsigned part, unsigned parts)
    {
        const unsigned each = items / parts, more = items - each * parts;
        begin = part * each + min(part, more);
        count = each + (part < more);
    }

    // The part that has an item.
    static __device__ unsigned part_of(unsigned item, unsigned items, unsigned parts)
    {
        const unsigned each = items / parts, more = items - each * parts, longer = more * (each + 1);
        return item < longer ? item / (each + 1) : more + (item - longer) / each;
    }
};

// Every so many-th tile of LENGTH vectors or frames of all batch items, in the order of memory.
template <int LENGTH> struct TilesInTurn {
    int tile, batch;
    int tiles, tile_step, batch_step;

    // Of items of `length`, the tiles of `part`, of which there are `parts`.
    __device__ TilesInTurn(int length, int part, int parts) : tiles((length + LENGTH - 1) / LENGTH)
    {
        tile = part % tiles, batch = part / tiles;
        tile_step = parts % tiles, batch_step = parts / tiles;
    }

    __device__ void advance()
    {
        tile += tile_step, batch += batch_step;
        if (tile >= tiles) tile -= tiles, batch++;
    }
};
