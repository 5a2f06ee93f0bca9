// Kernels for rows beyond what the chip holds; see long_rows.cuh.
#include "long_columns.cuh"
#include "long_inverse_columns.cuh"
#include "long_last_rows.cuh"
#include "long_middle_columns.cuh"

#define COLUMNS(NAME, T, GATED, PRECISE, MODE, B, BLOCKS)                                                             \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) long_columns_##B##_##NAME(const __grid_constant__ LongRows a) \
    {                                                                                                                 \
        long_columns<Traits<T, GATED, PRECISE>, B, Mode::MODE>(a);                                                    \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS)                                                         \
        long_inverse_columns_##B##_##NAME(const __grid_constant__ LongRows a)                                         \
    {                                                                                                                 \
        long_inverse_columns<Traits<T, GATED, PRECISE>, B, Mode::MODE>(a);                                            \
    }
#define VARIANT(NAME, T, GATED, PRECISE, MODE)                                                                        \
    COLUMNS(NAME, T, GATED, PRECISE, MODE, 2, 5)                                                                      \
    COLUMNS(NAME, T, GATED, PRECISE, MODE, 4, 4)                                                                      \
    COLUMNS(NAME, T, GATED, PRECISE, MODE, 8, 2)                                                                      \
    COLUMNS(NAME, T, GATED, PRECISE, MODE, 16, 2)
VARIANT(bf16_plain_whole, __nv_bfloat16, false, false, Whole)
VARIANT(bf16_plain_general, __nv_bfloat16, false, false, General)
VARIANT(bf16_gated_whole, __nv_bfloat16, true, false, Whole)
VARIANT(bf16_gated_general, __nv_bfloat16, true, false, General)
VARIANT(bf16_precise_plain_whole, __nv_bfloat16, false, true, Whole)
VARIANT(bf16_precise_plain_general, __nv_bfloat16, false, true, General)
VARIANT(bf16_precise_gated_whole, __nv_bfloat16, true, true, Whole)
VARIANT(bf16_precise_gated_general, __nv_bfloat16, true, true, General)
VARIANT(f16_plain_whole, __half, false, true, Whole)
VARIANT(f16_plain_general, __half, false, true, General)
VARIANT(f16_gated_whole, __half, true, true, Whole)
VARIANT(f16_gated_general, __half, true, true, General)

#define ROWS(NAME, PRECISE)                                                                                           \
    extern "C" __global__ void __launch_bounds__(128, PRECISE ? 3 : 4)                                                \
        long_rows_2048_##NAME(const __grid_constant__ LongRows a, int first_points)                                   \
    {                                                                                                                 \
        long_rows_2048<PRECISE>(a, first_points);                                                                     \
    }
ROWS(fast, false)
ROWS(precise, true)

extern "C" __global__ void __launch_bounds__(256) long_scales(const __grid_constant__ LongRows a, int size)
{
    long_row_scales(a, size);
}

#define MIDDLE(NAME, INVERSE, PRECISE)                                                                                \
    extern "C" __global__ void __launch_bounds__(256, 6) NAME(const __grid_constant__ LongRows a, int first_points)      \
    {                                                                                                                 \
        long_middle_columns<INVERSE, PRECISE>(a, first_points);                                                       \
    }
MIDDLE(long_middle_fast, false, false)
MIDDLE(long_middle_precise, false, true)
MIDDLE(long_inverse_middle_fast, true, false)
MIDDLE(long_inverse_middle_precise, true, true)
