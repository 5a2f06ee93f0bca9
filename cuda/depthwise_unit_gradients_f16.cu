#include "depthwise_kernels.cuh"

DEPTHWISE_UNIT_GRADIENTS(__half, f16)
