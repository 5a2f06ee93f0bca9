#include "depthwise_kernels.cuh"

DEPTHWISE_LONG_FRAME_GRADIENTS(__nv_bfloat16, bf16)
