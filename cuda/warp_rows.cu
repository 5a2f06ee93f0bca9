// Kernels for rows of 257 to 2048 samples; see warp_rows.cuh.
#include "warp_rows.cuh"

#define KERNEL(NAME, T, GATED, PRECISE, MODE, R, WARPS, BLOCKS)                                                       \
    extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS) NAME(const __grid_constant__ Convolution c)      \
    {                                                                                                                 \
        warp_rows<Traits<T, GATED, PRECISE>, R, Mode::MODE>(c);                                                       \
    }

// A size: columns of a row; warps of a block and blocks of a multiprocessor.
// `src/cuda/conv/recipe.rs` has the same lines.
#define SIZE(P, R, WARPS, BLOCKS)                                                                                     \
    KERNEL(warp_rows_p##P##_bf16_plain_whole, __nv_bfloat16, false, false, Whole, R, WARPS, BLOCKS)                   \
    KERNEL(warp_rows_p##P##_bf16_plain_aligned, __nv_bfloat16, false, false, Aligned, R, WARPS, BLOCKS)               \
    KERNEL(warp_rows_p##P##_bf16_plain_general, __nv_bfloat16, false, false, General, R, WARPS, BLOCKS)               \
    KERNEL(warp_rows_p##P##_bf16_gated_whole, __nv_bfloat16, true, false, Whole, R, WARPS, BLOCKS)                    \
    KERNEL(warp_rows_p##P##_bf16_gated_aligned, __nv_bfloat16, true, false, Aligned, R, WARPS, BLOCKS)                \
    KERNEL(warp_rows_p##P##_bf16_gated_general, __nv_bfloat16, true, false, General, R, WARPS, BLOCKS)                \
    KERNEL(warp_rows_p##P##_bf16_precise_plain_whole, __nv_bfloat16, false, true, Whole, R, WARPS, BLOCKS)            \
    KERNEL(warp_rows_p##P##_bf16_precise_plain_general, __nv_bfloat16, false, true, General, R, WARPS, BLOCKS)        \
    KERNEL(warp_rows_p##P##_bf16_precise_gated_whole, __nv_bfloat16, true, true, Whole, R, WARPS, BLOCKS)             \
    KERNEL(warp_rows_p##P##_bf16_precise_gated_general, __nv_bfloat16, true, true, General, R, WARPS, BLOCKS)         \
    KERNEL(warp_rows_p##P##_f16_plain_whole, __half, false, true, Whole, R, WARPS, BLOCKS)                            \
    KERNEL(warp_rows_p##P##_f16_plain_aligned, __half, false, true, Aligned, R, WARPS, BLOCKS)                        \
    KERNEL(warp_rows_p##P##_f16_plain_general, __half, false, true, General, R, WARPS, BLOCKS)                        \
    KERNEL(warp_rows_p##P##_f16_gated_whole, __half, true, true, Whole, R, WARPS, BLOCKS)                             \
    KERNEL(warp_rows_p##P##_f16_gated_aligned, __half, true, true, Aligned, R, WARPS, BLOCKS)                         \
    KERNEL(warp_rows_p##P##_f16_gated_general, __half, true, true, General, R, WARPS, BLOCKS)

SIZE(512, 2, 4, 5)
SIZE(1024, 4, 4, 4)
SIZE(2048, 8, 4, 4)
