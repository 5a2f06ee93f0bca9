#include "depthwise_kernels.cuh"

DEPTHWISE_ROWS(float, f32)
