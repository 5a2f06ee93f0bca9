#include "depthwise_kernels.cuh"

DEPTHWISE_LONG(float, f32)
