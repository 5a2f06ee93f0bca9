#include "depthwise_kernels.cuh"

DEPTHWISE_ROW_GRADIENTS(__half, f16)
