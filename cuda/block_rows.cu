// Kernels for rows of 2049 to 32768 samples; see block_rows.cuh.
#include "block_rows.cuh"

// A block holds as many rows in flight as it is launched with groups of warps, 16 warps at most.
#define KERNEL(NAME, T, GATED, PRECISE, MODE, A, R)                                                                   \
    extern "C" __global__ void __launch_bounds__(512, 1) NAME(const __grid_constant__ Convolution c)                  \
    {                                                                                                                 \
        block_rows<Traits<T, GATED, PRECISE>, A, R, Mode::MODE>(c);                                                   \
    }

// A size: points of the X pass and of the butterfly. `src/cuda/conv/recipe.rs` has the same lines.
#define SIZE(P, A, R)                                                                                                 \
    KERNEL(block_rows_p##P##_bf16_plain_whole, __nv_bfloat16, false, false, Whole, A, R)                              \
    KERNEL(block_rows_p##P##_bf16_plain_aligned, __nv_bfloat16, false, false, Aligned, A, R)                          \
    KERNEL(block_rows_p##P##_bf16_plain_general, __nv_bfloat16, false, false, General, A, R)                          \
    KERNEL(block_rows_p##P##_bf16_gated_whole, __nv_bfloat16, true, false, Whole, A, R)                               \
    KERNEL(block_rows_p##P##_bf16_gated_aligned, __nv_bfloat16, true, false, Aligned, A, R)                           \
    KERNEL(block_rows_p##P##_bf16_gated_general, __nv_bfloat16, true, false, General, A, R)                           \
    KERNEL(block_rows_p##P##_bf16_precise_plain_whole, __nv_bfloat16, false, true, Whole, A, R)                       \
    KERNEL(block_rows_p##P##_bf16_precise_plain_general, __nv_bfloat16, false, true, General, A, R)                   \
    KERNEL(block_rows_p##P##_bf16_precise_gated_whole, __nv_bfloat16, true, true, Whole, A, R)                        \
    KERNEL(block_rows_p##P##_bf16_precise_gated_general, __nv_bfloat16, true, true, General, A, R)                    \
    KERNEL(block_rows_p##P##_f16_plain_whole, __half, false, true, Whole, A, R)                                       \
    KERNEL(block_rows_p##P##_f16_plain_aligned, __half, false, true, Aligned, A, R)                                   \
    KERNEL(block_rows_p##P##_f16_plain_general, __half, false, true, General, A, R)                                   \
    KERNEL(block_rows_p##P##_f16_gated_whole, __half, true, true, Whole, A, R)                                        \
    KERNEL(block_rows_p##P##_f16_gated_aligned, __half, true, true, Aligned, A, R)                                    \
    KERNEL(block_rows_p##P##_f16_gated_general, __half, true, true, General, A, R)

SIZE(4096, 4, 4)
SIZE(8192, 8, 4)
SIZE(16384, 16, 4)
SIZE(32768, 16, 8)
