// Copies of tensors whose last two dimensions change places: y[b, c, r] = x[b, r, c], y contiguous, rows of x too.
//
// A block takes a tile of 64 x 64 elements of 16 bits, or 32 x 32 of 32, through shared memory: a warp reads and writes
// lines of 128 bytes, by words of two elements where all rows allow it. In shared memory words of two elements at
// neighbouring r lie at [c][(r / 2) ^ (c / 2)], so that the lanes of a warp, at neighbouring c when they write and at
// neighbouring r when they read, are in different banks; elements of 32 bits lie at a pitch of 33 words instead.
//
// Bound by memory.
#include <stdint.h>

// The same as `Arguments` in `src/cuda/transposition/launch.rs`; strides in elements.
struct Transposition {
    const void *x;
    void *y;
    long long batch_stride, row_stride;
    int rows, columns;
};

constexpr int WARPS = 8;

// The first row and column of the block's tile; neighbouring blocks are neighbours along a row.
struct Place {
    int row, column;
    __device__ Place(const Transposition &a, int tile)
    {
        const int across = (a.columns + tile - 1) / tile, down = blockIdx.x / across;
        row = down * tile, column = (blockIdx.x - down * across) * tile;
    }
};

// Of two elements, the first in the low half. WORDS: both are there, at a multiple of 4 bytes.
template <bool WORDS> __device__ uint32_t load_pair(const uint16_t *x, int first, int end)
{
    if (WORDS) return first < end ? __ldcs(reinterpret_cast<const uint32_t *>(x + first)) : 0;
    const uint32_t low = first < end ? __ldcs(x + first) : 0, high = first + 1 < end ? __ldcs(x + first + 1) : 0;
    return low | high << 16;
}

template <bool WORDS> __device__ void store_pair(uint16_t *y, int first, int end, uint32_t pair)
{
    if (WORDS) {
        if (first < end) *reinterpret_cast<uint32_t *>(y + first) = pair;
    } else {
        if (first < end) y[first] = static_cast<uint16_t>(pair);
        if (first + 1 < end) y[first + 1] = static_cast<uint16_t>(pair >> 16);
    }
}

template <bool WORDS> __device__ void transpose_16(const Transposition &a)
{
    constexpr int TILE = 64, PAIRS = TILE / 2, TURNS = PAIRS / WARPS;
    __shared__ uint32_t tile[TILE][PAIRS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const Place place(a, TILE);
    const uint16_t *x = static_cast<const uint16_t *>(a.x) + blockIdx.z * a.batch_stride;
    uint16_t *y = static_cast<uint16_t *>(a.y) + static_cast<long long>(blockIdx.z) * a.rows * a.columns;

    uint32_t upper[TURNS], lower[TURNS];
#pragma unroll
    for (int i = 0; i < TURNS; i++) {
        const int row = place.row + 2 * (warp + WARPS * i), column = place.column + 2 * lane;
        const uint16_t *const from = x + row * a.row_stride;
        upper[i] = row < a.rows ? load_pair<WORDS>(from, column, a.columns) : 0;
        lower[i] = row + 1 < a.rows ? load_pair<WORDS>(from + a.row_stride, column, a.columns) : 0;
    }
#pragma unroll
    for (int i = 0; i < TURNS; i++) {
        const int pair = warp + WARPS * i;
        tile[2 * lane][pair ^ lane] = __byte_perm(upper[i], lower[i], 0x5410);
        tile[2 * lane + 1][pair ^ lane] = __byte_perm(upper[i], lower[i], 0x7632);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILE / WARPS; i++) {
        const int column = warp + WARPS * i;
        if (place.column + column < a.columns) {
            uint16_t *const to = y + static_cast<long long>(place.column + column) * a.rows;
            store_pair<WORDS>(to, place.row + 2 * lane, a.rows, tile[column][lane ^ column / 2]);
        }
    }
}

__device__ void transpose_32(const Transposition &a)
{
    constexpr int TILE = 32, TURNS = TILE / WARPS;
    __shared__ uint32_t tile[TILE][TILE + 1];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const Place place(a, TILE);
    const uint32_t *x = static_cast<const uint32_t *>(a.x) + blockIdx.z * a.batch_stride + place.column + lane;
    uint32_t *y = static_cast<uint32_t *>(a.y) + static_cast<long long>(blockIdx.z) * a.rows * a.columns + place.row + lane;

    uint32_t samples[TURNS];
#pragma unroll
    for (int i = 0; i < TURNS; i++) {
        const int row = place.row + warp + WARPS * i;
        const bool inside = row < a.rows && place.column + lane < a.columns;
        samples[i] = inside ? __ldcs(x + row * a.row_stride) : 0;
    }
#pragma unroll
    for (int i = 0; i < TURNS; i++) tile[lane][warp + WARPS * i] = samples[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TURNS; i++) {
        const int column = warp + WARPS * i;
        if (place.column + column < a.columns && place.row + lane < a.rows)
            y[static_cast<long long>(place.column + column) * a.rows] = tile[column][lane];
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS) transposition_16_words(const __grid_constant__ Transposition a)
{
    transpose_16<true>(a);
}
extern "C" __global__ void __launch_bounds__(32 * WARPS) transposition_16(const __grid_constant__ Transposition a)
{
    transpose_16<false>(a);
}
extern "C" __global__ void __launch_bounds__(32 * WARPS) transposition_32(const __grid_constant__ Transposition a)
{
    transpose_32(a);
}
