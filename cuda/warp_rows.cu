// Kernels for rows of 257 to 4096 samples; see warp_rows.cuh.
#include "warp_rows.cuh"

#define KERNEL(NAME, T, GATED, PRECISE, MODE, S, C, WARPS, BLOCKS)                                                    \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) NAME(const __grid_constant__ Convolution c)      \
    {                                                                                                                 \
        warp_rows<Traits<T, GATED, PRECISE>, S, C, Mode::MODE>(c);                                                    \
    }

// A size: warps of a row and columns of a warp; at most so many warps a block and blocks a multiprocessor.
// `src/cuda/conv/recipe.rs` has the same lines.
#define SIZE(P, S, C, WARPS, BLOCKS)                                                                                  \
    KERNEL(warp_rows_p##P##_bf16_plain_whole, __nv_bfloat16, false, false, Whole, S, C, WARPS, BLOCKS)                \
    KERNEL(warp_rows_p##P##_bf16_plain_general, __nv_bfloat16, false, false, General, S, C, WARPS, BLOCKS)            \
    KERNEL(warp_rows_p##P##_bf16_gated_whole, __nv_bfloat16, true, false, Whole, S, C, WARPS, BLOCKS)                 \
    KERNEL(warp_rows_p##P##_bf16_gated_general, __nv_bfloat16, true, false, General, S, C, WARPS, BLOCKS)             \
    KERNEL(warp_rows_p##P##_bf16_precise_plain_whole, __nv_bfloat16, false, true, Whole, S, C, WARPS, BLOCKS)         \
    KERNEL(warp_rows_p##P##_bf16_precise_plain_general, __nv_bfloat16, false, true, General, S, C, WARPS, BLOCKS)     \
    KERNEL(warp_rows_p##P##_bf16_precise_gated_whole, __nv_bfloat16, true, true, Whole, S, C, WARPS, BLOCKS)          \
    KERNEL(warp_rows_p##P##_bf16_precise_gated_general, __nv_bfloat16, true, true, General, S, C, WARPS, BLOCKS)      \
    KERNEL(warp_rows_p##P##_f16_plain_whole, __half, false, true, Whole, S, C, WARPS, BLOCKS)                         \
    KERNEL(warp_rows_p##P##_f16_plain_general, __half, false, true, General, S, C, WARPS, BLOCKS)                     \
    KERNEL(warp_rows_p##P##_f16_gated_whole, __half, true, true, Whole, S, C, WARPS, BLOCKS)                          \
    KERNEL(warp_rows_p##P##_f16_gated_general, __half, true, true, General, S, C, WARPS, BLOCKS)

SIZE(512, 1, 2, 4, 5)
SIZE(1024, 1, 4, 4, 4)
SIZE(2048, 1, 8, 4, 4)
SIZE(4096, 2, 8, 16, 1)
