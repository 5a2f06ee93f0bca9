// Kernels for rows of f32 of up to 16384 samples, and for their spectra; see full_rows.cuh.
#include "full_rows.cuh"

#define CONVOLUTION(NAME, SHAPE, CONJUGATED)                                                             \
    extern "C" __global__ void __launch_bounds__(SHAPE::BLOCK, SHAPE::BLOCKS)                            \
        NAME(const __grid_constant__ Convolution c, int output_length)                                   \
    {                                                                                                    \
        full_rows<SHAPE, CONJUGATED>(c, output_length);                                                  \
    }

// A size and the points of a thread: the convolution, its transpose, and their spectrum.
// src/cuda/conv/full_rows/recipe.rs has the same lines.
#define SIZE(P, POINTS)                                                                                  \
    using Shape##P = FullRows<P, POINTS>;                                                                \
    CONVOLUTION(full_rows_p##P, Shape##P, false)                                                         \
    CONVOLUTION(full_rows_p##P##_transposed, Shape##P, true)                                             \
    extern "C" __global__ void __launch_bounds__(Shape##P::BLOCK)                                        \
        spectrum_full_p##P(const __grid_constant__ Taps taps, float *values)                             \
    {                                                                                                    \
        full_spectrum<Shape##P>(taps, values);                                                           \
    }

SIZE(64, 16)
SIZE(128, 16)
SIZE(256, 16)
SIZE(512, 32)
SIZE(1024, 32)
SIZE(2048, 16)
SIZE(4096, 16)
SIZE(8192, 32)
SIZE(16384, 32)
