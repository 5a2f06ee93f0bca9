#include "depthwise_kernels.cuh"

DEPTHWISE_FRAME_GRADIENTS(float, f32, 2)
