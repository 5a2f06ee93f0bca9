// Kernels for rows of f32 in several passes, and for their spectra; see long_full_rows.cuh.
#include "long_full_rows.cuh"

#define COLUMNS(A)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(long_full::COLUMN_THREADS)                                           \
        long_full_columns_##A(const __grid_constant__ LongFullRows a)                                                 \
    {                                                                                                                 \
        long_full::columns<A>(a);                                                                                     \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(long_full::COLUMN_THREADS)                                           \
        long_full_inverse_columns_##A(const __grid_constant__ LongFullRows a)                                         \
    {                                                                                                                 \
        long_full::inverse_columns<A>(a);                                                                             \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(long_full::COLUMN_THREADS)                                           \
        long_full_tap_columns_##A(const __grid_constant__ LongFullRows a, const __grid_constant__ Taps taps)          \
    {                                                                                                                 \
        long_full::tap_columns<A>(a, taps);                                                                           \
    }
COLUMNS(2)
COLUMNS(4)
COLUMNS(8)
COLUMNS(16)
COLUMNS(32)
COLUMNS(64)

#define MIDDLE(NAME, INVERSE)                                                                                         \
    extern "C" __global__ void __launch_bounds__(long_full::COLUMN_THREADS)                                           \
        NAME(const __grid_constant__ LongFullRows a)                                                                  \
    {                                                                                                                 \
        long_full::middle_columns<INVERSE>(a);                                                                        \
    }
MIDDLE(long_full_middle, false)
MIDDLE(long_full_inverse_middle, true)

#define ROWS(NAME, CONJUGATED)                                                                                        \
    extern "C" __global__ void __launch_bounds__(long_full::Plan::THREADS, 2)                                         \
        NAME(const __grid_constant__ LongFullRows a)                                                                  \
    {                                                                                                                 \
        long_full::rows<CONJUGATED>(a);                                                                               \
    }
ROWS(long_full_rows, false)
ROWS(long_full_rows_transposed, true)

extern "C" __global__ void __launch_bounds__(long_full::Plan::THREADS, 2)
    long_full_spectrum(const __grid_constant__ LongFullRows a)
{
    long_full::spectrum_rows(a);
}
