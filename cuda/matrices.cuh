// Matrices of 8 by 8 elements of 16 bits from shared memory to the registers that the tensor cores read.
#pragma once
#include "word.cuh"

// Four of them; lane 8 m + r gives the address of row r of matrix m (16 bytes).
template <bool TRANSPOSED> DEVICE void load_matrices(Word (&m)[4], Word address)
{
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];"
                     : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];"
                     : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                     : "r"(address)
                     : "memory");
}

// Two of them; the upper half of the lanes gives no addresses.
template <bool TRANSPOSED> DEVICE void load_matrices(Word (&m)[2], Word address)
{
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1},[%2];"
                     : "=r"(m[0]), "=r"(m[1])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1},[%2];"
                     : "=r"(m[0]), "=r"(m[1])
                     : "r"(address)
                     : "memory");
}

template <bool TRANSPOSED, int COUNT> DEVICE void load_matrices(Word (&m)[COUNT], const uint4 *row)
{
    load_matrices<TRANSPOSED>(m, shared_address(row));
}
