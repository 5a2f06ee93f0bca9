// The rows of 2048 points that the columns of long_rows.cuh leave.
//
// Bound by latency, for spectra and for the workspace: 16 warps a multiprocessor by their 128 registers.
#pragma once
#include "column_transform.cuh"
#include "long_rows.cuh"

// Phase 2, M = 2048 = 256 R: a row on a warp. m = (16 X + Y) R + j; as in the second pass of block_rows.cuh.
template <bool PRECISE> DEVICE void long_rows_2048(const LongRows &a, int first_points)
{
    constexpr int R = 8, M = 256 * R, MATRICES = 8 * 32, INNER = 4 * 32, TWIDDLES = 2 * R * 32, TABLES = MATRICES + INNER + TWIDDLES;
    const uint4 *tables = static_cast<const uint4 *>(a.c.tables);
    for (int i = threadIdx.x; i < TABLES; i += blockDim.x)
        shared_memory[i] = tables[i];
    __syncthreads();
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    const uint4 *matrices = shared_memory + lane, *inner = matrices + MATRICES, *twiddles = inner + INNER;
    const bool scales = a.points == M; // of tiles have not been applied
    // This lane's units: X = 2t, Y = g; the n-th word of four: re or im, q, second half of its line
    uint4 *const lane_words = static_cast<uint4 *>(a.workspace) + 32 * t + g;
    const auto place = [](int n) { return (n >> 3) * (M / 8) + (n >> 1 & 1) * 128 + (n >> 2 & 1) * 8 + (n & 1) * 16; };
    const int total = a.rows * first_points, warps = gridDim.x * (blockDim.x / 32);
#pragma unroll 1
    for (int number = blockIdx.x * (blockDim.x / 32) + warp; number < total; number += warps) {
        const int index = number / first_points, k = number - index * first_points;
        const int channel = (a.first + index) / a.c.batch;
        const uint4 *spectrum =
            static_cast<const uint4 *>(a.c.spectrum) + ((size_t)channel * first_points + k) * (M / 4) + lane;
        uint4 *const row = lane_words + (size_t)number * (M / 4);
        const float2 tile = scales ? a.tiles[(size_t)index * 32 + lane] : make_float2(1, 0);
        Word z_re[R][4], z_im[R][4]; // q = 2 (Y half) + X half
        const auto take = [&](Word(&z)[R][4], int first) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const uint4 a = row[place(first + 2 * q)], b = row[place(first + 2 * q + 1)];
                const Word x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    z[2 * i][q] = __byte_perm(x[i], y[i], 0x5410);
                    z[2 * i + 1][q] = __byte_perm(x[i], y[i], 0x7632);
                }
            }
        };
        const auto give = [&](int first, const Word(&z)[R][4]) {
#pragma unroll
            for (int q = 0; q < 4; q++) {
                Word x[4], y[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    x[i] = __byte_perm(z[2 * i][q], z[2 * i + 1][q], 0x5410);
                    y[i] = __byte_perm(z[2 * i][q], z[2 * i + 1][q], 0x7632);
                }
                row[place(first + 2 * q)] = make_uint4(x[0], x[1], x[2], x[3]);
                row[place(first + 2 * q + 1)] = make_uint4(y[0], y[1], y[2], y[3]);
            }
        };
        take(z_re, 0);
        take(z_im, 8);
        if (scales) {
            float least = tile.x;
#pragma unroll
            for (int offset = 16; offset; offset >>= 1)
                least = fminf(least, __shfl_xor_sync(0xffffffffu, least, offset));
            float squares = tile.y * squared_ratio(least, tile.x);
#pragma unroll
            for (int offset = 16; offset; offset >>= 1)
                squares += __shfl_xor_sync(0xffffffffu, squares, offset);
            const int exponent = row_exponent(least, squares, M * first_points);
            if (k == 0 && lane == 0)
                a.unscale[index] = power_of_two(254 - exponent);
            const Word factor = both(power_of_two(127 + exponent - biased_exponent(tile.x)));
            // Words of four are of tile 4 t + 16 (q & 1) + (q >> 1), and of the second one after it.
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const int its = 4 * t + 16 * (q & 1) + (q >> 1);
                const Word low = __shfl_sync(0xffffffffu, factor, its), high = __shfl_sync(0xffffffffu, factor, its + 2);
                const Word both_tiles = __byte_perm(low, high, 0x5410);
#pragma unroll
                for (int j = 0; j < R; j++) {
                    z_re[j][q] = multiply(z_re[j][q], both_tiles);
                    z_im[j][q] = multiply(z_im[j][q], both_tiles);
                }
            }
        }
        {
            const Operand x_re(matrices), x_im(matrices + 32), y_re(matrices + 64), y_im(matrices + 96);
            const Operand twiddle_re(inner), twiddle_im(inner + 32);
#pragma unroll
            for (int j = 0; j < R; j++) {
                Result<PRECISE> c_re[2], c_im[2];
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(c_re[n].sum, x_re, z_re[j][2 * n], z_re[j][2 * n + 1]);
                    from_left(c_im[n].sum, x_im, z_re[j][2 * n], z_re[j][2 * n + 1]);
                }
#pragma unroll
                for (int n = 0; n < 2; n++) {
                    from_left(c_re[n].sum, x_im, negate_bits(z_im[j][2 * n]), negate_bits(z_im[j][2 * n + 1]));
                    from_left(c_im[n].sum, x_re, z_im[j][2 * n], z_im[j][2 * n + 1]);
                }
                twiddle(c_re, c_im, twiddle_re, twiddle_im);
                Result<PRECISE> d_re[2], d_im[2];
                complex_from_right(d_re, d_im, as_left(c_re), as_left(c_im), y_re, y_im, y_im.negative());
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    z_re[j][q] = d_re[q >> 1].word(q & 1);
                    z_im[j][q] = d_im[q >> 1].word(q & 1);
                }
            }
        }
#pragma unroll
        for (int q = 0; q < 4; q++) {
            Word re[R], im[R];
#pragma unroll
            for (int j = 0; j < R; j++)
                re[j] = z_re[j][q], im[j] = z_im[j][q];
            ColumnTransform<R, PRECISE>::apply(twiddles + q * (R / 2) * 32, spectrum + q * (R / 2) * 32, re, im);
#pragma unroll
            for (int j = 0; j < R; j++)
                z_re[j][q] = re[j], z_im[j][q] = im[j];
        }
        {
            const Operand y_re(matrices + 128), y_im(matrices + 160), x_re(matrices + 192), x_im(matrices + 224);
            const Operand twiddle_re(inner + 64), twiddle_im(inner + 96);
#pragma unroll
            for (int j = 0; j < R; j++) {
                Result<PRECISE> d_re[2], d_im[2]; // [k(X) half]: rows Y, columns k(X)
                complex_from_left(d_re, d_im, y_re, y_im, y_im.negative(), z_re[j], z_im[j]);
                twiddle(d_re, d_im, twiddle_re, twiddle_im);
                Result<PRECISE> e_re[2], e_im[2]; // [X half]: rows Y, columns X
                complex_from_right(e_re, e_im, as_left(d_re), as_left(d_im), x_re, x_im, x_im.negative());
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    z_re[j][q] = e_re[q & 1].word(q >> 1);
                    z_im[j][q] = e_im[q & 1].word(q >> 1);
                }
            }
        }
        give(0, z_re);
        give(8, z_im);
    }
}
