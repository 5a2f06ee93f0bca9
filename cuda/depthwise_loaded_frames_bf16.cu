#include "depthwise_kernels.cuh"

DEPTHWISE_LOADED_FRAMES(__nv_bfloat16, bf16)
