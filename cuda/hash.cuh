// A bijection of 32-bit words that spreads every input bit over the output.
#pragma once

__device__ inline unsigned int hash(unsigned int word)
{
    word = (word ^ (word >> 16)) * 0x9E3779B1u;
    word = (word ^ (word >> 15)) * 0x85EBCA77u;
    return word ^ (word >> 16);
}
