// Kernels for rows of up to 256 samples; see tile_rows.cuh.
#include "tile_rows.cuh"

constexpr int WARPS = 4;

#define KERNEL(NAME, T, GATED, PRECISE, MODE, NY, ROWS)                                                               \
    extern "C" __global__ void __launch_bounds__(32 * WARPS) NAME(const __grid_constant__ Convolution c)              \
    {                                                                                                                 \
        tile_rows<Traits<T, GATED, PRECISE>, NY, ROWS, WARPS, Mode::MODE>(c);                                         \
    }

// A size: points of Y, rows of a warp without and with gates. `src/cuda/conv/recipe.rs` has the same lines.
#define SIZE(P, NY, ROWS, GATED_ROWS)                                                                                 \
    KERNEL(tile_rows_p##P##_bf16_plain_whole, __nv_bfloat16, false, false, Whole, NY, ROWS)                           \
    KERNEL(tile_rows_p##P##_bf16_plain_general, __nv_bfloat16, false, false, General, NY, ROWS)                       \
    KERNEL(tile_rows_p##P##_bf16_gated_whole, __nv_bfloat16, true, false, Whole, NY, GATED_ROWS)                      \
    KERNEL(tile_rows_p##P##_bf16_gated_general, __nv_bfloat16, true, false, General, NY, GATED_ROWS)                  \
    KERNEL(tile_rows_p##P##_bf16_precise_plain_whole, __nv_bfloat16, false, true, Whole, NY, ROWS)                    \
    KERNEL(tile_rows_p##P##_bf16_precise_plain_general, __nv_bfloat16, false, true, General, NY, ROWS)                \
    KERNEL(tile_rows_p##P##_bf16_precise_gated_whole, __nv_bfloat16, true, true, Whole, NY, GATED_ROWS)               \
    KERNEL(tile_rows_p##P##_bf16_precise_gated_general, __nv_bfloat16, true, true, General, NY, GATED_ROWS)           \
    KERNEL(tile_rows_p##P##_f16_plain_whole, __half, false, true, Whole, NY, ROWS)                                    \
    KERNEL(tile_rows_p##P##_f16_plain_general, __half, false, true, General, NY, ROWS)                                \
    KERNEL(tile_rows_p##P##_f16_gated_whole, __half, true, true, Whole, NY, GATED_ROWS)                               \
    KERNEL(tile_rows_p##P##_f16_gated_general, __half, true, true, General, NY, GATED_ROWS)

SIZE(128, 8, 8, 4)
SIZE(256, 16, 4, 2)
