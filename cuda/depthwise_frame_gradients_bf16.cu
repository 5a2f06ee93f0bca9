#include "depthwise_kernels.cuh"

DEPTHWISE_FRAME_GRADIENTS(__nv_bfloat16, bf16, 4)
