// The short convolution of tensors of 16-bit elements with up to 128 taps, on the tensor cores:
// what both layouts share, and channels-first tensors. Channels-last ones: depthwise_toeplitz_frames.cuh.
//
// A channel's convolution is a product with a Toeplitz matrix: the outputs of a segment of a row take the samples from
// their first one's on,
//
//     y[t + n] = sum over p of x[t + p - left] * weight[p - n].
//
// A warp makes 512 outputs of a row at a time, the last time up to 16 more, in 8 segments of 64: operand A is 16 outputs by 16
// samples of the matrix, B the same 16 samples of each segment, which `ldmatrix` reads from shared memory. A tile of A that
// starts at output 16 m and sample 16 k depends on d = k - m alone: so the whole matrix is a few tiles, kept in registers over
// all rows of the channel that a warp takes. Rows g and g + 8 of A are outputs 2 g and 2 g + 1, so that a lane has both of a
// word.
//
// Weights that are not of the elements' type are split into two terms of it, which keeps their
// precision. A product with a zero of the matrix would spread NaN and infinity to outputs that
// do not read them: where an output is not finite, all of the step are summed one by one.
#pragma once

#include "depthwise.cuh"
#include "matrices.cuh"

template <class T>
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    if constexpr (sizeof(T) == 2 && Element<T>::BFLOAT) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}

// The channel's taps over a power of two, so that the largest is of the order of 1: none leaves
// the range of f16.
__device__ inline float power_of_two_near(float largest)
{
    const uint32_t exponent = __float_as_uint(largest) & 0x7F800000u;
    // Neither it nor its inverse may be beyond the range of f32.
    return exponent == 0 || exponent >= 0x7E000000u ? 1.0f : __uint_as_float(exponent);
}

// The same of the largest of a warp's numbers.
__device__ inline float power_of_two_near_largest(float largest)
{
#pragma unroll
    for (int distance = 16; distance; distance >>= 1) {
        largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, distance));
    }
    return power_of_two_near(largest);
}

// `sum` of two elements, each NaN from the first one on of its `words` that is not finite.
template <class T> __device__ inline void note_not_finite(uint32_t &sum, uint32_t words)
{
    if constexpr (Element<T>::BFLOAT) {
        asm("fma.rn.bf16x2 %0, %1, %2, %0;" : "+r"(sum) : "r"(words), "r"(0u));
    } else {
        asm("fma.rn.f16x2 %0, %1, %2, %0;" : "+r"(sum) : "r"(words), "r"(0u));
    }
}

// Stores outputs of a row by words of two: those that a lane has from place `at` on, an address divisible by 4, which may be
// before the row.
template <class T, bool WHOLE> struct WordStores {
    uint32_t *to;
    int words;          // from there on that lie in the row
    int half_word = -1; // which one begins with the row's last element
    int lead = 0;       // elements of the first word that are before the row

    // WHOLE: rows begin and end with whole words.
    __device__ WordStores(T *row, int at, int length)
    {
        const int left_over = length > 0 ? length - at : 0;
        to = kept(reinterpret_cast<uint32_t *>(row + at));
        words = left_over >> 1;
        if (!WHOLE) {
            if (left_over & 1) half_word = words;
            lead = min(max(-at, 0), 2);
        }
    }

    // Word `word` from the first one on; the others begin in the row, or behind it.
    __device__ void store(int word, uint32_t pair) const
    {
        if (word < words && (WHOLE || word > 0 || lead == 0)) __stcs(to + word, pair);
        if (!WHOLE) {
            T *const elements = reinterpret_cast<T *>(to + word);
            if (word == 0 && lead == 1 && words > 0) Element<T>::put(elements + 1, pair, 1);
            if (word == half_word) Element<T>::put(elements, pair, 0);
        }
    }
};

// The sum z of one output, whose first sample is at place `start` of `x`, without the tensor cores.
template <class T>
__device__ float correlate_at(const Correlation &c, int channel, float bias, const T *x, int start, long long stride)
{
    float sum = bias;
    for (int j = 0; j < c.taps; j++) {
        const int at = start + j;
        const uint32_t bits = at >= 0 && at < c.input_length ? Element<T>::bits(x + at * stride) : 0;
        sum = fmaf(read(c.weight, channel, j), Element<T>::unpack(bits, 0), sum);
    }
    return sum;
}

// The samples of a channel; those of an output begin at place `start`, and are `stride` apart.
template <class T> struct OwnSamples {
    int channel;
    const T *x;
    int start;
    long long stride;
};

constexpr int SEGMENT = 64;           // outputs
constexpr int TOEPLITZ_OUTPUTS = 512; // of a warp at a time: 8 segments

// Where a warp's unit of 8 samples lies in shared memory: 8 units, one in each segment, in different banks.
constexpr __device__ int place_of_unit(int unit) { return unit + unit / 8; }

constexpr int TOEPLITZ_WARPS = 4; // of a block, at most

// The taps of a channel as a warp multiplies by them: at most TAPS, shifted by up to SHIFTS samples.
template <class T, int TAPS, bool SPLIT, int SHIFTS> struct Toeplitz {
    static_assert(sizeof(T) == 2 && TAPS % 32 == 0);
    static constexpr int TILES = (TAPS + 14 + SHIFTS) / 16 + 1; // of 16 outputs by 16 samples, that are not all zero
    static constexpr int STEPS = TILES + SEGMENT / 16 - 1;      // of 16 samples, that the outputs of a segment read
    static constexpr int TERMS = SPLIT ? 2 : 1;
    static constexpr bool SCALED = SPLIT && !Element<T>::BFLOAT; // bf16 has the range of f32
    static constexpr int UNITS = (TOEPLITZ_OUTPUTS - SEGMENT) / 8 + 2 * STEPS; // of 8 samples, that all outputs read
    // Two steps at a time are read, of which the last may be for nobody.
    static constexpr int PLACES = UNITS + 2 * (STEPS % 2), PITCH = PLACES + (PLACES - 1) / 8;

    static constexpr int BEFORE = 24, STAGED = 16 * TILES + BEFORE; // taps in shared memory, of which there are fewer
    static_assert(15 + SHIFTS <= BEFORE && STAGED <= 4 * PITCH);

    // Outputs that may follow the 512, and units that all of them read.
    static constexpr int MORE_OUTPUTS = 16, UNITS_WITH_MORE = TOEPLITZ_OUTPUTS / 8 + 2 * TILES;

    // [term][d]: weight[16 d + k - n - shift]; its registers at outputs n = 2 g, 2 g + 1, 2 g and 2 g + 1, at samples
    // k = 2 t and 2 t + 1, of the last two 8 more.
    uint32_t matrix[TERMS][TILES][4];
    float scale = 1.0f, bias;

    // Reads those of COUNT channels by way of shared memory, STAGED floats of each at a multiple of 8 bytes.
    template <int COUNT>
    static __device__ void read_all(Toeplitz (&taps)[COUNT], const Correlation &c, const int (&channels)[COUNT], int shift,
                                    float *const (&staged)[COUNT])
    {
        constexpr int EACH = (STAGED + 31) / 32;
        float weights[COUNT][EACH];
        // Before the taps, which are waited for; of two channels there are no registers for that.
        constexpr bool EARLY = COUNT == 1;
        LoadedBias loaded_bias;
        if (EARLY) loaded_bias = LoadedBias(c.bias, channels[0]);
        const auto load = [&](auto element) {
#pragma unroll
            for (int k = 0; k < COUNT; k++) {
#pragma unroll
                for (int i = 0; i < EACH; i++) {
                    const int tap = static_cast<int>(threadIdx.x) + 32 * i - BEFORE - shift;
                    weights[k][i] = tap >= 0 && tap < c.taps ? element(channels[k], tap) : 0.0f;
                }
                if (!EARLY) taps[k].bias = read_bias(c.bias, channels[k]);
            }
        };
        const auto at = [&](int channel, int tap) { return channel * c.weight.channel_stride + tap * c.weight.tap_stride; };
        // The types that are common without asking for more.
        if (!SPLIT) {
            const T *const own = static_cast<const T *>(c.weight.data);
            load([&](int channel, int tap) { return static_cast<float>(own[at(channel, tap)]); });
        } else if (c.weight.kind == 0) {
            load([&](int channel, int tap) { return static_cast<const float *>(c.weight.data)[at(channel, tap)]; });
        } else {
            load([&](int channel, int tap) { return read(c.weight, channel, tap); });
        }
#pragma unroll
        for (int k = 0; k < COUNT; k++) {
            if (SCALED) {
                float largest = 0.0f;
#pragma unroll
                for (int i = 0; i < EACH; i++) largest = fmaxf(largest, fabsf(weights[k][i]));
                taps[k].scale = power_of_two_near_largest(largest);
            }
            const float inverse = SCALED ? 1.0f / taps[k].scale : 1.0f; // exact
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                const int place = threadIdx.x + 32 * i;
                if (place < STAGED) staged[k][place] = weights[k][i] * inverse;
            }
        }
        __syncwarp();
#pragma unroll
        for (int k = 0; k < COUNT; k++) taps[k].take(staged[k]);
        if (EARLY) taps[0].bias = loaded_bias.take();
        __syncwarp(); // they have been read
    }

    __device__ void take(const float *staged)
    {
        const float *const own = staged + BEFORE + 2 * (threadIdx.x & 3) - 2 * (threadIdx.x >> 2);
#pragma unroll
        for (int half = 0; half < 2 * TILES; half++) {
            const float2 two = *reinterpret_cast<const float2 *>(own + 8 * half);
            const float before = own[8 * half - 1];
            set(half / 2, half % 2 * 2, two.x, two.y);
            set(half / 2, half % 2 * 2 + 1, before, two.x);
        }
    }

    __device__ void set(int d, int part, float first, float second)
    {
        float pair[2] = {first, second};
        matrix[0][d][part] = Element<T>::pack(pair);
        if (SPLIT) {
#pragma unroll
            for (int k = 0; k < 2; k++) pair[k] -= Element<T>::unpack(matrix[0][d][part], k);
            matrix[TERMS - 1][d][part] = Element<T>::pack(pair);
        }
    }

    // Where a lane's share of the first samples lies among a row's units, and of the first outputs among its words.
    static __device__ int place_of_samples(int lane) { return place_of_unit(SEGMENT / 8 * (lane & 7)) + (lane >> 3); }
    static __device__ int place_of_outputs(int lane) { return 4 * place_of_unit(SEGMENT / 4 * (lane & 3)) + (lane >> 2); }
    // Units from there to a word of `finish`.
    static constexpr __device__ int place_of_part(int part, int half)
    {
        return place_of_unit(SEGMENT / 8 * half + 2 * part);
    }

    // Sums, over the scale, of the first 16 PARTS outputs of 8 segments: of each 16 those at 2 g of segments 2 t and 2 t + 1, and
    // at 2 g + 1. `origin`: this lane's first samples in shared memory.
    template <int PARTS> __device__ void products(float (&sums)[PARTS][4], uint32_t origin) const
    {
#pragma unroll
        for (int i = 0; i < 4 * PARTS; i++) sums[i / 4][i % 4] = SCALED ? 0.0f : bias;
#pragma unroll
        for (int steps = 0; steps < TILES + PARTS - 1; steps += 2) {
            uint32_t samples[4];
            load_matrices<false>(samples, origin + 16 * place_of_unit(2 * steps));
#pragma unroll
            for (int term = 0; term < TERMS; term++) {
#pragma unroll
                for (int step = steps; step < steps + 2; step++) {
                    const int half = 2 * (step - steps);
#pragma unroll
                    for (int part = 0; part < PARTS; part++) {
                        const int d = step - part;
                        if (d < 0 || d >= TILES) continue;
                        multiply_add<T>(sums[part], matrix[term][d], samples[half], samples[half + 1]);
                    }
                }
            }
        }
        __syncwarp(); // the samples have been read
    }

    // The output of `finish` that a word begins with.
    static __device__ int output(int part, int half)
    {
        return SEGMENT * (2 * (threadIdx.x & 3) + half) + 16 * part + 2 * (threadIdx.x >> 2);
    }

    // From those to outputs, two in a word. `samples()`: the OwnSamples of the first output, to sum all of them anew where one is
    // not finite.
    template <int PARTS, class F>
    __device__ void finish(const Correlation &c, float (&sums)[PARTS][4], uint32_t (&words)[PARTS][2], const F &samples) const
    {
        if (SCALED) {
#pragma unroll
            for (int i = 0; i < 4 * PARTS; i++) sums[i / 4][i % 4] = fmaf(sums[i / 4][i % 4], scale, bias);
        }
        if (c.silu) {
#pragma unroll
            for (int i = 0; i < 4 * PARTS; i++) sums[i / 4][i % 4] = silu<T>(sums[i / 4][i % 4]);
        }
        uint32_t finite = 0; // NaN where an output is not finite
#pragma unroll
        for (int i = 0; i < 2 * PARTS; i++) {
            const float pair[2] = {sums[i / 2][i % 2], sums[i / 2][i % 2 + 2]};
            words[i / 2][i % 2] = Element<T>::pack(pair);
            note_not_finite<T>(finite, words[i / 2][i % 2]);
        }
        if (__any_sync(0xFFFFFFFFu, finite & 0x7FFF7FFFu)) {
#pragma unroll 1
            for (int i = 0; i < 2 * PARTS; i++) {
                const OwnSamples<T> own = samples();
                const int first = own.start + output(i / 2, i % 2);
                float pair[2] = {correlate_at(c, own.channel, bias, own.x, first, own.stride),
                                 correlate_at(c, own.channel, bias, own.x, first + 1, own.stride)};
                if (c.silu) pair[0] = silu<T>(pair[0]), pair[1] = silu<T>(pair[1]);
                const uint32_t word = Element<T>::pack(pair);
#pragma unroll
                for (int k = 0; k < 2 * PARTS; k++) words[k / 2][k % 2] = k == i ? word : words[k / 2][k % 2];
            }
        }
    }
};

// Where rows of x begin. Aligned: at multiples of 16 bytes, and both those of x and of y hold whole vectors. LikeOutputs:
// always so many samples further behind such a multiple than those of y; rows of x have at least 8 samples.
enum class RowStarts { Any, Aligned, LikeOutputs };

// Copies of a part of a vector may read all of it, up to 7 samples behind a row. Whether those could be behind the tensor's
// memory, of rows of a channel, where the next channel's do not reach as far: then the tail of the row, what it has of its last
// vector, is not copied, but loaded when the others have arrived.
__device__ inline bool may_end_memory(const Signal &x, int channel, int channels)
{
    return channel + 1 == channels || x.line_stride < 8;
}

// The tail of a row, `count` samples from `from` on, in place of zeros.
template <class T> __device__ inline void load_tail(uint4 *vector, const T *from, int count)
{
    const int lane = threadIdx.x;
    if (lane < count) reinterpret_cast<T *>(vector)[lane] = from[lane];
    __syncwarp();
}

// Sets the samples before a row to zero, which were copied with the first vector that it has a part of.
__device__ inline void clear_lead(uint4 *vector, int lead)
{
    const int lane = threadIdx.x;
    if (lane < lead) reinterpret_cast<uint16_t *>(vector)[lane] = 0;
    __syncwarp();
}

// Threads: 32 lanes, y over warps. Blocks: x over channels, y over parts of the channel's work.
// At most TAPS taps. Tiles begin at multiples of 16 bytes of y. Unless rows of x begin anywhere, vectors are copied to shared
// memory, up to 7 samples before the first one that is needed, and the matrix is shifted as much. Otherwise the samples are,
// in registers.
template <class T, int TAPS, bool SPLIT, RowStarts STARTS> __device__ void correlate_toeplitz(const Correlation &c)
{
    constexpr bool COPIED = STARTS != RowStarts::Any, ALIGNED = STARTS == RowStarts::Aligned;
    typedef Toeplitz<T, TAPS, SPLIT, COPIED ? 7 : 0> Taps;
    // The last tile of a row may have a few outputs more: tiles begin up to 7 places before the row, and so even one of 1023
    // samples would take a few of a third tile.
    constexpr bool CAN_HAVE_MORE = STARTS == RowStarts::LikeOutputs;
    constexpr int UNITS = CAN_HAVE_MORE ? Taps::UNITS_WITH_MORE : Taps::UNITS, LOADS = (UNITS + 31) / 32;
    static_assert(UNITS <= Taps::PLACES && (!CAN_HAVE_MORE || Taps::TILES % 2 == 0)); // two tiles at a time are read
    __shared__ uint4 shared[TOEPLITZ_WARPS][COPIED ? 2 : 1][Taps::PITCH];
    uint4 *units = shared[threadIdx.y][0];
    const int channel = blockIdx.x, lane = threadIdx.x;
    const T *const x_rows = static_cast<const T *>(c.x.data) + channel * c.x.line_stride;
    T *const y_rows = static_cast<T *>(c.y) + static_cast<long long>(channel) * c.output_length;
    const int further = ALIGNED ? 0 : misalignment(x_rows) - misalignment(y_rows);
    const int shift = COPIED ? (further - c.left) & 7 : 0;

    // The warp's items: tiles of rows, one after the other.
    const int misaligned_most = c.output_length % VECTOR<T> ? VECTOR<T> - 1 : 0;
    const int places = c.output_length + misaligned_most, over = places % TOEPLITZ_OUTPUTS;
    const bool has_more = CAN_HAVE_MORE && places > TOEPLITZ_OUTPUTS && over > 0 && over <= Taps::MORE_OUTPUTS;
    const unsigned tiles_a_row = (places + TOEPLITZ_OUTPUTS - 1) / TOEPLITZ_OUTPUTS - has_more;
    const Share items(c.batch * tiles_a_row, blockIdx.y * blockDim.y + threadIdx.y, gridDim.y * blockDim.y);
    int left_over = items.count;
    int batch = items.begin / tiles_a_row, tile = items.begin - batch * tiles_a_row;
    if (left_over == 0) return;

    Window<T, 8> next[LOADS];
    const T *next_x;
    T *next_y;
    int next_t, next_misaligned;
    uint4 *next_units = units;
    const bool tail_apart = STARTS == RowStarts::LikeOutputs && may_end_memory(c.x, channel, c.channels);
    const auto tail = [&](int first) { return tail_apart ? (c.input_length + c.left + shift - first) & 7 : 0; };
    const auto start_load = [&] {
        next_x = x_rows + batch * c.x.batch_stride;
        next_y = y_rows + static_cast<long long>(batch) * c.channels * c.output_length;
        next_t = tile * TOEPLITZ_OUTPUTS - misalignment(next_y);
        next_misaligned = misalignment(next_x);
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const int unit = lane + 32 * i, at = next_t - c.left - shift + 8 * unit;
            if (unit >= UNITS) continue;
            if constexpr (ALIGNED) {
                const bool outside = at < 0 || at >= c.input_length;
                copy_16_bytes(shared_address(next_units + place_of_unit(unit)), outside ? next_x : next_x + at, !outside);
            } else if constexpr (COPIED) {
                const int count = at > -8 ? max(min(c.input_length - tail(next_t) - at, 8), 0) : 0;
                copy_bytes(shared_address(next_units + place_of_unit(unit)), next_x + at, 2 * count);
            } else {
                next[i].load(next_x, at, c.input_length, next_misaligned);
            }
        }
        if (COPIED) end_group_of_copies();
        if (++tile == tiles_a_row) tile = 0, batch++;
    };
    start_load();
    Taps taps[1];
    Taps::read_all(taps, c, {channel}, shift, {reinterpret_cast<float *>(shared[threadIdx.y][COPIED ? 1 : 0])});
    for (; left_over > 0; left_over--) {
        const T *const x = next_x;
        T *const y = next_y;
        const int first = next_t;
        if constexpr (COPIED) {
            units = next_units;
            next_units = shared[threadIdx.y][units == shared[threadIdx.y][0]];
            if (left_over > 1) {
                start_load();
                wait_for_copies<1>();
            } else {
                wait_for_copies<0>();
            }
            __syncwarp();
            // The first vector of the row begins with samples of another one.
            const int begin = c.left + shift - first;
            if (!ALIGNED && begin % 8 > 0 && begin / 8 < UNITS) clear_lead(units + place_of_unit(begin / 8), begin % 8);
            const int last = (begin + c.input_length) / 8; // vector
            if (tail(first) > 0 && begin + c.input_length >= 0 && last < UNITS) {
                load_tail(units + place_of_unit(last), x + c.input_length - tail(first), tail(first));
            }
        } else {
#pragma unroll
            for (int i = 0; i < LOADS; i++) {
                const int unit = lane + 32 * i;
                next[i].align(first - c.left, next_misaligned);
                const uint32_t *words = next[i].words;
                if (unit < UNITS) units[place_of_unit(unit)] = make_uint4(words[0], words[1], words[2], words[3]);
            }
            __syncwarp();
            if (left_over > 1) start_load();
        }

        float sums[SEGMENT / 16][4];
        uint32_t words[SEGMENT / 16][2];
        taps[0].products(sums, shared_address(units + Taps::place_of_samples(lane)));
        taps[0].finish(c, sums, words, [&] { return OwnSamples<T>{channel, x, first - c.left, 1}; });
        const WordStores<T, ALIGNED> stores(y, first + Taps::output(0, 0), c.output_length);
#pragma unroll
        for (int i = 0; i < SEGMENT / 8; i++) stores.store(8 * (i / 2) + SEGMENT / 2 * (i % 2), words[i / 2][i % 2]);
        const int behind = first + TOEPLITZ_OUTPUTS;
        if (has_more && behind < c.output_length && behind + Taps::MORE_OUTPUTS >= c.output_length) {
            // As a segment of which `ldmatrix` reads the same samples for all eight: all columns are the same.
            float more_sums[1][4];
            uint32_t more[1][2];
            taps[0].products(more_sums, shared_address(units + place_of_unit(TOEPLITZ_OUTPUTS / 8) + (lane >> 3)));
            taps[0].finish(c, more_sums, more, [&] { return OwnSamples<T>{channel, x, behind - c.left, 1}; });
            if ((lane & 3) == 0) WordStores<T, ALIGNED>(y, behind + Taps::output(0, 0), c.output_length).store(0, more[0][0]);
        }
    }
}
