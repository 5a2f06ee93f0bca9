// What blocks of a cluster (compute capability 9.0) and their copies need: addresses in one another's shared memory,
// barriers that count arrivals and bytes, asynchronous copies; and constant matrices from shared memory.
#pragma once
#include "async_copy.cuh"
#include "barriers.cuh"
#include "row_stages.cuh"

extern __shared__ __align__(1024) uint4 shared_memory[];
template <typename V> DEVICE V *shared_at(int byte) { return reinterpret_cast<V *>(reinterpret_cast<char *>(shared_memory) + byte); }

// The address of the same thing in another block of the cluster.
DEVICE Word in_block(Word address, Word rank)
{
    Word mapped;
    asm("mapa.shared::cluster.u32 %0,%1,%2;" : "=r"(mapped) : "r"(address), "r"(rank));
    return mapped;
}
DEVICE Word rank_in_cluster()
{
    Word rank;
    asm("mov.u32 %0,%%cluster_ctarank;" : "=r"(rank));
    return rank;
}
DEVICE void cluster_barrier() { asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory"); }
DEVICE void barrier_arrive(Word barrier, int expected_bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;" ::"r"(barrier), "r"(expected_bytes) : "memory");
}
DEVICE void barrier_arrive_in_cluster(Word barrier)
{
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _,[%0];" ::"r"(barrier) : "memory");
}
// Copies shared memory of this block to that of another one, whose `barrier` counts the bytes.
DEVICE void send(Word to, Word from, int bytes, Word barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];" ::"r"(to),
                 "r"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}
// Before `send`, by those who wrote what is sent.
DEVICE void written_to_be_sent()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
}
DEVICE void copies_done()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncwarp();
}
// A constant matrix of four 8 x 8 blocks, as a left operand (or, transposed, a right one). Not volatile: may be moved.
template <bool TRANSPOSED> DEVICE Operand constant_matrix(Word address)
{
    Operand m;
    if (TRANSPOSED)
        asm("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(m.w[0]), "=r"(m.w[1]), "=r"(m.w[2]), "=r"(m.w[3]) : "r"(address));
    else
        asm("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(m.w[0]), "=r"(m.w[1]), "=r"(m.w[2]), "=r"(m.w[3]) : "r"(address));
    return m;
}
