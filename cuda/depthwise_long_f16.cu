#include "depthwise_kernels.cuh"

DEPTHWISE_LONG(__half, f16)
DEPTHWISE_TOEPLITZ(__half, f16)
DEPTHWISE_TOEPLITZ_GRADIENTS(__half, f16)
