#include "depthwise_kernels.cuh"

DEPTHWISE_ROW_GRADIENTS(__nv_bfloat16, bf16)
