#include "depthwise_kernels.cuh"

DEPTHWISE_ROWS(__half, f16)
