#include "depthwise_backward.cuh"

DEPTHWISE_BACKWARD(__nv_bfloat16, bf16)
