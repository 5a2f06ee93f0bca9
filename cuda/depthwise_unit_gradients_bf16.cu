#include "depthwise_kernels.cuh"

DEPTHWISE_UNIT_GRADIENTS(__nv_bfloat16, bf16)
