#include "depthwise_kernels.cuh"

DEPTHWISE_ROWS(float, f32)
DEPTHWISE_MORE_ROWS(float, f32)
