#include "depthwise_kernels.cuh"

DEPTHWISE_LONG(float, f32)
DEPTHWISE_LONG_GRADIENTS(float, f32)
