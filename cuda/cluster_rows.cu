// Kernels for aligned rows of up to 65536 and 131072 samples on clusters; see cluster_rows.cuh.
#if __CUDA_ARCH__ >= 900 // where there are clusters; long_rows.cu serves the rest
#include "cluster_rows.cuh"

#define KERNEL(NAME, T, GATED, SHAPE, MODE)                                                                               \
    extern "C" __global__ void __cluster_dims__(SHAPE::C, 1, 1) __launch_bounds__(SHAPE::THREADS, 1)                    \
        NAME(const __grid_constant__ Convolution c, Word *seen_of_rows)                                               \
    {                                                                                                                 \
        cluster_rows<Traits<T, GATED, false>, SHAPE, MODE>(c, seen_of_rows);                                                 \
    }

#define SIZE(POINTS, ROWS, BLOCKS, IN_FLIGHT)                                                                         \
    typedef ClusterRows<ROWS, BLOCKS, IN_FLIGHT> Shape##POINTS;                                                       \
    static_assert(Shape##POINTS::P == POINTS, "rows of 2048 points");                                                 \
    KERNEL(cluster_rows_p##POINTS##_bf16_plain_whole, __nv_bfloat16, false, Shape##POINTS, Mode::Whole)               \
    KERNEL(cluster_rows_p##POINTS##_bf16_plain_general, __nv_bfloat16, false, Shape##POINTS, Mode::General)           \
    KERNEL(cluster_rows_p##POINTS##_bf16_gated_whole, __nv_bfloat16, true, Shape##POINTS, Mode::Whole)                \
    KERNEL(cluster_rows_p##POINTS##_bf16_gated_general, __nv_bfloat16, true, Shape##POINTS, Mode::General)

// P, rows of 2048 points, blocks of a cluster, rows that it holds at a time
SIZE(65536, 32, 8, 3)
SIZE(131072, 64, 16, 3)
#endif
