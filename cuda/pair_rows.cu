// Kernels for whole rows of 16384 and 32768 samples on clusters of two blocks; see pair_rows.cuh.
#if __CUDA_ARCH__ >= 900 // where there are clusters; block_rows.cu serves the rest
#include "pair_rows.cuh"

#define KERNEL(NAME, T, GATED, R)                                                                                     \
    extern "C" __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(512, 1)                                    \
        NAME(const __grid_constant__ Convolution c)                                                                   \
    {                                                                                                                 \
        pair_rows<Traits<T, GATED, false>, R>(c);                                                                     \
    }

#define SIZE(P, R)                                                                                                    \
    KERNEL(pair_rows_p##P##_bf16_plain_whole, __nv_bfloat16, false, R)                                                \
    KERNEL(pair_rows_p##P##_bf16_gated_whole, __nv_bfloat16, true, R)

SIZE(16384, 4)
SIZE(32768, 8)
#endif
