#include "depthwise_kernels.cuh"

DEPTHWISE_FRAMES(__nv_bfloat16, bf16, 4)
