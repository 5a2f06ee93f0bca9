#include "depthwise_kernels.cuh"

DEPTHWISE_FRAME_MOMENTS(__half, f16)
