#include "depthwise_kernels.cuh"

DEPTHWISE_FRAMES(__half, f16, 4)
