// Convolution of whole rows of P = 16 M samples, M = 256 R: one row on a cluster of two blocks of R warps each.
//
// The transform is that of block_rows.cuh for A = 16, with the same tables and spectra. What differs:
// * Each block owns 8 of the 16 rows kX and half of the columns m (8 of the 16 X'), so a multiprocessor holds twice
//   as many rows in flight, 16 / R, each on its own group of warps and in its own phase.
// * A group exchanges its row through three regions, [X' 8][kX 8][re, im][column jj 8 R / 8 ...] of 64 R bytes for
//   each (X', kX): HERE (own X', own kX); OUT (own X', the peer's kX), a warp's 4 KB of which are copied to the peer's
//   IN by the asynchronous engine as soon as they are written; IN (the peer's X', own kX), transformed in place and
//   copied back to the peer's OUT. Nothing waits but two mbarriers a row, `forth` and `back`, which count the local
//   threads (every one orders its own accesses) and the bytes from the peer. Data of one row cannot meet the next
//   one's: a block sends a row forth only after all of the row before came back, which the peer sends only after
//   having read it.
// * With two groups in a block only one at a time is in the row pass, in turns: one computes while the other moves data.
// * In the inverse X pass a warp takes all of its matrices to registers, and has the next row's samples (and gates)
//   copied to where they were. Samples come back in operand order without shuffles.
// * Rows are transformed by row_pass.cuh; matrices lie in shared memory as 8 x 8 blocks.
//
// What is seen of ranges (row_range.cuh) is agreed on by both blocks, after up to 16 rows.
//
// Bound by latency and by the tensor cores and packed arithmetic, which share their issue port: P = 32768 uses 40 % of
// the issue slots and 60 % of the shared-memory pipe.
#pragma once
#include "row_pass.cuh"
#include "row_range.cuh"

template <int R> struct PairRows {
    static constexpr int M = 256 * R, P = 16 * M, WARPS = R, GROUPS = 16 / R;
    // in bytes
    static constexpr int CELL = 64 * R, REGION = 64 * CELL, EXCHANGE = 3 * REGION, SLICE = REGION / WARPS;
    static constexpr int MATRIX = 512, X_MATRICES = R * 2 * MATRIX, ROW_MATRICES = 8 * 4 * MATRIX, INNER = 2 * MATRIX;
    static constexpr int TWIDDLES = 2 * R * MATRIX, TABLES = X_MATRICES + ROW_MATRICES + INNER + TWIDDLES;
    // in shared memory
    static constexpr int TABLES_AT = GROUPS * EXCHANGE, BARRIERS_AT = TABLES_AT + TABLES, BARRIERS = 3 * 8;
    static constexpr int FLAGS_AT = BARRIERS_AT + GROUPS * BARRIERS, SEEN_AT = FLAGS_AT + GROUPS * 8;
    static constexpr int ZERO_AT = SEEN_AT + GROUPS * 8, BYTES = ZERO_AT + 16;
};

// One row's worth of work of a warp. As in block_rows.cuh, addresses are computed anew in each phase.
template <typename K, int R, Mode MODE> struct PairRow {
    typedef PairRows<R> Size;
    typedef typename K::T T;
    typedef Group<Size::WARPS> Warps;
    static constexpr int M = Size::M, CELL = Size::CELL, REGION = Size::REGION, MATRIX = Size::MATRIX;
    static constexpr int HERE = 0, OUT = REGION, IN = 2 * REGION, IMAGINARY = CELL / 2;
    static constexpr int ROWS = 8 / Size::WARPS; // rows kX of a warp
    static_assert(!K::PRECISE, "sums in f16");

    Warps group;
    Word rank; // of the block in the cluster

    DEVICE PairRow() : group(shared_at<char>(Size::FLAGS_AT)), rank(blockIdx.x & 1) {}

    struct Place {
        int lane, member, g, t;
        Word exchange, x_matrices, row_matrices, inner; // matrices: this lane's row of them
        const uint4 *twiddles;
    };
    DEVICE Place place() const
    {
        const int zero = *static_cast<volatile int *>(shared_at<int>(Size::ZERO_AT));
        Place p;
        p.lane = group.lane + zero;
        p.member = group.member + zero;
        p.g = p.lane >> 2;
        p.t = p.lane & 3;
        const Word start = shared_address(shared_memory);
        p.exchange = start + group.index * Size::EXCHANGE;
        p.x_matrices = start + Size::TABLES_AT + p.lane * 16;
        p.row_matrices = p.x_matrices + Size::X_MATRICES;
        p.inner = p.row_matrices + Size::ROW_MATRICES;
        p.twiddles = shared_at<uint4>(Size::TABLES_AT + Size::X_MATRICES + Size::ROW_MATRICES + Size::INNER) + p.lane;
        return p;
    }
    DEVICE Word barrier(int i) const { return shared_address(shared_memory) + Size::BARRIERS_AT + group.index * Size::BARRIERS + 8 * i; }
    DEVICE Word forth() const { return barrier(0); }
    DEVICE Word back() const { return barrier(1); }
    DEVICE Word agreement() const { return barrier(2); }

    // Turns of two groups in the row pass.
    static constexpr bool TURNS = Size::GROUPS == 2 && MODE == Mode::Whole;
    DEVICE void take_turn() const
    {
        if (TURNS)
            asm volatile("bar.sync %0, 512;" ::"r"(group.index + 5) : "memory");
    }
    DEVICE void give_turn() const
    {
        if (TURNS)
            asm volatile("bar.arrive %0, 512;" ::"r"(6 - group.index) : "memory");
    }

    // Cells (X', kX) hold units of 8 numbers (16 bytes), the unit of column jj, and for R = 8 of half y of Y', swizzled:
    // matrices of 8 X' or of 8 kX meet no bank conflict. `at_column` goes from the address of column 0 to that of jj.
    static DEVICE Word cell_address(Word region, int x, int row, int y)
    {
        return region + (x * 8 + row) * CELL + ((y ^ ((x ^ row) & 7)) << 4);
    }
    static DEVICE Word at_column(Word address, int jj) { return address ^ (jj << (R == 8 ? 5 : 4)); }

    // This lane's row of matrices in the X pass: of rows kX (half `rows`), for two units (R = 8: Y' halves of one X',
    // R = 4: two X').
    DEVICE Word x_pass_address(const Place &p, int rows, int unit, int other) const
    {
        const int x = R == 8 ? p.member : 2 * p.member + unit;
        return cell_address(p.exchange + (rows == (int)rank ? HERE : other), x, p.lane & 7, R == 8 ? unit : 0);
    }
    // The same in the row pass: of X' (half `x_half`), for two halves of Y'.
    DEVICE Word row_pass_address(const Place &p, int row, int x_half, int y_half) const
    {
        return cell_address(p.exchange + (x_half == (int)rank ? HERE : IN), p.lane & 7, row, R == 8 ? y_half : 4 * y_half);
    }

    // The first of 8 neighbouring samples q, for t and g: X = 2t + 8 (q & 1) (and X + 1, M samples later).
    DEVICE int first_sample(const Place &p, int q, int t, int g) const
    {
        return (2 * t + 8 * (q & 1)) * M + (int)rank * (M / 2) + (16 * p.member + g + 8 * (q >> 1)) * 8;
    }
    // In memory order, in which eight lanes take a line of 128 bytes. General rows stay in operand order.
    DEVICE int first_output(const Place &p, int q) const
    {
        return MODE == Mode::Whole ? first_sample(p, q, p.lane >> 3, p.lane & 7) : first_sample(p, q, p.t, p.g);
    }
    static DEVICE Word to_operand_order(const Place &p, Word w)
    {
        return MODE == Mode::Whole ? __shfl_sync(0xffffffffu, w, 8 * p.t + p.g) : w;
    }
    static DEVICE Word to_memory_order(const Place &p, Word w)
    {
        return MODE == Mode::Whole ? __shfl_sync(0xffffffffu, w, 4 * (p.lane & 7) + (p.lane >> 3)) : w;
    }

    // Has the warp's samples of a row copied to its slice of OUT, and those of the gate to that of HERE: 16 rows X of
    // 256 bytes, pieces of 16 bytes swizzled by X.
    DEVICE void fetch(const Row<T> &row) const
    {
        const Place p = place();
        const int x = p.lane >> 4, piece = p.lane & 15;
        const long long first = x * M + (int)rank * (M / 2) + 128 * p.member + piece * 8;
        const T *u = row.u() + first, *in_gate = row.in_gate() + first;
        const Word slice = p.exchange + p.member * Size::SLICE + x * 256;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const Word to = slice + i * 512 + ((piece ^ (2 * i & 6)) << 4);
            copy_16_bytes(to + OUT, u + 2 * i * M);
            if (K::GATED)
                copy_16_bytes(to + HERE, in_gate + 2 * i * M);
        }
    }

    DEVICE Word x_pass(const Row<T> &row, float scale) const
    {
        const Place p = place();
        Word v[8][4], magnitude = 0; // q = 2 (unit) + X half
        const Word slice = p.exchange + p.member * Size::SLICE + p.t * 512 + ((p.g ^ (2 * p.t)) << 4);
        if (MODE == Mode::Whole)
            copies_done();
#pragma unroll
        for (int q = 0; q < 4; q++) {
            Word a[2][4], gate[2][4] = {};
#pragma unroll
            for (int i = 0; i < 2; i++) {
                if constexpr (MODE == Mode::Whole) {
                    const Word from = slice + (q & 1) * 2048 + i * 256 + (q >> 1) * 128;
                    load_words(a[i], from + OUT);
                    if (K::GATED)
                        load_words(gate[i], from + HERE);
                } else {
                    const int first = first_sample(p, q, p.t, p.g) + i * M;
                    load_samples<8, MODE>(a[i], row.u(), first, row.c);
                    if (K::GATED)
                        load_samples<8, MODE>(gate[i], row.in_gate(), first, row.c);
                }
            }
#pragma unroll
            for (int j = 0; j < 4; j++)
                gate_in<K, MODE>(a[0][j], a[1][j], gate[0][j], gate[1][j], scale, v[2 * j][q], v[2 * j + 1][q]);
            magnitude = larger_magnitude(magnitude, v[0][q]);
        }
        __syncwarp();
        const Word address = x_pass_address(p, p.lane >> 3 & 1, p.lane >> 4, OUT);
        Operand re[2], im[2]; // of column j and the next one, asked for before the stores
        re[0] = constant_matrix<false>(p.x_matrices);
        im[0] = constant_matrix<false>(p.x_matrices + MATRIX);
#pragma unroll
        for (int j = 0; j < R; j++) {
            if (j + 1 < R) {
                re[(j + 1) & 1] = constant_matrix<false>(p.x_matrices + (2 * j + 2) * MATRIX);
                im[(j + 1) & 1] = constant_matrix<false>(p.x_matrices + (2 * j + 3) * MATRIX);
            }
#pragma unroll
            for (int jj = j; jj < 8; jj += R) {
                Word out_re[4], out_im[4]; // [unit][kX half]
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    Result<false> x, y;
                    from_left(x.sum, re[j & 1], v[jj][2 * n], v[jj][2 * n + 1]);
                    from_left(y.sum, im[j & 1], v[jj][2 * n], v[jj][2 * n + 1]);
                    out_re[2 * n] = x.word(0), out_re[2 * n + 1] = x.word(1);
                    out_im[2 * n] = y.word(0), out_im[2 * n + 1] = y.word(1);
                }
                store_matrices<false>(at_column(address, jj), out_re);
                store_matrices<false>(at_column(address, jj) + IMAGINARY, out_im);
            }
        }
        written_to_be_sent();
        if (group.lane == 0) {
            const Word slice_start = p.exchange + p.member * Size::SLICE;
            send(in_block(slice_start + IN, rank ^ 1), slice_start + OUT, Size::SLICE, in_block(forth(), rank ^ 1));
            barrier_arrive(forth(), Size::SLICE);
        } else {
            barrier_arrive(forth());
        }
        return magnitude;
    }

    // Forward, spectrum, inverse of the block's row kX = 8 rank + row.
    DEVICE void transform(const Place &p, int row, const uint4 *spectrum) const
    {
        row_pass<R, IMAGINARY>(
            p.lane, p.row_matrices + row * 4 * MATRIX, p.inner, p.twiddles, SpectrumProduct<R>{spectrum},
            [&](int x_half, int y_half) { return row_pass_address(p, row, x_half, y_half); }, at_column);
    }

    // Sends back what the row pass made of the peer's columns.
    DEVICE void send_back(const Place &p) const
    {
        written_to_be_sent();
        if (p.lane < 8) {
            const Word cells = p.exchange + (p.lane * 8 + p.member * ROWS) * CELL;
            send(in_block(cells + OUT, rank ^ 1), cells + IN, ROWS * CELL, in_block(back(), rank ^ 1));
        }
        if (p.lane == 0)
            barrier_arrive(back(), Size::SLICE);
        else
            barrier_arrive(back());
    }

    // Inverse of the X pass. The gates are asked for first, the next row's samples as soon as there is room.
    template <typename Next> DEVICE float inverse_x_pass(const Row<T> &row, float factor, Word parity, const Next &fetch_next) const
    {
        const Place p = place();
        Word out[4][2][4]; // [q][X or X + 1]: gates, then outputs
        if (K::GATED) {
            const T *out_gate = row.out_gate();
#pragma unroll
            for (int q = 0; q < 4; q++) {
                load_samples<8, MODE>(out[q][0], out_gate, first_output(p, q), row.c);
                load_samples<8, MODE>(out[q][1], out_gate, first_output(p, q) + M, row.c);
            }
        }
        const Word address = x_pass_address(p, p.lane >> 4, p.lane >> 3 & 1, OUT);
        barrier_wait(back(), parity);
        Word re[8][4], im[8][4]; // [kX half][unit]: left operands
#pragma unroll
        for (int jj = 0; jj < 8; jj++) {
            load_matrices<true>(re[jj], at_column(address, jj));
            load_matrices<true>(im[jj], at_column(address, jj) + IMAGINARY);
        }
        __syncwarp();
        fetch_next();
        float watched = 0;
#pragma unroll
        for (int pair = 0; pair < 4; pair++) {
            float y[2][4][2]; // [column of the pair][q][X or X + 1]
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int jj = 2 * pair + k;
                const Word matrices = p.x_matrices + jj % R * 2 * MATRIX;
                // The real part of the product with the conjugate: re x_re + im x_im.
                const Operand x_re = constant_matrix<true>(matrices), x_im = constant_matrix<true>(matrices + MATRIX);
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    Result<true> result; // rows: units; columns: X half n
                    multiply_matrices(result.sum, re[jj][0], re[jj][1], re[jj][2], re[jj][3], x_re[2 * n], x_re[2 * n + 1]);
                    multiply_matrices(result.sum, im[jj][0], im[jj][1], im[jj][2], im[jj][3], x_im[2 * n], x_im[2 * n + 1]);
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        y[k][2 * (i >> 1) + n][i & 1] = result.sum[i];
                    // Something not finite reaches every X of its column: one X of each is looked at.
                    if (n == 0) {
                        watch(watched, result.sum[0]);
                        watch(watched, result.sum[2]);
                    }
                }
            }
#pragma unroll
            for (int q = 0; q < 4; q++)
#pragma unroll
                for (int x = 0; x < 2; x++) {
                    Word &word = out[q][x][pair];
                    const Word gate = K::GATED ? to_operand_order(p, word) : 0;
                    word = to_memory_order(p, gate_out<K>(y[0][q][x], y[1][q][x], gate, factor));
                }
        }
        T *y_row = row.y();
#pragma unroll
        for (int q = 0; q < 4; q++) {
            store_samples<8, MODE>(y_row, first_output(p, q), row.c, out[q][0]);
            store_samples<8, MODE>(y_row, first_output(p, q) + M, row.c, out[q][1]);
        }
        return watched;
    }

    // Convolves a row and tells what this warp saw of its range.
    template <typename Next> DEVICE Word convolve(const Row<T> &row, float scale, Word parity, const Next &fetch_next) const
    {
        const Word magnitude = x_pass(row, scale);
        barrier_wait(forth(), parity);
        take_turn();
        {
            const Place p = place();
            const uint4 *spectrum = static_cast<const uint4 *>(row.c.spectrum) + (size_t)row.channel * (Size::P / 4) + (int)rank * (2 * M) + p.lane;
#pragma unroll 1
            for (int i = 0; i < ROWS; i++) {
                const int k = p.member * ROWS + i;
                transform(p, k, spectrum + k * (M / 4));
            }
            give_turn();
            send_back(p);
        }
        float factor = row.c.unscale[row.channel];
        if (MODE == Mode::General)
            factor /= scale;
        return seen(inverse_x_pass(row, factor, parity, fetch_next), magnitude);
    }

    // As Group::out_of_range, for the warps of both blocks. The words of two rounds take turns.
    DEVICE Word out_of_range(Word own, int rows, Word round) const
    {
        Word *words = shared_at<Word>(Size::SEEN_AT) + 2 * group.index;
        if (group.lane == 0) {
            if (group.member == 0)
                words[round ^ 1] = 0;
            const Word word = shared_address(words + round);
#pragma unroll
            for (int block = 0; block < 2; block++)
                asm volatile("red.relaxed.cluster.shared::cluster.or.b32 [%0],%1;" ::"r"(in_block(word, block)), "r"(own) : "memory");
            barrier_arrive_in_cluster(in_block(agreement(), 0));
            barrier_arrive_in_cluster(in_block(agreement(), 1));
        }
        barrier_wait(agreement(), round);
        asm volatile("fence.acq_rel.cluster;" ::: "memory");
        const Word all = *static_cast<volatile Word *>(words + round);
        return (all | ~(all >> ROWS_WATCHED)) & ((1u << rows) - 1);
    }
};

// A function of its own, so as not to take the registers of the common case.
template <typename K, int R>
__device__ __noinline__ void pair_row_in_general(const Convolution &c, int batch, int channel, float scale, Word parity)
{
    PairRow<K, R, Mode::General>().convolve(Row<typename K::T>(c, batch, channel), scale, parity, [] {});
}

// The tables of block_rows.cuh for A = 16, of which this block needs its own rows' and only the forward matrices.
template <int R> DEVICE void load_pair_tables(const Convolution &c)
{
    typedef PairRows<R> Size;
    const Word *from = static_cast<const Word *>(c.tables);
    Word *to = shared_at<Word>(Size::TABLES_AT);
    constexpr int MATRICES = 2 * R + 32 + 2, TWIDDLES_FROM = 4 * R + 128 + 4;
    for (int i = threadIdx.x; i < MATRICES * 128; i += blockDim.x) {
        const int matrix = i >> 7, word = i & 127, k = matrix - 2 * R;
        int entry;
        Word sign = 0;
        if (matrix < 2 * R) // DFT over X, of four for each column
            entry = 4 * (matrix >> 1) + (matrix & 1);
        else if (k < 32) { // of eight for each row: X', and the conjugates of Y'
            entry = 4 * R + (8 * (blockIdx.x & 1) + (k >> 2)) * 8 + (k & 1) + (k & 2 ? 4 : 0);
            sign = (k & 3) == 3 ? 0x80008000u : 0;
        } else
            entry = 4 * R + 128 + (k & 1);
        // From the four words of each lane to the lanes of four blocks.
        to[matrix * 128 + (word & 3) * 32 + (word >> 2)] = from[entry * 128 + word] ^ sign;
    }
    for (int i = threadIdx.x; i < 2 * R * 128; i += blockDim.x)
        to[MATRICES * 128 + i] = from[TWIDDLES_FROM * 128 + i];
}

template <typename K, int R> DEVICE void pair_rows(const Convolution &c)
{
    typedef PairRows<R> Size;
    typedef Row<typename K::T> Line;
    load_pair_tables<R>(c);
    const PairRow<K, R, Mode::Whole> warp;
    warp.group.clear();
    if (threadIdx.x == 0) {
        *shared_at<volatile int>(Size::ZERO_AT) = 0;
        const Word barriers = shared_address(shared_memory) + Size::BARRIERS_AT;
        for (int i = 0; i < Size::GROUPS; i++) {
            barrier_create(barriers + i * Size::BARRIERS, 32 * Size::WARPS);
            barrier_create(barriers + i * Size::BARRIERS + 8, 32 * Size::WARPS);
            barrier_create(barriers + i * Size::BARRIERS + 16, 2 * Size::WARPS);
            shared_at<Word>(Size::SEEN_AT)[2 * i] = 0;
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    cluster_barrier();

    // Neighbouring clusters work on neighbouring rows, which share a spectrum.
    const unsigned total = (unsigned)c.batch * c.channels, clusters = gridDim.x >> 1, step = clusters * Size::GROUPS;
    const auto line = [&](unsigned number) {
        const unsigned channel = number / c.batch;
        return Line(c, number - channel * c.batch, channel);
    };
    unsigned number = warp.group.index * clusters + (blockIdx.x >> 1);
    Word parity = 0, round = 0;
    if (warp.group.index == 1)
        warp.give_turn();
    while (number < total) {
        Word bits = 0;
        int rows = 0;
        warp.fetch(line(number));
#pragma unroll 1
        for (; rows < ROWS_WATCHED && number < total; rows++) {
            const unsigned next = number + step;
            const bool more = rows + 1 < ROWS_WATCHED && next < total;
            bits |= warp.convolve(line(number), 1.f, parity, [&] {
                if (more)
                    warp.fetch(line(next));
            }) << rows;
            parity ^= 1;
            number = next;
        }
        Word again = warp.out_of_range(bits, rows, round);
        round ^= 1;
#pragma unroll 1
        for (; again; again &= again - 1) {
            const Line row = line(number - (rows - __ffs(again) + 1) * step);
            pair_row_in_general<K, R>(c, row.batch, row.channel, warp.group.template scale_of<K>(row, c.length), parity);
            parity ^= 1;
        }
    }
    cluster_barrier();
}
