// Kernels for rows of 16384 and 32768 complex points between columns; see long_block_rows.cuh.
#include "long_block_rows.cuh"

#define KERNEL(NAME, PRECISE, R)                                                                                      \
    extern "C" __global__ void __launch_bounds__(512, 1) long_block_rows_##R##_##NAME(const __grid_constant__ LongRows a, int columns) \
    {                                                                                                                 \
        long_block_rows<PRECISE, R>(a, columns);                                                                      \
    }
KERNEL(fast, false, 4)
KERNEL(precise, true, 4)
KERNEL(fast, false, 8)
KERNEL(precise, true, 8)
