// The kernels for more than 16 taps for one element type, by name, as
// `src/cuda/depthwise/recipe.rs` makes it.
#pragma once

#include "depthwise_long.cuh"
#include "depthwise_toeplitz.cuh"

#define DEPTHWISE_LONG(TYPE, NAME)                                                              \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS)                                  \
        depthwise_long_rows_##NAME(const __grid_constant__ Correlation c)                       \
    {                                                                                           \
        correlate_long_rows<TYPE>(c);                                                           \
    }                                                                                           \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS)                                  \
        depthwise_long_row_gradients_##NAME(const __grid_constant__ Gradient g)                 \
    {                                                                                           \
        long_row_gradients<TYPE>(g);                                                            \
    }

#define DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, TAPS, SUFFIX, SPLIT)                              \
    extern "C" __global__ void __launch_bounds__(32 * TOEPLITZ_WARPS)                           \
        depthwise_toeplitz_##TAPS##SUFFIX##_##NAME(const __grid_constant__ Correlation c)       \
    {                                                                                           \
        correlate_toeplitz<TYPE, TAPS, SPLIT>(c);                                               \
    }

#define DEPTHWISE_TOEPLITZ(TYPE, NAME)                                                          \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, 32, , false)                                          \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, 32, _split, true)                                     \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, 64, , false)                                          \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, 64, _split, true)                                     \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, 128, , false)                                         \
    DEPTHWISE_TOEPLITZ_KERNEL(TYPE, NAME, 128, _split, true)
