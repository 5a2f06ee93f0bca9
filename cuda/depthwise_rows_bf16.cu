#include "depthwise_kernels.cuh"

DEPTHWISE_ROWS(__nv_bfloat16, bf16)
