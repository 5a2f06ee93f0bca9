// Convolution of rows of P = A M samples, M = 2048, A = 16 B: one row on a cluster of C blocks, whose shared memory
// together holds it. The transform is that of block_rows.cuh with larger A: n = X M + m, frequencies kX + A k'.
//
// Longer rows come in segments of P samples, one after the other (segments.cuh): the transforms of a row's segments stay
// in device memory, as a rule in the L2, until its last one is done.
//
// Each block owns M / C columns m and A / C rows kX, and works on GROUPS rows of the call at a time, each on a group of
// A / C warps that depends on no other group of its block.
// 1. X pass: A-point DFTs of the columns, a warp 2048 samples. X = B X' + b: X' by one matrix product, which has the
//    twiddle of the column j (m = unit 8 + j) folded in, then the factors of b, and b by a butterfly over registers:
//    kX = k' + 16 k''. What belongs to the rows of other blocks goes to the stage, and from there, a chunk for each
//    block, to their received regions by the asynchronous engine.
// 2. Row pass (row_pass.cuh): a warp one row kX of 2048 points, in place in the received region; the chunks go back to
//    the stages that they came from.
// 3. Inverse X pass, gates, outputs. As soon as its operands are in registers, the samples of the group's next row are
//    on their way to where they were.
//
// Nothing waits but two mbarriers a row, `forth` and `back`, which count the local threads and the bytes from the other
// blocks. Data of one row cannot meet the next one's: a block sends a row forth only after all of the row before came
// back, which the others send only after having read it.
//
// A unit is 8 neighbouring columns; a unit group, that of a warp, 8 units (X' of m, and a half of its Y').
//
// Rows out of the range of f16 (row_range.cuh) are found out by all their warps, in device memory, and convolved once
// more, scaled, at the end.
//
// Bound by latency: 12 warps a multiprocessor by shared memory and registers; P = 65536 uses 43 % of the issue slots,
// half of what the multiprocessors can send one another (17 bytes a cycle), and 120 of 132 multiprocessors, as clusters
// do not cross the borders of their groups.
#pragma once
#include "row_pass.cuh"
#include "row_range.cuh"
#include "segments.cuh"

template <int A_, int C_, int GROUPS_> struct ClusterRows {
    static constexpr int A = A_, B = A / 16, C = C_, GROUPS = GROUPS_, R = 8, M = 256 * R, P = A * M, WARPS = A / C;
    static constexpr int UNIT_GROUPS = WARPS;
    static_assert(B * R == 16 && WARPS * C == 32, "a unit group a warp, 2048 samples");
    // In bytes: 8 x 8 matrices of one row kX and one unit group, re and im of each j; a unit group's at all rows of a
    // block; a chunk; a region.
    static constexpr int CELL = 256, PIECE = WARPS * CELL, CHUNK = UNIT_GROUPS * PIECE, REGION = C * CHUNK;
    static constexpr int X_MATRICES = R * 2 * MATRIX_BYTES, ROW_MATRICES = WARPS * 4 * MATRIX_BYTES, INNER = 2 * MATRIX_BYTES;
    static constexpr int TWIDDLES = 2 * R * MATRIX_BYTES, FORTH_FACTORS = (B - 1) * 16 * 8, BACK_FACTORS = (B - 1) * 8 * 8;
    // in shared memory
    static constexpr int TABLES_AT = GROUPS * 2 * REGION, ROW_MATRICES_AT = TABLES_AT + X_MATRICES, INNER_AT = ROW_MATRICES_AT + ROW_MATRICES;
    static constexpr int TWIDDLES_AT = INNER_AT + INNER, FACTORS_AT = TWIDDLES_AT + TWIDDLES;
    static constexpr int BARRIERS_AT = FACTORS_AT + FORTH_FACTORS + BACK_FACTORS, FLAGS_AT = BARRIERS_AT + GROUPS * 16;
    static constexpr int ZERO_AT = FLAGS_AT + GROUPS * 8, BYTES = ZERO_AT + 16, THREADS = 32 * WARPS * GROUPS;
};

// One row's worth of work of a warp. As in block_rows.cuh, addresses are computed anew in each phase.
template <typename K, typename Size, Mode MODE, bool SEGMENTED> struct ClusterRow {
    typedef typename K::T T;
    typedef RowSegment<T, SEGMENTED, Size::P> Line;
    typedef Group<Size::WARPS> Warps;
    static constexpr int B = Size::B, C = Size::C, R = Size::R, M = Size::M, A = Size::A, WARPS = Size::WARPS;
    static constexpr int UNIT_GROUPS = Size::UNIT_GROUPS;
    static constexpr int CELL = Size::CELL, IMAGINARY = CELL / 2, BYTES_FROM_OTHERS = (C - 1) * Size::CHUNK;
    static constexpr int Q = 2 * B; // words of a column: q = 2 b + X' half
    static_assert(!K::PRECISE, "sums in f16");

    Warps group;
    Word rank; // of the block in the cluster

    DEVICE ClusterRow() : group(shared_at<char>(Size::FLAGS_AT)), rank(rank_in_cluster()) {}

    struct Place {
        int lane, g, t, unit_group;
        Word received, stage, x_matrices, row_matrices, inner; // matrices: this lane's row of them
        const uint4 *twiddles;
    };
    DEVICE Place place() const
    {
        const int zero = *static_cast<volatile int *>(shared_at<int>(Size::ZERO_AT));
        Place p;
        p.lane = group.lane + zero;
        p.g = p.lane >> 2;
        p.t = p.lane & 3;
        p.unit_group = group.member + zero;
        const Word start = shared_address(shared_memory), lane_row = start + p.lane * 16;
        p.received = start + group.index * (2 * Size::REGION);
        p.stage = p.received + Size::REGION;
        p.x_matrices = lane_row + Size::TABLES_AT;
        p.row_matrices = lane_row + Size::ROW_MATRICES_AT + group.member * (4 * MATRIX_BYTES);
        p.inner = lane_row + Size::INNER_AT;
        p.twiddles = shared_at<uint4>(Size::TWIDDLES_AT) + p.lane;
        return p;
    }
    DEVICE Word forth() const { return shared_address(shared_memory) + Size::BARRIERS_AT + group.index * 16; }
    DEVICE Word back() const { return forth() + 8; }

    // Received: [block of the columns][unit group][row][re, im][j]; the stage: [block of the rows][unit group][row] ...;
    // units of 16 bytes, 8 numbers of neighbouring units, swizzled by j.
    static DEVICE Word at_column(Word address, int j) { return address ^ (j << 4); }
    static DEVICE Word in_cell(int x, int k) { return k % WARPS * CELL + (((x ^ k) & 7) << 4); }

    // This lane's row of an 8 x 8 matrix in the X pass, of kX = 8 i ...; of this warp's first column.
    DEVICE Word x_pass_address(const Place &p, int i) const
    {
        const int k = 8 * i + (p.lane & 7), block = k / WARPS, x = (rank * UNIT_GROUPS + p.unit_group) / 2;
        const Word region = block == (int)rank ? p.received : p.stage;
        return region + block * Size::CHUNK + p.unit_group * Size::PIECE + in_cell(x, k);
    }
    // The same in the row pass, of a half of X' and of Y'.
    DEVICE Word row_pass_address(const Place &p, int x_half, int y_half) const
    {
        const int x = 8 * x_half + (p.lane & 7), k = rank * WARPS + group.member;
        return p.received + (2 * x + y_half) * Size::PIECE + in_cell(x, k);
    }

    // The first of 8 neighbouring samples, of the first X; and from there to the i-th X' of pair q & 1, b = q / 2.
    DEVICE int first_sample(const Place &p, int t, int g) const
    {
        return 2 * B * t * M + ((int)rank * UNIT_GROUPS + p.unit_group) * 64 + g * 8;
    }
    static constexpr __host__ __device__ int further(int q, int i) { return (B * (i + 8 * (q & 1)) + q / 2) * M; }
    static DEVICE Word to_operand_order(const Place &p, Word w) { return __shfl_sync(0xffffffffu, w, 8 * p.t + p.g); }
    static DEVICE Word to_memory_order(const Place &p, Word w) { return __shfl_sync(0xffffffffu, w, 4 * (p.lane & 7) + (p.lane >> 3)); }

    // The samples of a unit group (and then of its gate) lie in its pieces of the stage: rows X of 128 bytes, eight
    // pieces of 16 bytes swizzled by X so that neither copies nor loads meet bank conflicts.
    static constexpr int OF_GATE = C / 2 * Size::CHUNK;
    static DEVICE Word staged(const Place &p, int x, int piece)
    {
        constexpr int ROWS = Size::PIECE / 128;
        return p.stage + x / ROWS * Size::CHUNK + p.unit_group * Size::PIECE + x % ROWS * 128 + ((piece ^ (x / (2 * B) % 4 * 2)) << 4);
    }
    // Has this warp's share of them copied; zeros beyond the end of the row.
    DEVICE void fetch(const Line &row) const
    {
        const Place p = place();
        const int first_x = p.lane / 8, piece = p.lane % 8, length = row.length();
        const int first = first_x * M + ((int)rank * UNIT_GROUPS + p.unit_group) * 64 + piece * 8;
        const T *u = row.u() + first, *in_gate = row.in_gate() + first;
#pragma unroll
        for (int i = 0; i < A; i += 4) {
            const Word to = staged(p, first_x + i, piece);
            const bool inside = MODE == Mode::Whole || first < length - i * M;
            copy_16_bytes(to, u + i * M, inside);
            if (K::GATED)
                copy_16_bytes(to + OF_GATE, in_gate + i * M, inside);
        }
    }
    // The factors of b for two halves of k', of this lane's rows (forth) or columns (back).
    struct Factors {
        uint2 of[B][2];
        DEVICE Factors(const uint2 *from, int count)
        {
#pragma unroll
            for (int b = 1; b < B; b++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    of[b][half] = from[((b - 1) * 2 + half) * count];
        }
    };

    DEVICE Word x_pass(float scale) const
    {
        const Place p = place();
        Word v[R][Q], magnitude = 0;
        copies_done();
#pragma unroll
        for (int q = 0; q < Q; q++) {
            Word a[2][4], gate[2][4] = {};
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const Word from = staged(p, B * (2 * p.t + i + 8 * (q & 1)) + (q >> 1), p.g);
                load_words(a[i], from);
                if (K::GATED)
                    load_words(gate[i], from + OF_GATE);
            }
#pragma unroll
            for (int j = 0; j < R / 2; j++)
                gate_in<K, MODE>(a[0][j], a[1][j], gate[0][j], gate[1][j], scale, v[2 * j][q], v[2 * j + 1][q]);
            magnitude = larger_magnitude(magnitude, v[0][q]);
        }
        __syncwarp();
        Word address[B / 2];
#pragma unroll
        for (int i = 0; i < B / 2; i++)
            address[i] = x_pass_address(p, 4 * i + (p.lane >> 3));
        const Factors factors(shared_at<uint2>(Size::FACTORS_AT) + p.g, 8);
        Operand re[2], im[2]; // of column j and the next one, asked for before the stores
        re[0] = constant_matrix<false>(p.x_matrices);
        im[0] = constant_matrix<false>(p.x_matrices + MATRIX_BYTES);
#pragma unroll
        for (int j = 0; j < R; j++) {
            if (j + 1 < R) {
                re[(j + 1) & 1] = constant_matrix<false>(p.x_matrices + (2 * j + 2) * MATRIX_BYTES);
                im[(j + 1) & 1] = constant_matrix<false>(p.x_matrices + (2 * j + 3) * MATRIX_BYTES);
            }
            Word out_re[2][B], out_im[2][B]; // [k' half][b]
#pragma unroll
            for (int b = 0; b < B; b++) {
                Result<false> x, y;
                from_left(x.sum, re[j & 1], v[j][2 * b], v[j][2 * b + 1]);
                from_left(y.sum, im[j & 1], v[j][2 * b], v[j][2 * b + 1]);
#pragma unroll
                for (int half = 0; half < 2; half++)
                    out_re[half][b] = x.word(half), out_im[half][b] = y.word(half);
            }
#pragma unroll
            for (int half = 0; half < 2; half++) {
#pragma unroll
                for (int b = 1; b < B; b++)
                    multiply_complex(out_re[half][b], out_im[half][b], factors.of[b][half].x, factors.of[b][half].y);
                forward_butterfly<B>(out_re[half], out_im[half]);
            }
#pragma unroll
            for (int i = 0; i < B / 2; i++) {
                const int first = reversed(2 * i, B), second = reversed(2 * i + 1, B);
                const Word all_re[4] = {out_re[0][first], out_re[1][first], out_re[0][second], out_re[1][second]};
                const Word all_im[4] = {out_im[0][first], out_im[1][first], out_im[0][second], out_im[1][second]};
                store_matrices<false>(at_column(address[i], j), all_re);
                store_matrices<false>(at_column(address[i], j) + IMAGINARY, all_im);
            }
        }
        send_chunks(p, p.received, p.stage, forth());
        return magnitude;
    }

    // Sends the chunks of the region `from` to their blocks' region `to`, where `barrier` counts them.
    DEVICE void send_chunks(const Place &p, Word to, Word from, Word barrier) const
    {
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); // by all who wrote them
        group.barrier();
        if (p.lane == 0) {
#pragma unroll
            for (int i = 0; i < C; i += WARPS) {
                const int block = i + group.member;
                if (block != (int)rank)
                    send(in_block(to + rank * Size::CHUNK, block), from + block * Size::CHUNK, Size::CHUNK, in_block(barrier, block));
            }
        }
        if (group.member == 0 && p.lane == 0)
            barrier_arrive(barrier, BYTES_FROM_OTHERS);
        else
            barrier_arrive(barrier);
    }

    // Inverse of the X pass. The gates are asked for first, the next row's samples as soon as there is room.
    template <typename Next> DEVICE float inverse_x_pass(const Line &row, float factor, Word parity, const Next &fetch_next) const
    {
        const Place p = place();
        // In memory order, in which eight lanes take a line of 128 bytes.
        const int first = first_sample(p, p.lane >> 3, p.lane & 7), left = row.length() - first;
        Word out[Q][2][R / 2]; // [q][X' or X' + 1]: gates, then outputs
        if (K::GATED) {
            const T *out_gate = row.out_gate() + first;
#pragma unroll
            for (int q = 0; q < Q; q++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
#pragma unroll
                    for (int w = 0; w < R / 2; w++)
                        out[q][i][w] = 0;
                    if (MODE == Mode::Whole || further(q, i) < left)
                        load_vector<8>(out[q][i], out_gate + further(q, i));
                }
        }
        Word address[B / 2];
#pragma unroll
        for (int i = 0; i < B / 2; i++)
            address[i] = x_pass_address(p, 4 * i + (p.lane >> 4) + (p.lane >> 3) % 2 * 2);
        barrier_wait(back(), parity);
        Word re[R][2][B], im[R][2][B]; // [k' half][k'', reversed; then b]: left operands, rows units
#pragma unroll
        for (int j = 0; j < R; j++)
#pragma unroll
            for (int i = 0; i < B / 2; i++) {
                const int first = reversed(2 * i, B), second = reversed(2 * i + 1, B);
                Word all[4];
                load_matrices<true>(all, at_column(address[i], j));
                re[j][0][first] = all[0], re[j][0][second] = all[1], re[j][1][first] = all[2], re[j][1][second] = all[3];
                load_matrices<true>(all, at_column(address[i], j) + IMAGINARY);
                im[j][0][first] = all[0], im[j][0][second] = all[1], im[j][1][first] = all[2], im[j][1][second] = all[3];
            }
        __syncwarp();
        fetch_next();
        const Factors factors(shared_at<uint2>(Size::FACTORS_AT + Size::FORTH_FACTORS) + p.t, 4);
        float watched = 0;
#pragma unroll
        for (int pair = 0; pair < R / 2; pair++) {
            float sums[2][Q][2]; // [column of the pair][q][X' or X' + 1]
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int j = 2 * pair + k;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    inverse_butterfly<B>(re[j][half], im[j][half]);
#pragma unroll
                    for (int b = 1; b < B; b++)
                        multiply_conjugate(re[j][half][b], im[j][half][b], factors.of[b][half].x, factors.of[b][half].y);
                }
                // The real part of the product with the conjugate: re x_re + im x_im.
                const Word matrices = p.x_matrices + j * 2 * MATRIX_BYTES;
                const Operand x_re = constant_matrix<true>(matrices), x_im = constant_matrix<true>(matrices + MATRIX_BYTES);
#pragma unroll
                for (int b = 0; b < B; b += 2)
#pragma unroll
                    for (int n = 0; n < 2; n++) {
                        Result<true> result; // rows: units of b and of b + 1; columns: X' half n
                        multiply_matrices(result.sum, re[j][0][b], re[j][0][b + 1], re[j][1][b], re[j][1][b + 1], x_re[2 * n], x_re[2 * n + 1]);
                        multiply_matrices(result.sum, im[j][0][b], im[j][0][b + 1], im[j][1][b], im[j][1][b + 1], x_im[2 * n], x_im[2 * n + 1]);
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            sums[k][2 * (b + (i >> 1)) + n][i & 1] = result.sum[i];
                        // Something not finite reaches every X of its column: one X of each is looked at.
                        if (b == 0 && n == 0) {
                            watch(watched, result.sum[0]);
                            watch(watched, result.sum[2]);
                        }
                    }
            }
#pragma unroll
            for (int q = 0; q < Q; q++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    Word &word = out[q][i][pair];
                    const Word gate = K::GATED ? to_operand_order(p, word) : 0;
                    word = to_memory_order(p, gate_out<K>(sums[0][q][i], sums[1][q][i], gate, factor));
                }
        }
        T *y = row.y() + first;
#pragma unroll
        for (int q = 0; q < Q; q++)
#pragma unroll
            for (int i = 0; i < 2; i++)
                if (MODE == Mode::Whole || further(q, i) < left)
                    store_vector<8>(y + further(q, i), out[q][i]);
        return watched;
    }

    // Convolves a row, or the next segment of one, that has been fetched, and tells what this warp saw of its range.
    // `kept`: the transforms of the row's segments.
    template <typename Next> DEVICE Word convolve(const Line &row, float scale, uint4 *kept, Word parity, const Next &fetch_next) const
    {
        const Word magnitude = x_pass(scale);
        barrier_wait(forth(), parity);
        {
            const Place p = place();
            const int entries = ((int)rank * WARPS + group.member) * (M / 4) + p.lane;
            row_pass<R, IMAGINARY>(
                p.lane, p.row_matrices, p.inner, p.twiddles, row.template product<R>(entries, kept),
                [&](int x_half, int y_half) { return row_pass_address(p, x_half, y_half); }, at_column);
            send_chunks(p, p.stage, p.received, back());
        }
        float factor = row.row.c.unscale[row.row.channel];
        if (MODE == Mode::General)
            factor /= scale;
        return seen(inverse_x_pass(row, factor, parity, fetch_next), magnitude);
    }
};

// A function of its own, so as not to take the registers of the common case.
template <typename K, typename Size, bool SEGMENTED>
__device__ __noinline__ void cluster_row_again(const Convolution &c, int batch, int channel, int segments, uint4 *kept, Word parity)
{
    const ClusterRow<K, Size, Mode::General, SEGMENTED> warp;
    RowSegment<typename K::T, SEGMENTED, Size::P> row(Row<typename K::T>(c, batch, channel), segments);
    const float scale = fmaxf(warp.group.template scale_of<K>(row.row, c.length) * row.margin(), 0x1p-126f);
#pragma unroll 1
    do {
        warp.fetch(row);
        warp.convolve(row, scale, kept, parity, [] {});
        parity ^= 1;
    } while (row.next_segment());
}

// From [j][re, im] of X'; [kX][X' re, im, Y' re, im]; inner re, im; [k''] twiddles; factors of b forth and back.
template <typename Size> DEVICE void load_cluster_tables(const Convolution &c)
{
    const uint4 *from = static_cast<const uint4 *>(c.tables);
    uint4 *to = shared_at<uint4>(Size::TABLES_AT);
    const auto copy = [&](int bytes) {
        for (int i = threadIdx.x; i < bytes / 16; i += blockDim.x)
            to[i] = from[i];
        to += bytes / 16;
        from += bytes / 16;
    };
    const int rank = rank_in_cluster(), digit = rank * Size::WARPS / 16; // k'' of the block's rows
    copy(Size::X_MATRICES);
    from += rank * (Size::ROW_MATRICES / 16);
    copy(Size::ROW_MATRICES);
    from += (Size::C - 1 - rank) * (Size::ROW_MATRICES / 16);
    copy(Size::INNER);
    from += digit * (Size::TWIDDLES / 16);
    copy(Size::TWIDDLES);
    from += (Size::B - 1 - digit) * (Size::TWIDDLES / 16);
    copy(Size::FORTH_FACTORS + Size::BACK_FACTORS);
}

// `seen_of_rows`: zeros; `kept`: room for the segments of a row but its last, for each row in flight.
template <typename K, typename Size, Mode MODE, bool SEGMENTED>
DEVICE void cluster_rows(const Convolution &c, Word *seen_of_rows, int segments, uint4 *kept)
{
    typedef typename K::T T;
    load_cluster_tables<Size>(c);
    const ClusterRow<K, Size, MODE, SEGMENTED> warp;
    warp.group.clear();
    if (threadIdx.x == 0) {
        *shared_at<volatile int>(Size::ZERO_AT) = 0;
        const Word barriers = shared_address(shared_memory) + Size::BARRIERS_AT;
        for (int i = 0; i < 2 * Size::GROUPS; i++)
            barrier_create(barriers + i * 8, 32 * Size::WARPS);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    cluster_barrier();

    // Neighbouring clusters work on neighbouring rows, which share a spectrum.
    const unsigned total = (unsigned)c.batch * c.channels, clusters = gridDim.x / Size::C, step = clusters * Size::GROUPS;
    const unsigned first = warp.group.index * clusters + blockIdx.x / Size::C;
    if (SEGMENTED)
        kept += (size_t)first * (segments - 1) * (Size::P / 4);
    const auto line = [&](unsigned number) {
        const unsigned channel = number / c.batch;
        return RowSegment<T, SEGMENTED, Size::P>(Row<T>(c, number - channel * c.batch, channel), segments);
    };
    Word parity = 0;
    if (first < total)
        warp.fetch(line(first));
#pragma unroll 1
    for (unsigned number = first; number < total; number += step) {
        const unsigned next = number + step;
        auto row = line(number);
        Word bits = 0;
        bool more = true;
#pragma unroll 1
        while (more) {
            auto following = row;
            more = following.next_segment();
            bits |= warp.convolve(row, 1.f, kept, parity, [&] {
                if (more)
                    warp.fetch(following);
                else if (next < total)
                    warp.fetch(line(next));
            });
            row.next_segment();
            parity ^= 1;
        }
        if (warp.group.lane == 0)
            atomicOr(seen_of_rows + number, bits);
    }
    cluster_barrier();
#pragma unroll 1
    for (unsigned number = first; number < total; number += step) {
        const Word all = *static_cast<volatile Word *>(seen_of_rows + number);
        if ((all & OVERFLOW_SEEN) || !(all & LARGE_SEEN)) {
            const Row<T> row = line(number).row;
            cluster_row_again<K, Size, SEGMENTED>(c, row.batch, row.channel, segments, kept, parity);
            parity ^= SEGMENTED ? segments & 1 : 1;
        }
    }
    cluster_barrier();
}
