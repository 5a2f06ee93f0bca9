#include "depthwise_kernels.cuh"

DEPTHWISE_TOEPLITZ_FRAMES(__half, f16)
