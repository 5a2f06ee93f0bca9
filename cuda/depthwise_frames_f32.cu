#include "depthwise_kernels.cuh"

DEPTHWISE_FRAMES(float, f32, 2)
