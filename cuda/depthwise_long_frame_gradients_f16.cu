#include "depthwise_kernels.cuh"

DEPTHWISE_LONG_FRAME_GRADIENTS(__half, f16)
