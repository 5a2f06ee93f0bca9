#include "depthwise_kernels.cuh"

DEPTHWISE_TOEPLITZ_FRAMES(__nv_bfloat16, bf16)
