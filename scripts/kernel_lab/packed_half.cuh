// What the experiments share: tensor-core products, packed half arithmetic, butterflies over registers.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
typedef uint32_t u32;
#define DI __device__ __forceinline__
DI void mma(u32 (&d)[2], u32 a0,u32 a1,u32 a2,u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1},{%2,%3,%4,%5},{%6,%7},{%0,%1};"
    : "+r"(d[0]), "+r"(d[1]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
DI void mma8(u32 (&d)[2], u32 a0,u32 a1, u32 b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0,%1},{%2,%3},{%4},{%0,%1};"
    : "+r"(d[0]), "+r"(d[1]) : "r"(a0), "r"(a1), "r"(b0));
}
DI void mmaf(float (&d)[4], u32 a0,u32 a1,u32 a2,u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
DI u32 pk(float lo, float hi) { u32 r; asm("cvt.rn.f16x2.f32 %0,%1,%2;" : "=r"(r) : "f"(hi), "f"(lo)); return r; }
DI u32 pkb(float lo, float hi) { u32 r; asm("cvt.rn.bf16x2.f32 %0,%1,%2;" : "=r"(r) : "f"(hi), "f"(lo)); return r; }
DI float blo(u32 x) { return __uint_as_float(x << 16); }
DI float bhi(u32 x) { return __uint_as_float(x & 0xffff0000u); }
DI __half2 H(u32 x) { return *(__half2*)&x; }
DI u32 U(__half2 x) { return *(u32*)&x; }
DI u32 hadd(u32 a,u32 b){ return U(__hadd2(H(a),H(b))); }
DI u32 hsub(u32 a,u32 b){ return U(__hsub2(H(a),H(b))); }
DI u32 hmul(u32 a,u32 b){ return U(__hmul2(H(a),H(b))); }
DI u32 hfma(u32 a,u32 b,u32 c){ return U(__hfma2(H(a),H(b),H(c))); }
DI u32 hneg(u32 a){ return U(__hneg2(H(a))); }
DI void cm(u32& xr,u32& xi,u32 br,u32 bi){ u32 r=hfma(xr,br,hneg(hmul(xi,bi))), i=hfma(xr,bi,hmul(xi,br)); xr=r; xi=i; }
DI void cmc(u32& xr,u32& xi,u32 br,u32 bi){ u32 r=hfma(xr,br,hmul(xi,bi)), i=hfma(xi,br,hneg(hmul(xr,bi))); xr=r; xi=i; }
constexpr double PI=3.14159265358979323846;
constexpr double csn(double x){ double s=1,t=1; for(int k=1;k<20;k++){ t*=-x*x/((2*k-1)*(2*k)); s+=t;} return s; }
constexpr double snn(double x){ double s=x,t=x; for(int k=1;k<20;k++){ t*=-x*x/((2*k)*(2*k+1)); s+=t;} return s; }
DI u32 dup(float c){ return U(__float2half2_rn(c)); }
// multiply by exp(-+2 pi i m/R)
template<int R,int M,bool INV> DI void rot(u32& r,u32& i){
  if constexpr (M==0) return;
  else if constexpr (M*4==R){ u32 t=r; if(!INV){ r=i; i=hneg(t);} else { r=hneg(i); i=t; } }
  else if constexpr (M*8==R){ constexpr float cf=(float)csn(PI/4); u32 c=dup(cf); u32 a,b; if(!INV){ a=hadd(r,i); b=hsub(i,r);} else { a=hsub(r,i); b=hadd(r,i);} r=hmul(a,c); i=hmul(b,c); }
  else if constexpr (M*8==3*R){ constexpr float cf=(float)csn(PI/4); u32 c=dup(cf); u32 a,b; if(!INV){ a=hsub(i,r); b=hneg(hadd(r,i));} else { a=hneg(hadd(r,i)); b=hsub(r,i);} r=hmul(a,c); i=hmul(b,c); }
  else { constexpr float cf=(float)csn(2*PI*M/R), sf=(float)snn(2*PI*M/R); u32 c=dup(cf), s=dup(sf); if(!INV) cmc(r,i,c,s); else cm(r,i,c,s); }
}
template<int R,int S,int M> struct DifStep { static DI void go(u32* xr,u32* xi){ // size R sub-transform at offset S, element M
  u32 ar=xr[S+M],ai=xi[S+M],br=xr[S+M+R/2],bi=xi[S+M+R/2];
  xr[S+M]=hadd(ar,br); xi[S+M]=hadd(ai,bi); u32 dr=hsub(ar,br),di=hsub(ai,bi); rot<R,M,false>(dr,di); xr[S+M+R/2]=dr; xi[S+M+R/2]=di;
  if constexpr (M+1<R/2) DifStep<R,S,M+1>::go(xr,xi); } };
template<int R,int S,int M> struct DitStep { static DI void go(u32* xr,u32* xi){
  u32 ar=xr[S+M],ai=xi[S+M],br=xr[S+M+R/2],bi=xi[S+M+R/2]; rot<R,M,true>(br,bi);
  xr[S+M]=hadd(ar,br); xi[S+M]=hadd(ai,bi); xr[S+M+R/2]=hsub(ar,br); xi[S+M+R/2]=hsub(ai,bi);
  if constexpr (M+1<R/2) DitStep<R,S,M+1>::go(xr,xi); } };
template<int R,int S> DI void dif(u32* xr,u32* xi){ if constexpr (R>1){ DifStep<R,S,0>::go(xr,xi); dif<R/2,S>(xr,xi); dif<R/2,S+R/2>(xr,xi);} }
template<int R,int S> DI void dit(u32* xr,u32* xi){ if constexpr (R>1){ dit<R/2,S>(xr,xi); dit<R/2,S+R/2>(xr,xi); DitStep<R,S,0>::go(xr,xi);} }
