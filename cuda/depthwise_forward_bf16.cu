#include "depthwise_forward.cuh"

DEPTHWISE_FORWARD(__nv_bfloat16, bf16)
