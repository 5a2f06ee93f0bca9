#include "depthwise_kernels.cuh"

DEPTHWISE_ROW_GRADIENTS(float, f32)
DEPTHWISE_MORE_ROW_GRADIENTS(float, f32)
