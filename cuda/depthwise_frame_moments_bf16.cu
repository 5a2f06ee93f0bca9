#include "depthwise_kernels.cuh"

DEPTHWISE_FRAME_MOMENTS(__nv_bfloat16, bf16)
