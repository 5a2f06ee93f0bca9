// A word of 32 bits, functions of the device, and addresses of shared memory.
#pragma once
#include <stdint.h>

typedef uint32_t Word;
#define DEVICE __device__ __forceinline__

DEVICE Word shared_address(const void *p) { return (Word)__cvta_generic_to_shared(p); }
