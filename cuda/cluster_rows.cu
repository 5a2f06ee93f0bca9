// Kernels for aligned rows of up to 65536 samples, or of some segments of so many, on clusters; see cluster_rows.cuh.
#if __CUDA_ARCH__ >= 900 // where there are clusters; long_rows.cu serves the rest
#include "cluster_rows.cuh"

// P, rows of 2048 points, blocks of a cluster, rows that it holds at a time
typedef ClusterRows<32, 8, 3> Shape;
static_assert(Shape::P == 65536, "rows of 2048 points");

#define KERNEL(NAME, SEGMENTED, T, GATED, MODE)                                                                       \
    extern "C" __global__ void __cluster_dims__(Shape::C, 1, 1) __launch_bounds__(Shape::THREADS, 1)                  \
        NAME(const __grid_constant__ Convolution c, Word *seen_of_rows, int segments, uint4 *kept)                    \
    {                                                                                                                 \
        cluster_rows<Traits<T, GATED, false>, Shape, MODE, SEGMENTED>(c, seen_of_rows, segments, kept);               \
    }
#define VARIANT(NAME, SEGMENTED)                                                                                      \
    KERNEL(NAME##_bf16_plain_whole, SEGMENTED, __nv_bfloat16, false, Mode::Whole)                                     \
    KERNEL(NAME##_bf16_plain_general, SEGMENTED, __nv_bfloat16, false, Mode::General)                                 \
    KERNEL(NAME##_bf16_gated_whole, SEGMENTED, __nv_bfloat16, true, Mode::Whole)                                      \
    KERNEL(NAME##_bf16_gated_general, SEGMENTED, __nv_bfloat16, true, Mode::General)

VARIANT(cluster_rows, false)
VARIANT(cluster_segments, true)
#endif
