#include "depthwise_kernels.cuh"

DEPTHWISE_FRAME_GRADIENTS(__half, f16, 4)
