// Kernels for rows of 8192 to 32768 complex points between columns; see long_block_rows.cuh.
#include "long_block_rows.cuh"

#define KERNEL(NAME, PRECISE, A, R)                                                                                   \
    extern "C" __global__ void __launch_bounds__(512, 1)                                                              \
        long_block_rows_##A##_##R##_##NAME(const __grid_constant__ LongRows a, int columns)                           \
    {                                                                                                                 \
        long_block_rows<PRECISE, A, R>(a, columns);                                                                   \
    }
// Points of the X pass and of the butterfly. `src/cuda/conv/long_rows/recipe.rs` has the same lines.
#define SIZE(A, R)                                                                                                    \
    KERNEL(fast, false, A, R)                                                                                         \
    KERNEL(precise, true, A, R)

SIZE(8, 4)
SIZE(16, 4)
SIZE(16, 8)
