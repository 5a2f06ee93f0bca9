// Kernels for rows of 32768 complex points between columns; see long_block_rows.cuh.
#include "long_block_rows.cuh"

#define KERNEL(NAME, PRECISE)                                                                                         \
    extern "C" __global__ void __launch_bounds__(512, 1) long_block_rows_##NAME(const __grid_constant__ LongRows a, int columns) \
    {                                                                                                                 \
        long_block_rows<PRECISE>(a, columns);                                                                         \
    }
KERNEL(fast, false)
KERNEL(precise, true)
