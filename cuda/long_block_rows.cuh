// The rows that the columns of long_rows.cuh leave where they have A * 256 R complex points, A = 8 or 16, R = 4 or 8:
// transform, product with the spectrum, and back, a row on A R / 8 warps, in place in the workspace. It does what columns
// of A points, rows of 256 R points and columns back would do, with one reading and one writing of the workspace instead
// of three.
//
// The transform is that of block_rows.cuh, with complex samples: planes [re or im][m]. Tiles are multiplied by what they
// lack.
//
// Bound by memory, half of what it could move, and latency: 36 % of the issue slots, with one to four rows on a
// multiprocessor.
#pragma once
#include "block_rows.cuh"
#include "long_rows.cuh"

template <bool PRECISE, int A, int R> struct LongBlockRow : BlockRow<Traits<__half, false, PRECISE>, A, R, Mode::Whole> {
    typedef BlockRow<Traits<__half, false, PRECISE>, A, R, Mode::Whole> Base;
    typedef typename Base::Place Place;
    static_assert(A >= 8, "real and imaginary parts in matrices of their own");
    static constexpr int M = Base::M, P = A * M, COLUMN = Base::COLUMN, ROWS = Base::ROWS;

    DEVICE LongBlockRow(const Base &base) : Base(base) {}

    // Vectors of 8 samples, from row X to row X + 1 and from the real to the imaginary plane.
    static constexpr int NEXT_X = M / 8, IMAGINARY_PLANE = P / 8;
    // Of sample q, as Base::first_sample has them; `tiles` are those of the row.
    static DEVICE int vector(const Place &p, int q) { return Base::first_sample(p, q) / 8; }
    static DEVICE Word factor(const Place &p, const float2 *tiles, int q, int next)
    {
        const int x = 2 * (p.lane >> 3) + (A == 16 ? 8 * (q & 1) : 0) + next;
        return both(tiles[x * (M / TILE) + (A == 16 ? 2 * p.member + (q >> 1) : 4 * p.member + q)].x);
    }

    DEVICE void load(const Place &p, const uint4 *row, const float2 *tiles, Word (&re)[8][4], Word (&im)[8][4]) const
    {
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const uint4 *from = row + vector(p, q);
            const Word first = factor(p, tiles, q, 0), second = factor(p, tiles, q, 1);
#pragma unroll
            for (int part = 0; part < 2; part++) {
                const uint4 a = from[part * IMAGINARY_PLANE], b = from[part * IMAGINARY_PLANE + NEXT_X];
                const Word x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
                Word(&v)[8][4] = part ? im : re;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const Word low = multiply(x[j], first), high = multiply(y[j], second);
                    v[2 * j][q] = Base::to_operand_order(p, __byte_perm(low, high, 0x5410));
                    v[2 * j + 1][q] = Base::to_operand_order(p, __byte_perm(low, high, 0x7632));
                }
            }
        }
    }

    DEVICE void x_pass(const uint4 *row, const float2 *tiles) const
    {
        const Place p = this->place();
        Word address, imaginary_address;
        this->x_pass_addresses(p, address, imaginary_address);
        Word re[8][4], im[8][4]; // A = 16: q = 2 (unit) + X half; A = 8: units
        load(p, row, tiles, re, im);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const uint4 *matrices = p.x_matrices + j % R * 4 * 32;
            const Operand x_re(matrices), x_im(matrices + (A == 16 ? 32 : 0)); // A = 8: both parts in one
            Word out_re[4], out_im[4];
            if constexpr (A == 16) {
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    Result<PRECISE> x, y;
                    from_left(x.sum, x_re, re[j][2 * n], re[j][2 * n + 1]);
                    from_left(y.sum, x_im, re[j][2 * n], re[j][2 * n + 1]);
                    from_left(x.sum, x_im, negate_bits(im[j][2 * n]), negate_bits(im[j][2 * n + 1]));
                    from_left(y.sum, x_re, im[j][2 * n], im[j][2 * n + 1]);
                    out_re[2 * n] = x.word(0), out_re[2 * n + 1] = x.word(1);
                    out_im[2 * n] = y.word(0), out_im[2 * n + 1] = y.word(1);
                }
            } else {
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    Result<PRECISE> x;
                    from_left(x.sum, x_re, re[j][n], im[j][n]);
                    out_re[n] = x.word(0), out_im[n] = x.word(1);
                }
            }
            store_matrices<false>(address + j * COLUMN, out_re);
            store_matrices<false>(imaginary_address + j * COLUMN, out_im);
        }
    }

    // A = 16: real parts: re x_re + im x_negative_im; imaginary ones: im x_re - re x_negative_im. A = 8: each part by half
    // of the matrix, whose terms are real, then imaginary parts.
    DEVICE void inverse_x_pass(uint4 *row) const
    {
        const Place p = this->place();
        Word address, imaginary_address;
        this->x_pass_addresses(p, address, imaginary_address);
        this->group.barrier();
#pragma unroll
        for (int part = 0; part < 2; part++) {
            Word out[4][2][4]; // [q][X or X + 1], in memory order
#pragma unroll
            for (int pair = 0; pair < 4; pair++) {
                float y[2][4][2]; // [column of the pair][q][X or X + 1]
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    const int j = 2 * pair + k;
                    const uint4 *matrices = p.x_matrices + (j % R * 4 + 2) * 32;
                    const Operand x_re(matrices), x_negative_im(matrices + (A == 16 ? 32 : 0));
                    Word re[4], im[4];
                    load_matrices<true>(re, address + j * COLUMN);
                    load_matrices<true>(im, imaginary_address + j * COLUMN);
#pragma unroll
                    for (int i = 0; A == 16 && part && i < 4; i++) {
                        const Word kept = re[i];
                        re[i] = im[i], im[i] = negate_bits(kept);
                    }
#pragma unroll
                    for (int n = 0; n < 2; n++) {
                        Result<true> result;
                        if constexpr (A == 16) { // rows: units; columns: X half n
                            multiply_matrices(result.sum, re[0], re[2], re[1], re[3], x_re[2 * n], x_re[2 * n + 1]);
                            multiply_matrices(result.sum, im[0], im[2], im[1], im[3], x_negative_im[2 * n], x_negative_im[2 * n + 1]);
                        } else // rows: units 2n and 2n + 1
                            multiply_matrices(result.sum, re[2 * n], re[2 * n + 1], im[2 * n], im[2 * n + 1], x_re[2 * part], x_re[2 * part + 1]);
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            y[k][A == 16 ? 2 * (i >> 1) + n : 2 * n + (i >> 1)][i & 1] = result.sum[i];
                    }
                }
#pragma unroll
                for (int q = 0; q < 4; q++)
#pragma unroll
                    for (int x = 0; x < 2; x++)
                        out[q][x][pair] = Base::to_memory_order(p, pack_half(y[0][q][x], y[1][q][x]));
            }
#pragma unroll
            for (int q = 0; q < 4; q++)
#pragma unroll
                for (int x = 0; x < 2; x++)
                    row[part * IMAGINARY_PLANE + vector(p, q) + x * NEXT_X] =
                        make_uint4(out[q][x][0], out[q][x][1], out[q][x][2], out[q][x][3]);
        }
    }

    DEVICE void convolve(uint4 *row, const float2 *tiles, const uint4 *spectrum) const
    {
        x_pass(row, tiles);
        this->group.barrier();
        {
            const Place p = this->place();
#pragma unroll 1
            for (int i = 0; i < ROWS; i++) {
                const int k = p.member * ROWS + i;
                this->row_pass(p, k, spectrum + k * (M / 4) + p.lane);
            }
        }
        inverse_x_pass(row);
    }
};

// Rows of the group times `columns`, one on each A R / 8 warps at a time.
template <bool PRECISE, int A, int R> DEVICE void long_block_rows(const LongRows &a, int columns)
{
    typedef LongBlockRow<PRECISE, A, R> Warp;
    typedef BlockRows<A, R> Size;
    for (int i = threadIdx.x; i < Size::TABLES; i += blockDim.x)
        shared_memory[i] = static_cast<const uint4 *>(a.c.tables)[i];
    const Warp warp = block_row<Traits<__half, false, PRECISE>, A, R, Mode::Whole>();
    if (threadIdx.x == 0)
        *reinterpret_cast<volatile int *>(shared_memory + warp.zero_offset) = 0;
    __syncthreads();
    const int groups = blockDim.x / (32 * Size::WARPS);
#pragma unroll 1
    for (int number = warp.group.index * gridDim.x + blockIdx.x; number < a.rows * columns; number += gridDim.x * groups) {
        const int index = number / columns, k = number - index * columns, channel = (a.first + index) / a.c.batch;
        warp.convolve(static_cast<uint4 *>(a.workspace) + (size_t)number * (Warp::P / 4), a.tiles + (size_t)index * (Warp::P / TILE),
                      static_cast<const uint4 *>(a.c.spectrum) + ((size_t)channel * columns + k) * (Warp::P / 4));
    }
}
