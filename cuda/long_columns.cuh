// The columns of long_rows.cuh: the first pass over rows of A M samples, and the last; and, where M = 16 2048, those
// between.
//
// A block takes A rows of 64 samples, a tile, through shared memory, a warp 8 samples of them. X = B X' + j, and
// kX = k' + 16 k: X' by a matrix product that has the twiddle of j folded in, j by a butterfly over registers. A block
// stays at the same place m of one row after the other, for which it keeps the twiddles of m in registers; the blocks
// of all places take a row together.
//
// Bound by memory, see long_rows.cuh: a pass issues in 25 to 45 % of the slots.
#pragma once
#include "async_copy.cuh"
#include "long_rows.cuh"
#include "long_twiddles.cuh"
#include "tensor_core.cuh"
#include "row_stages.cuh"

// 8 neighbouring samples of u and of in_gate.
template <typename K, Mode MODE> struct Samples {
    typedef typename K::F F;
    typedef typename F::Packed Packed;
    Word u[4], gate[4];

    DEVICE void load(const Row<typename K::T> &row, int first)
    {
        load_samples<8, MODE>(u, row.u(), first, row.c);
        if (K::GATED)
            load_samples<8, MODE>(gate, row.in_gate(), first, row.c);
    }
    // The largest magnitude of the products, as bits of f32. In bf16, which has the range of f32, rounded: the power of
    // two below it is the same, or the next one.
    DEVICE unsigned peak() const
    {
        if constexpr (sizeof(Packed) == sizeof(Word)) {
            Packed largest = Packed();
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const Packed a = *reinterpret_cast<const Packed *>(&u[i]), b = *reinterpret_cast<const Packed *>(&gate[i]);
                largest = __hmax2(largest, __habs2(K::GATED ? __hmul2(a, b) : a));
            }
            const Word bits = *reinterpret_cast<const Word *>(&largest);
            return max(bits << 16, bits & 0xffff0000u);
        } else {
            float v[8], largest = 0;
            product(v);
#pragma unroll
            for (int j = 0; j < 8; j++)
                largest = fmaxf(largest, fabsf(v[j]));
            return __float_as_uint(largest);
        }
    }
    DEVICE void product(float (&v)[8]) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = F::low(u[i]), v[2 * i + 1] = F::high(u[i]);
            if (K::GATED)
                v[2 * i] *= F::low(gate[i]), v[2 * i + 1] *= F::high(gate[i]);
        }
    }
};

// Shared memory of the columns: matrices [j][re or im][32 lanes], then a plane of real and one of imaginary parts:
// row X or k' B + k, 8 units of 8 samples, the unit number swizzled by X' or k'.
template <int B> struct Columns {
    static constexpr int A = 16 * B, TABLE = B * 64, PLANE = A * 128; // uint4, bytes
    static constexpr int VECTORS = B / 2; // of 8 samples, for each thread
    static DEVICE int place(int digit, int j, int unit) { return (digit * B + j) * 128 + ((unit ^ (digit & 7)) << 4); }
    static DEVICE int place(int row, int unit) { return row * 128 + ((unit ^ (row / B & 7)) << 4); }
};

// Has 8 neighbouring samples copied to shared memory, where this thread may read them after wait_for_copies.
template <Mode MODE, typename T> DEVICE void copy_samples(Word to, const T *row, int first, const Convolution &c)
{
    if (MODE == Mode::Whole) {
        copy_16_bytes(to, row + first);
    } else if (c.vectors) {
        copy_16_bytes(to, row + first, first < c.length);
    } else { // at once: they begin anywhere
        Word samples[4];
        load_samples<8, MODE>(samples, row, first, c);
        store_words(to, samples);
    }
}

// The samples of tiles on their way to the threads that asked for them, some tiles ahead, in shared memory at places of
// their own.
template <typename K, int B, Mode MODE> struct SamplesAhead {
    static constexpr int VECTORS = Columns<B>::VECTORS, OPERANDS = K::GATED ? 2 : 1, VECTOR = 256 * 16;
    static constexpr int TILES = B == 2 ? 2 : 1, TILE_BYTES = VECTORS * OPERANDS * VECTOR;
    Word asked, taken, first_place;

    DEVICE explicit SamplesAhead(Word shared) : asked(0), taken(TILES - 1), first_place(shared + threadIdx.x * 16) {}
    static DEVICE void next(Word &tile) { tile = tile + 1 == TILES ? 0 : tile + 1; }
    // Vectors `apart` samples apart, the first at sample `first`.
    DEVICE void ask(const Row<typename K::T> &row, int first, int apart)
    {
        const Word place = first_place + asked * TILE_BYTES;
#pragma unroll
        for (int n = 0; n < VECTORS; n++) {
            copy_samples<MODE>(place + n * OPERANDS * VECTOR, row.u(), first + n * apart, row.c);
            if (K::GATED)
                copy_samples<MODE>(place + (n * OPERANDS + 1) * VECTOR, row.in_gate(), first + n * apart, row.c);
        }
        next(asked);
    }
    DEVICE void arrive()
    {
        wait_for_copies<TILES - 1>();
        next(taken);
    }
    DEVICE unsigned peak(int n) const { return arrived(n).peak(); }
    DEVICE void product(int n, float (&v)[8]) const { arrived(n).product(v); }
    DEVICE Samples<K, MODE> arrived(int n) const
    {
        const Word place = first_place + taken * TILE_BYTES + n * OPERANDS * VECTOR;
        Samples<K, MODE> samples;
        load_words(samples.u, place);
        if (K::GATED)
            load_words(samples.gate, place + VECTOR);
        return samples;
    }
};
// 256 points leave no room for that: in registers, when they are wanted.
template <typename K, Mode MODE> struct SamplesAhead<K, 16, MODE> {
    static constexpr int TILES = 0;
    Samples<K, MODE> samples[8];

    DEVICE explicit SamplesAhead(Word) {}
    DEVICE void ask(const Row<typename K::T> &row, int first, int apart)
    {
#pragma unroll
        for (int n = 0; n < 8; n++)
            samples[n].load(row, first + n * apart);
    }
    DEVICE void arrive() {}
    DEVICE unsigned peak(int n) const { return samples[n].peak(); }
    DEVICE void product(int n, float (&v)[8]) const { samples[n].product(v); }
};

// The rows of a group that a block takes one after the other, `step` apart.
struct RowSteps {
    int index, batch, channel, step, batch_step, channel_step;
    DEVICE RowSteps(const LongRows &a, int index, int step) : index(index), step(step)
    {
        const int number = a.first + index;
        channel = number / a.c.batch;
        batch = number - channel * a.c.batch;
        channel_step = step / a.c.batch;
        batch_step = step - channel_step * a.c.batch;
    }
    DEVICE void next(int batches)
    {
        index += step;
        batch += batch_step;
        channel += channel_step;
        if (batch >= batches) {
            batch -= batches;
            channel++;
        }
    }
    template <typename T> DEVICE Row<T> row(const LongRows &a) const { return Row<T>(a.c, batch, channel); }
};

// Calls body(first sample of a tile, its place, rows from the first of some to the end of others, rows from one to the
// next). Blocks of all places take a row together where there are so many; else each takes as many tiles as the others.
template <typename Body> DEVICE void for_each_place(const LongRows &a, const Body &body)
{
    const int places = a.points / TILE, blocks = gridDim.x;
    const bool together = blocks >= places;
    const int tiles = places * a.rows; // some thousands: the workspace is small
    int tile = together ? 0 : tiles * blockIdx.x / blocks;
    const int end = together ? 1 : tiles * (blockIdx.x + 1) / blocks;
#pragma unroll 1
    while (tile < end) {
        const int place = together ? blockIdx.x % places : tile / a.rows;
        const int row = together ? blockIdx.x / places : tile - place * a.rows;
        const int rows = together ? a.rows : min(a.rows, row + end - tile);
        body(place * TILE, place, row, rows, together ? blocks / places : 1);
        tile += together ? 1 : rows - row;
    }
}

// Phase 1.
template <typename K, int B, Mode MODE> DEVICE void long_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
    typedef SamplesAhead<K, B, MODE> Ahead;
    __shared__ __align__(16) unsigned peaks[2][8], squares[2][8]; // of each warp; of this tile and the next in turns
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    unsigned char *const planes = reinterpret_cast<unsigned char *>(shared_memory + C::TABLE);
    const Word address = shared_address(planes);
    const int digit = lane & 15; // X' or k' of the matrix row that this lane addresses
    const float inverse_size = 1.f / size;
    int turns = 0;
    for_each_place(a, [&](int tile_first, int tile_place, int first_row, int end_row, int step) {
        Twiddles<K, B> twiddles;
        {
            const float m = tile_first + 8 * unit + 2 * t;
            const Turn steps[2] = {turn(-16 * inverse_size * m), turn(-16 * inverse_size * (m + 1))};
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = g + 8 * half - a.weight;
                twiddles.set(half, turn(-k * m * inverse_size), turn(-k * (m + 1) * inverse_size), steps);
            }
        }
        Ahead samples(address + 2 * C::PLANE);
        const int first = (threadIdx.x >> 3) * a.points + tile_first + 8 * (threadIdx.x & 7);
        RowSteps rows(a, first_row, step), ahead = rows;
        const auto ask = [&] {
            if (ahead.index < end_row)
                samples.ask(ahead.row<T>(a), first, 32 * a.points);
            end_group_of_copies(); // an empty one after the last tile: as many groups as tiles are waited for
            ahead.next(a.c.batch);
        };
#pragma unroll
        for (int i = 0; i < Ahead::TILES; i++)
            ask();
#pragma unroll 1
        for (; rows.index < end_row; rows.next(a.c.batch), turns ^= 1) {
            if (Ahead::TILES == 0)
                samples.ask(rows.row<T>(a), first, 32 * a.points);
            samples.arrive();
            unsigned peak = 0;
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++)
                peak = max(peak, samples.peak(n));
            const unsigned peak_of_warp = __reduce_max_sync(0xffffffffu, peak);
            if (lane == 0)
                peaks[turns][unit] = peak_of_warp;
            __syncthreads(); // the tile before has left
            const uint4 some = *reinterpret_cast<const uint4 *>(peaks[turns]), others = *reinterpret_cast<const uint4 *>(peaks[turns] + 4);
            const float scale = tile_scale(max(max(max(some.x, some.y), max(some.z, some.w)), max(max(others.x, others.y), max(others.z, others.w))));
            // Of squares: of the tile's largest ones, at least a quarter, some eight bits are wanted.
            Word sums = 0;
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                float v[8];
                samples.product(n, v);
                Word words[4];
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    words[j] = pack_half(v[2 * j] * scale, v[2 * j + 1] * scale);
                    sums = multiply_add(words[j], words[j], sums);
                }
                *reinterpret_cast<uint4 *>(planes + C::place(i >> 3, i & 7)) = make_uint4(words[0], words[1], words[2], words[3]);
            }
            const float sum = low_half(sums) + high_half(sums);
            const unsigned sum_of_warp = __reduce_add_sync(0xffffffffu, __float2uint_rn(fminf(sum * SQUARES_UNIT, MOST_SQUARES)));
            if (lane == 0)
                squares[turns][unit] = sum_of_warp;
            if (Ahead::TILES > 0)
                ask();
            __syncthreads();
            if (threadIdx.x == 0) {
                unsigned sum_of_tile = 0;
#pragma unroll
                for (int i = 0; i < 8; i++)
                    sum_of_tile += squares[turns][i];
                a.tiles[(size_t)rows.index * (a.points / TILE) + tile_place] = make_float2(scale, sum_of_tile / SQUARES_UNIT);
            }
            // Words of samples 2t and 2t + 1 at k' = g + 8 half.
            Word re[2][B], im[2][B];
#pragma unroll
            for (int j = 0; j < B; j += 2) {
                Word v[4];
                load_matrices<true>(v, address + C::place(digit, j + (lane >> 4), unit));
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const uint4 *matrices = shared_memory + (j + i) * 64 + lane;
                    Result<K::PRECISE> x, y;
                    from_left(x.sum, Operand(matrices), v[2 * i], v[2 * i + 1]);
                    from_left(y.sum, Operand(matrices + 32), v[2 * i], v[2 * i + 1]);
                    re[0][j + i] = x.word(0), re[1][j + i] = x.word(1);
                    im[0][j + i] = y.word(0), im[1][j + i] = y.word(1);
                }
            }
            __syncwarp();
#pragma unroll
            for (int half = 0; half < 2; half++) {
                word_butterfly<B, false, K::PRECISE>(re[half], im[half]);
                twiddles.apply(half, re[half], im[half]);
            }
#pragma unroll
            for (int k = 0; k < B; k++) {
                const int j = reversed(k, B);
                const Word words[4] = {re[0][j], re[1][j], im[0][j], im[1][j]};
                store_matrices<false>(address + (lane >> 4) * C::PLANE + C::place(digit, k, unit), words);
            }
            __syncthreads();
            __half *out = static_cast<__half *>(a.workspace) + (size_t)rows.index * 2 * size + tile_first;
#pragma unroll
            for (int n = 0; n < 2 * C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n, row = i >> 4, plane = i >> 3 & 1;
                *reinterpret_cast<uint4 *>(out + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7)) =
                    *reinterpret_cast<const uint4 *>(planes + plane * C::PLANE + C::place(row, i & 7));
            }
        }
    });
}

// Where the tiles of the inverse columns arrive, TILES ahead: two planes as above, and out_gate, as the threads take it,
// where there is room.
template <typename K, int B> struct TileBuffers {
    typedef Columns<B> C;
    static constexpr int TILES = B == 2 ? 2 : B <= 8 ? 1 : 0, COUNT = TILES + 1;
    static constexpr bool GATES = K::GATED && B <= 4;
    static constexpr int BYTES = 2 * C::PLANE + (GATES ? C::VECTORS * 256 * 16 : 0);
    static DEVICE Word next(Word buffer) { return buffer + 1 == COUNT ? 0 : buffer + 1; }
};

// Phase 3.
template <typename K, int B, Mode MODE> DEVICE void long_inverse_columns(const LongRows &a)
{
    typedef Columns<B> C;
    typedef typename K::T T;
    typedef typename K::F F;
    typedef TileBuffers<K, B> Buffers;
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    const Word address = shared_address(shared_memory + C::TABLE);
    const int digit = lane & 15;
    const float inverse_size = 1.f / size;
    for_each_place(a, [&](int tile_first, int, int first_row, int end_row, int step) {
        Twiddles<K, B> twiddles;
        {
            const float m = tile_first + 8 * unit + g;
            const Turn one = turn(16 * inverse_size * m), steps[2] = {one, one};
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = 2 * t + 8 * half - a.weight;
                twiddles.set(half, turn(k * m * inverse_size), turn((k + 1) * m * inverse_size), steps);
            }
        }
        const int first = (threadIdx.x >> 3) * a.points + tile_first + 8 * (threadIdx.x & 7);
        RowSteps rows(a, first_row, step), ahead = rows;
        Word asked = 0, taken = 0;
        const auto ask = [&] {
            const Word buffer = address + asked * Buffers::BYTES;
            if (ahead.index < end_row) {
                const __half *in = static_cast<const __half *>(a.workspace) + (size_t)ahead.index * 2 * size + tile_first;
#pragma unroll
                for (int n = 0; n < 2 * C::VECTORS; n++) {
                    const int i = threadIdx.x + 256 * n, row = i >> 4, plane = i >> 3 & 1;
                    copy_16_bytes(buffer + plane * C::PLANE + C::place(row, i & 7),
                                  in + (size_t)((row / B + 16 * (row % B)) * 2 + plane) * a.points + 8 * (i & 7));
                }
                const Row<T> row = ahead.row<T>(a);
#pragma unroll
                for (int n = 0; Buffers::GATES && n < C::VECTORS; n++)
                    copy_samples<MODE>(buffer + 2 * C::PLANE + (threadIdx.x + 256 * n) * 16, row.out_gate(), first + 32 * n * a.points, a.c);
            }
            end_group_of_copies();
            ahead.next(a.c.batch);
            asked = Buffers::next(asked);
        };
#pragma unroll
        for (int i = 0; i < Buffers::TILES; i++)
            ask();
#pragma unroll 1
        for (; rows.index < end_row; rows.next(a.c.batch), taken = Buffers::next(taken)) {
            if (Buffers::TILES == 0)
                ask();
            const Row<T> row = rows.row<T>(a);
            Word gates[C::VECTORS][4];
            const auto load_gates = [&] {
#pragma unroll
                for (int n = 0; n < C::VECTORS; n++)
                    load_samples<8, MODE>(gates[n], row.out_gate(), first + 32 * n * a.points, a.c);
            };
            const float factor = a.c.unscale[rows.channel] * a.unscale[rows.index];
            wait_for_copies<Buffers::TILES == 0 ? 0 : Buffers::TILES - 1>();
            __syncthreads(); // nobody reads the tile before any more, either
            if (Buffers::TILES > 0)
                ask();
            const Word buffer = address + taken * Buffers::BYTES;
            // Words of k' = 2t + 8 half and the next one, at sample g.
            Word re[2][B], im[2][B];
#pragma unroll
            for (int k = 0; k < B; k++) {
                const int j = reversed(k, B);
                Word words[4];
                load_matrices<true>(words, buffer + (lane >> 4) * C::PLANE + C::place(digit, k, unit));
                re[0][j] = words[0], re[1][j] = words[1], im[0][j] = words[2], im[1][j] = words[3];
            }
            __syncwarp();
#pragma unroll
            for (int half = 0; half < 2; half++) {
                twiddles.apply(half, re[half], im[half]);
                word_butterfly<B, true, K::PRECISE>(re[half], im[half]);
            }
#pragma unroll
            for (int j = 0; j < B; j += 2) {
                Word words[4];
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const uint4 *matrices = shared_memory + (j + i) * 64 + lane;
                    Result<true> x;
                    from_left(x.sum, Operand(matrices), re[0][j + i], re[1][j + i]);
                    from_left(x.sum, Operand(matrices + 32), im[0][j + i], im[1][j + i]);
                    words[2 * i] = x.word(0), words[2 * i + 1] = x.word(1);
                }
                store_matrices<false>(buffer + C::place(digit, j + (lane >> 4), unit), words);
            }
            if (K::GATED && !Buffers::GATES)
                load_gates();
            __syncthreads();
#pragma unroll
            for (int n = 0; n < C::VECTORS; n++) {
                const int i = threadIdx.x + 256 * n;
                Word words[4], y[4];
                load_words(words, buffer + C::place(i >> 3, i & 7));
                if (Buffers::GATES)
                    load_words(gates[n], buffer + 2 * C::PLANE + i * 16);
#pragma unroll
                for (int w = 0; w < 4; w++) {
                    float low = low_half(words[w]) * factor, high = high_half(words[w]) * factor;
                    if (K::GATED)
                        low *= F::low(gates[n][w]), high *= F::high(gates[n][w]);
                    y[w] = F::pack(low, high);
                }
                store_samples<8, MODE>(row.y(), first + 32 * n * a.points, a.c, y);
            }
            if (Buffers::TILES == 0)
                __syncthreads();
        }
        __syncthreads(); // the next place's tiles may come
    });
}

// Between the columns and rows of 2048 where P = A 16 2048: the rows kX of 16 * 2048 complex points in columns of 16
// points, in place. Forward from planes [re or im][X][m] to [kX][re or im][m], inverse back. Forward, tiles are
// multiplied by what they lack.
template <bool INVERSE, bool PRECISE> DEVICE void long_middle_columns(const LongRows &a, int first_points)
{
    typedef Columns<1> C;
    const int lane = threadIdx.x & 31, unit = threadIdx.x >> 5, g = lane >> 2, t = lane & 3, size = C::A * a.points;
    for (int i = threadIdx.x; i < C::TABLE; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    unsigned char *const planes = reinterpret_cast<unsigned char *>(shared_memory + C::TABLE);
    const Word address = shared_address(planes);
    const int total = a.rows * (a.points / TILE);
    // What this thread moves.
    const int row = threadIdx.x >> 4, plane = threadIdx.x >> 3 & 1, its_unit = threadIdx.x & 7;
    uint4 *const place = reinterpret_cast<uint4 *>(planes + plane * C::PLANE + C::place(row, its_unit));
    const size_t in_planes = (size_t)(plane * 16 + row) * a.points, in_rows = (size_t)(row * 2 + plane) * a.points;
#pragma unroll 1
    for (int number = blockIdx.x; number < total; number += gridDim.x) {
        const int places = a.points / TILE, index = number / places, tile_place = number - index * places;
        const int tile_first = tile_place * TILE;
        __half *data = static_cast<__half *>(a.workspace) + (size_t)index * 2 * size + tile_first + 8 * its_unit;
        uint4 moved = *reinterpret_cast<const uint4 *>(data + (INVERSE ? in_rows : in_planes));
        if (!INVERSE) {
            const Word factor = both(a.tiles[(size_t)(index / first_points) * 16 * places + row * places + tile_place].x);
            moved.x = multiply(moved.x, factor), moved.y = multiply(moved.y, factor);
            moved.z = multiply(moved.z, factor), moved.w = multiply(moved.w, factor);
        }
        *place = moved;
        __syncthreads();
        const Word own = address + (lane >> 4) * C::PLANE + C::place(lane & 15, 0, unit);
        Word v[4]; // re, re, im, im of digits 2t + 8 half, sample g
        load_matrices<true>(v, own);
        __syncwarp();
        const float inverse_size = 1.f / size;
        const Turn none = {1, 0};
        if (INVERSE) {
            const float m = tile_first + 8 * unit + g;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = 2 * t + 8 * half;
                Turn factor[2] = {turn(k * m * inverse_size), turn((k + 1) * m * inverse_size)};
                Word re[1] = {v[half]}, im[1] = {v[2 + half]};
                twiddle_words<1>(re, im, factor, none, none);
                v[half] = re[0], v[2 + half] = im[0];
            }
        }
        const Operand left_re(shared_memory + lane), left_im(shared_memory + 32 + lane);
        Result<PRECISE> x, y;
        from_left(x.sum, left_re, v[0], v[1]);
        from_left(y.sum, left_im, v[0], v[1]);
        from_left(x.sum, left_im, negate_bits(v[2]), negate_bits(v[3]));
        from_left(y.sum, left_re, v[2], v[3]);
        Word out[4] = {x.word(0), x.word(1), y.word(0), y.word(1)};
        if (!INVERSE) {
            const float m = tile_first + 8 * unit + 2 * t;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float k = g + 8 * half;
                Turn factor[2] = {turn(-k * m * inverse_size), turn(-k * (m + 1) * inverse_size)};
                Word re[1] = {out[half]}, im[1] = {out[2 + half]};
                twiddle_words<1>(re, im, factor, none, none);
                out[half] = re[0], out[2 + half] = im[0];
            }
        }
        store_matrices<false>(own, out);
        __syncthreads();
        *reinterpret_cast<uint4 *>(data + (INVERSE ? in_planes : in_rows)) = *place;
        __syncthreads();
    }
}
