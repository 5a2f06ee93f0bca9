// Experiment: causal convolution of rows of P = 128 = 16 x 8 samples, bf16: several batch rows of one channel on one warp, no shared memory.
// Loads and stores are 128-byte runs; movmatrix turns the loaded pairs (neighbouring Y) into pairs over X for the first product.
// warp rows: P = 256 R, one warp a row
#include "packed_half.cuh"
union V4 { uint4 v; u32 r[4]; };
DI void lds4(u32* r,const uint4* p){ V4 v; v.v=*p; r[0]=v.r[0];r[1]=v.r[1];r[2]=v.r[2];r[3]=v.r[3]; }
DI u32 movt(u32 a){ u32 d; asm("movmatrix.sync.aligned.m8n8.trans.b16 %0,%1;":"=r"(d):"r"(a)); return d; }
extern __shared__ uint4 sm[];
// P = 128 = 16 x 8: n = 8 X + Y. One warp: ROWS batch rows of one channel at a time.
// tables [8][32] uint4: 0 F1 re (A), 1 F1 im (A), 2 T (words: re rh0, re rh1, im rh0, im rh1), 3 G re-out B frag (2 words) + G im-out (2 words),
// 4 I1 stacked (A), 5 T2 (re rh0.., im..), 6 I2 re (A: M=X,K=kX), 7 -I2 im (A)
template<int ROWS,bool GATED>
__global__ void __launch_bounds__(128) conv128(const __nv_bfloat16* __restrict__ u,const __nv_bfloat16* __restrict__ gi,const __nv_bfloat16* __restrict__ go,
   __nv_bfloat16* __restrict__ y,const uint4* __restrict__ kf,const uint4* __restrict__ tab,int B,int Hn){
  const int lane=threadIdx.x&31, warp=threadIdx.x>>5;
  const int gw=blockIdx.x*4+warp; const int chunks=(B+ROWS-1)/ROWS; const int h=gw%Hn, c=gw/Hn; if(c>=chunks) return;
  const int b0=c*ROWS;
  u32 x[ROWS][2],zi_[ROWS][2],zo[ROWS][2];
  #pragma unroll
  for(int r=0;r<ROWS;r++){ const int b=b0+r<B?b0+r:B-1; const size_t o=((size_t)b*Hn+h)*64+lane;
    x[r][0]=__ldcs((const u32*)u+o); x[r][1]=__ldcs((const u32*)u+o+32);
    if(GATED){ zi_[r][0]=__ldcs((const u32*)gi+o); zi_[r][1]=__ldcs((const u32*)gi+o+32); zo[r][0]=__ldcs((const u32*)go+o); zo[r][1]=__ldcs((const u32*)go+o+32); } }
  u32 F1r[4],F1i[4],T[4],G[4],I1[4],T2[4],I2r[4],I2i[4],S[4];
  lds4(F1r,tab+lane); lds4(F1i,tab+32+lane); lds4(T,tab+64+lane); lds4(G,tab+96+lane); lds4(I1,tab+128+lane); lds4(T2,tab+160+lane); lds4(I2r,tab+192+lane); lds4(I2i,tab+224+lane);
  lds4(S,kf+(size_t)h*32+lane);
  #pragma unroll
  for(int r=0;r<ROWS;r++){
    u32 b[2];
    #pragma unroll
    for(int k=0;k<2;k++){ float f0=blo(x[r][k]),f1=bhi(x[r][k]); if(GATED){ f0*=blo(zi_[r][k]); f1*=bhi(zi_[r][k]); } b[k]=movt(pk(f0,f1)); }
    u32 cr[2]={},ci[2]={}; mma(cr,F1r[0],F1r[1],F1r[2],F1r[3],b[0],b[1]); mma(ci,F1i[0],F1i[1],F1i[2],F1i[3],b[0],b[1]);
    cm(cr[0],ci[0],T[0],T[2]); cm(cr[1],ci[1],T[1],T[3]);
    u32 dr[2]={},di[2]={}; mma(dr,cr[0],cr[1],ci[0],ci[1],G[0],G[1]); mma(di,cr[0],cr[1],ci[0],ci[1],G[2],G[3]);
    cm(dr[0],di[0],S[0],S[2]); cm(dr[1],di[1],S[1],S[3]);
    u32 e0[2]={},e1[2]={}; mma(e0,I1[0],I1[1],I1[2],I1[3],dr[0],di[0]); mma(e1,I1[0],I1[1],I1[2],I1[3],dr[1],di[1]); // e[0]=re Y=g, e[1]=im, columns kX = 2t (+8)
    cm(e0[0],e0[1],T2[0],T2[2]); cm(e1[0],e1[1],T2[1],T2[3]);
    float f[4]={0,0,0,0}; mmaf(f,I2r[0],I2r[1],I2r[2],I2r[3],e0[0],e1[0]); mmaf(f,I2i[0],I2i[1],I2i[2],I2i[3],e0[1],e1[1]);
    if(GATED){ f[0]*=blo(zo[r][0]); f[1]*=bhi(zo[r][0]); f[2]*=blo(zo[r][1]); f[3]*=bhi(zo[r][1]); }
    if(b0+r<B){ const size_t o=((size_t)(b0+r)*Hn+h)*64+lane; __stcs((u32*)y+o,pkb(f[0],f[1])); __stcs((u32*)y+o+32,pkb(f[2],f[3])); }
  }
}
#ifndef NROWS
#define NROWS 4
#endif
extern "C" int launch(const void* u,const void* gi,const void* go,void* y,const void* kf,const void* tab,int B,int Hn,int gated,int grid,void* st){
  auto k=gated?conv128<NROWS,true>:conv128<NROWS,false>; int warps=Hn*((B+NROWS-1)/NROWS);
  k<<<(warps+3)/4,128,0,(cudaStream_t)st>>>((const __nv_bfloat16*)u,(const __nv_bfloat16*)gi,(const __nv_bfloat16*)go,(__nv_bfloat16*)y,(const uint4*)kf,(const uint4*)tab,B,Hn);
  return (int)cudaGetLastError(); }
