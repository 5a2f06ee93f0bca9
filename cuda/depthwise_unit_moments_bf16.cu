#include "depthwise_kernels.cuh"

DEPTHWISE_UNIT_MOMENTS(__nv_bfloat16, bf16)
