// Columns of 16 points between those of long_columns.cuh and rows of 2048 points, and back, where the rows of 32768 points
// that the columns leave do not fit the shared memory: read once and written once for each.
//
// Bound by memory.
#pragma once
#include "long_tiles.cuh"

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
