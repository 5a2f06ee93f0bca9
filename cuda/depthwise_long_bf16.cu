#include "depthwise_kernels.cuh"

DEPTHWISE_LONG(__nv_bfloat16, bf16)
DEPTHWISE_TOEPLITZ(__nv_bfloat16, bf16)
DEPTHWISE_TOEPLITZ_GRADIENTS(__nv_bfloat16, bf16)
