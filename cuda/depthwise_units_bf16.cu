#include "depthwise_kernels.cuh"

DEPTHWISE_UNITS(__nv_bfloat16, bf16)
