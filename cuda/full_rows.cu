// Kernels for rows of f32 of up to 16384 samples, and for their spectra; see full_rows.cuh.
#include "full_rows.cuh"

#define CONVOLUTION(NAME, P, CONJUGATED)                                                                 \
    extern "C" __global__ void __launch_bounds__(FullRows<P>::BLOCK, FullRows<P>::BLOCKS)                \
        NAME(const __grid_constant__ Convolution c, int output_length)                                   \
    {                                                                                                    \
        full_rows<P, CONJUGATED>(c, output_length);                                                      \
    }

// A size: the convolution, its transpose, and their spectrum. src/cuda/conv/full_rows.rs has the same sizes.
#define SIZE(P)                                                                                          \
    CONVOLUTION(full_rows_p##P, P, false)                                                                \
    CONVOLUTION(full_rows_p##P##_transposed, P, true)                                                    \
    extern "C" __global__ void __launch_bounds__(FullRows<P>::BLOCK)                                     \
        spectrum_full_p##P(const __grid_constant__ Taps taps, float *values)                             \
    {                                                                                                    \
        full_spectrum<P>(taps, values);                                                                  \
    }

SIZE(64)
SIZE(128)
SIZE(256)
SIZE(512)
SIZE(1024)
SIZE(2048)
SIZE(4096)
SIZE(8192)
SIZE(16384)
