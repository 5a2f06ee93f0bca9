#include "depthwise_backward.cuh"

DEPTHWISE_BACKWARD(__half, f16)
