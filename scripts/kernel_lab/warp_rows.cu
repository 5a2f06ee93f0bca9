// Experiment: causal convolution of rows of P = 256 R samples, bf16, R = S C: one row on S = 1, 2 or 4 warps.
//
// n = (16 X + Y) R + j. A warp holds C columns j in registers (packed halves): X and Y are contracted by mma without
// any shuffle between, j by a butterfly over registers; spectrum; back the same way. S = 1 needs no shared memory for
// data and no barrier; S > 1 exchanges through shared memory around the butterfly (each warp owns 4/S of the slots).
//
// nvcc -arch=sm_90 -O3 --use_fast_math --expt-relaxed-constexpr -DSS=1 -DCC=8 -DWARPS=4 -DOCC=4
#include "packed_half.cuh"

union V4 { uint4 v; u32 r[4]; };
// R samples (2R bytes) as words
template<int R> struct Words { u32 w[R/2]; };
template<int R> DI void ldw(u32* w,const __nv_bfloat16* p){
  if constexpr (R>=8){
    #pragma unroll
    for(int i=0;i<R/8;i++){ V4 x; x.v=__ldcs((const uint4*)p+i); for(int k=0;k<4;k++) w[4*i+k]=x.r[k]; } }
  else if constexpr (R==4){ uint2 x=__ldcs((const uint2*)p); w[0]=x.x; w[1]=x.y; }
  else w[0]=__ldcs((const u32*)p);
}
template<int R> DI void stw(__nv_bfloat16* p,const u32* w){
  if constexpr (R>=8){
    #pragma unroll
    for(int i=0;i<R/8;i++){ V4 x; for(int k=0;k<4;k++) x.r[k]=w[4*i+k]; __stcs((uint4*)p+i,x.v);} }
  else if constexpr (R==4) __stcs((uint2*)p,make_uint2(w[0],w[1]));
  else __stcs((u32*)p,w[0]);
}

// R-point DFT over (e, j'), spectrum, inverse. Index j = C*(e^w)+j'. The DIF over the top digit(s) first:
// butterflies over e: inputs x[e] hold source e^w. Radix-2 stage on a bit of e: (a,b) = bit clear/set; if w's bit is set they are swapped.
// a+b is symmetric; (a-b) changes sign; the following twiddle depends on j' only. So the sign is folded: outputs of the difference get a factor -1 when w's bit is set
// (for both stages), undone in the inverse the same way: sign cancels against the spectrum product (linear): forward sign s, inverse sign s -> 1.
// So no correction at all is needed except twiddles of the second stage: index M = C*e0+j' for S=4 (e = 2 e1 + e0).
template<int S,int C> DI void mid(u32* xr,u32* xi,const uint4* rt,const uint4* kp);
template<int R,int C,int E1> DI void spec(u32* xr,u32* xi,const uint4* kp){
  #pragma unroll
  for(int i=0;i<R/4;i++){ V4 a,c; a.v=__ldg(kp+(2*i)*32); c.v=__ldg(kp+(2*i+1)*32);
    #pragma unroll
    for(int k=0;k<4;k++) cm(xr[4*i+k],xi[4*i+k],a.r[k],c.r[k]); }
}
template<int S,int C> DI void mid(u32* xr,u32* xi,const uint4* rt,const uint4* kp){
  constexpr int R=S*C;
  if constexpr(S<=1){ dif<R,0>(xr,xi);
    if constexpr(R>=4) spec<R,C,0>(xr,xi,kp); else { V4 a; a.v=__ldg(kp); for(int k=0;k<2;k++) cm(xr[k],xi[k],a.r[k],a.r[2+k]); }
    dit<R,0>(xr,xi); }
  else if constexpr(S==2) { dif<R,0>(xr,xi); spec<R,C,0>(xr,xi,kp); dit<R,0>(xr,xi); }
  else { // S==4: first level with twiddles that depend on the warp's low bit
    #pragma unroll
    for(int i=0;i<R/8;i++){ V4 c,d; c.v=rt[2*i]; d.v=rt[2*i+1];
      #pragma unroll
      for(int k=0;k<4;k++){ const int m=4*i+k; u32 ar=xr[m],ai=xi[m],br=xr[m+R/2],bi=xi[m+R/2]; xr[m]=hadd(ar,br); xi[m]=hadd(ai,bi); u32 dr=hsub(ar,br),di=hsub(ai,bi); cm(dr,di,c.r[k],d.r[k]); xr[m+R/2]=dr; xi[m+R/2]=di; } }
    dif<R/2,0>(xr,xi); dif<R/2,R/2>(xr,xi);
    spec<R,C,0>(xr,xi,kp);
    dit<R/2,0>(xr,xi); dit<R/2,R/2>(xr,xi);
    #pragma unroll
    for(int i=0;i<R/8;i++){ V4 c,d; c.v=rt[2*i]; d.v=rt[2*i+1];
      #pragma unroll
      for(int k=0;k<4;k++){ const int m=4*i+k; u32 br=xr[m+R/2],bi=xi[m+R/2]; cmc(br,bi,c.r[k],d.r[k]); u32 ar=xr[m],ai=xi[m]; xr[m]=hadd(ar,br); xi[m]=hadd(ai,bi); xr[m+R/2]=hsub(ar,br); xi[m+R/2]=hsub(ai,bi); } }
  }
}
#define FENCE asm volatile("":::"memory");
extern __shared__ uint4 sm[];
#ifndef WARPS
#define WARPS 16
#endif
// S warps a row, C columns a warp, R = C*S columns. Shared: lc [S][14][32], tw [4][R/2][32], ex [groups][4 src.. ] (S>1)
template<int S,int C,bool GATED>
__global__ void __launch_bounds__(32*WARPS, OCC) conv(const __nv_bfloat16* __restrict__ u,const __nv_bfloat16* __restrict__ gi,const __nv_bfloat16* __restrict__ go,
   __nv_bfloat16* __restrict__ y,const uint4* __restrict__ kf,const uint4* __restrict__ lanec,const uint4* __restrict__ twt,int B,int Hn,int rows){
  constexpr int R=C*S, P=256*R, TU=2*R, GR=WARPS/S, Q=4/S; // Q slots owned
  const int lane=threadIdx.x&31, warp=threadIdx.x>>5, g=lane>>2, t=lane&3, w=warp%S, grp=warp/S;
  uint4* lc=sm; uint4* tw=sm+S*14*32; uint4* rt=tw+TU*32; uint4* ex=rt+16+ (S>1? grp*(S*4*(C/2)*32):0);
  for(int i=threadIdx.x;i<S*14*32;i+=32*WARPS) lc[i]=lanec[i];
  for(int i=threadIdx.x;i<TU*32;i+=32*WARPS) tw[i]=twt[i];
  __syncthreads();
  if(S==4) for(int i=threadIdx.x;i<16;i+=32*WARPS) rt[i]=twt[TU*32+i];
  __syncthreads(); lc+=lane+w*14*32; tw+=lane; ex+=lane;
  #define LD(name,slot) V4 name; name.v=lc[(slot)*32];
  #define BAR asm volatile("bar.sync %0, %1;"::"r"(grp+1),"n"(32*S):"memory");
  const int chunks=(B+rows*GR-1)/(rows*GR);
  for(int item=blockIdx.x;item<Hn*chunks;item+=gridDim.x){
    const int h=item/chunks, b0=(item%chunks)*rows*GR+grp;
    for(int it=0;it<rows;it++){
      const int b=b0+it*GR; if(b>=B) break;
      const size_t off=((size_t)b*Hn+h)*P+w*C;
      u32 zr[C][4], zi[C][4];
      constexpr int Ystep = (R<=4)?1:8; const int Y0=(R<=4)?2*g:g;
      {
        u32 x[C][4];
        #pragma unroll
        for(int nt=0;nt<2;nt++)
        #pragma unroll
        for(int kb=0;kb<2;kb++){
          const size_t o=off+(size_t)((16*(2*t+8*kb)+Y0+Ystep*nt)*R);
          u32 a[C/2],c[C/2]; ldw<C>(a,u+o); ldw<C>(c,u+o+16*R);
          if(GATED){ u32 ga[C/2],gc[C/2]; ldw<C>(ga,gi+o); ldw<C>(gc,gi+o+16*R);
            #pragma unroll
            for(int j=0;j<C/2;j++){ x[2*j][nt*2+kb]=pk(blo(a[j])*blo(ga[j]),blo(c[j])*blo(gc[j])); x[2*j+1][nt*2+kb]=pk(bhi(a[j])*bhi(ga[j]),bhi(c[j])*bhi(gc[j])); }
          } else {
            #pragma unroll
            for(int j=0;j<C/2;j++){ x[2*j][nt*2+kb]=pk(blo(a[j]),blo(c[j])); x[2*j+1][nt*2+kb]=pk(bhi(a[j]),bhi(c[j])); }
          }
        }
        FENCE LD(F1r,0) LD(F1i,1) LD(Tr,2) LD(Ti,3) LD(Gr,4) LD(Gi,5) LD(Gn,6)
        #pragma unroll
        for(int j=0;j<C;j++){
          u32 cr[2][2]={},ci[2][2]={};
          #pragma unroll
          for(int nt=0;nt<2;nt++){ mma(cr[nt],F1r.r[0],F1r.r[1],F1r.r[2],F1r.r[3],x[j][nt*2],x[j][nt*2+1]); mma(ci[nt],F1i.r[0],F1i.r[1],F1i.r[2],F1i.r[3],x[j][nt*2],x[j][nt*2+1]); }
          #pragma unroll
          for(int q=0;q<4;q++) cm(cr[q>>1][q&1],ci[q>>1][q&1],Tr.r[q],Ti.r[q]);
          u32 dr[2][2]={},di[2][2]={};
          #pragma unroll
          for(int n=0;n<2;n++){ mma(dr[n],cr[0][0],cr[0][1],cr[1][0],cr[1][1],Gr.r[2*n],Gr.r[2*n+1]); mma(di[n],cr[0][0],cr[0][1],cr[1][0],cr[1][1],Gi.r[2*n],Gi.r[2*n+1]); }
          #pragma unroll
          for(int n=0;n<2;n++){ mma(dr[n],ci[0][0],ci[0][1],ci[1][0],ci[1][1],Gn.r[2*n],Gn.r[2*n+1]); mma(di[n],ci[0][0],ci[0][1],ci[1][0],ci[1][1],Gr.r[2*n],Gr.r[2*n+1]); }
          #pragma unroll
          for(int q=0;q<4;q++){ zr[j][q]=dr[q>>1][q&1]; zi[j][q]=di[q>>1][q&1]; }
        }
      }
      // exchange: static slot q (bits rh=q&1, nn=q>>1); owner of slot q is warp w ^ owner(q)
      // ex region [src warp][slot q][C/2 uint4: re then im]
      if constexpr(S>1){
        #pragma unroll
        for(int q=0;q<4;q++){ const int own=(S==2)?(q&1):q; if(own==0) continue;
          #pragma unroll
          for(int i=0;i<C/4;i++){ ex[((w*4+q)*(C/2)+i)*32]=make_uint4(zr[4*i][q],zr[4*i+1][q],zr[4*i+2][q],zr[4*i+3][q]); ex[((w*4+q)*(C/2)+C/4+i)*32]=make_uint4(zi[4*i][q],zi[4*i+1][q],zi[4*i+2][q],zi[4*i+3][q]); }
        }
        BAR
      }
      const uint4* kh=kf+(size_t)h*TU*32+lane;
      #pragma unroll
      for(int qq=0;qq<Q;qq++){
        // own static slot: S==1: qq ; S==2: q=2*qq (rh=0) ; S==4: 0
        const int q=(S==1)?qq:(S==2)?2*qq:0;
        // physical slot of static slot q for warp w
        const int ph=(S==1)?q:(S==2)?(q|w):w;
        u32 xr[R],xi[R];
        // gather: x index j = C*src+j'. src = w ^ e, static e: own e=0 at position... positions are dynamic in w, so keep x ordered by e and let tables follow
        #pragma unroll
        for(int e=0;e<S;e++){
          if(e==0){
            #pragma unroll
            for(int j=0;j<C;j++){ xr[j]=zr[j][q]; xi[j]=zi[j][q]; }
          } else { const int src=w^e; const int sq=(S==2)?(q|1):e; // slot number in src's static numbering
            #pragma unroll
            for(int i=0;i<C/4;i++){ V4 a,c; a.v=ex[((src*4+sq)*(C/2)+i)*32]; c.v=ex[((src*4+sq)*(C/2)+C/4+i)*32];
              #pragma unroll
              for(int k=0;k<4;k++){ xr[C*e+4*i+k]=a.r[k]; xi[C*e+4*i+k]=c.r[k]; } }
          }
        }
        // twiddle (table order by e for each physical slot)
        const uint4* twq=tw+ph*(R/2)*32;
        #pragma unroll
        for(int e=0;e<R/C;e++) 
        #pragma unroll
        for(int i=0;i<(C+3)/4;i++){ 
          if constexpr(C>=4){ V4 a,c; a.v=twq[(e*(C/2)+i)*32]; c.v=twq[(e*(C/2)+C/4+i)*32];
          #pragma unroll
          for(int k=0;k<4;k++) { if(S==1&&e==0&&i==0&&k==0) continue; cm(xr[C*e+4*i+k],xi[C*e+4*i+k],a.r[k],c.r[k]); } }
          else { V4 a; a.v=twq[0]; cm(xr[1],xi[1],a.r[1],a.r[3]); }
        }
        // R-point DFT over j = C*(w^e)+j'. First across e with the sign pattern of w: the e digit is XORed by w, i.e. a butterfly whose inputs are swapped when the bit of w is set.
        mid<S,C>(xr,xi,rt+(w&1)*8,kh+ph*(R/2)*32);
        #pragma unroll
        for(int e=0;e<R/C;e++) 
        #pragma unroll
        for(int i=0;i<(C+3)/4;i++){ 
          if constexpr(C>=4){ V4 a,c; a.v=twq[(e*(C/2)+i)*32]; c.v=twq[(e*(C/2)+C/4+i)*32];
          #pragma unroll
          for(int k=0;k<4;k++) { if(S==1&&e==0&&i==0&&k==0) continue; cmc(xr[C*e+4*i+k],xi[C*e+4*i+k],a.r[k],c.r[k]); } }
          else { V4 a; a.v=twq[0]; cmc(xr[1],xi[1],a.r[1],a.r[3]); }
        }
        #pragma unroll
        for(int e=0;e<S;e++){
          if(e==0){
            #pragma unroll
            for(int j=0;j<C;j++){ zr[j][q]=xr[j]; zi[j][q]=xi[j]; }
          } else { const int src=w^e; const int sq=(S==2)?(q|1):e;
            #pragma unroll
            for(int i=0;i<C/4;i++){ ex[((src*4+sq)*(C/2)+i)*32]=make_uint4(xr[C*e+4*i],xr[C*e+4*i+1],xr[C*e+4*i+2],xr[C*e+4*i+3]); ex[((src*4+sq)*(C/2)+C/4+i)*32]=make_uint4(xi[C*e+4*i],xi[C*e+4*i+1],xi[C*e+4*i+2],xi[C*e+4*i+3]); }
          }
        }
      }
      if constexpr(S>1){
        BAR
        #pragma unroll
        for(int q=0;q<4;q++){ const int own=(S==2)?(q&1):q; if(own==0) continue;
          #pragma unroll
          for(int i=0;i<C/4;i++){ V4 a,c; a.v=ex[((w*4+q)*(C/2)+i)*32]; c.v=ex[((w*4+q)*(C/2)+C/4+i)*32];
            #pragma unroll
            for(int k=0;k<4;k++){ zr[4*i+k][q]=a.r[k]; zi[4*i+k][q]=c.r[k]; } }
        }
      }
      u32 ov[4][2][C/2]; // gates, then outputs
      if(GATED){
        #pragma unroll
        for(int nt=0;nt<2;nt++)
        #pragma unroll
        for(int kb=0;kb<2;kb++){
          const size_t o=off+(size_t)((16*(2*t+8*kb)+Y0+Ystep*nt)*R);
          ldw<C>(ov[nt*2+kb][0],go+o); ldw<C>(ov[nt*2+kb][1],go+o+16*R);
        }
      }
      {
        FENCE LD(I1r,7) LD(I1i,8) LD(I1n,9) LD(Tr,10) LD(Ti,11) LD(I2r,12) LD(I2n,13)
        #pragma unroll
        for(int j2=0;j2<C/2;j2++){
          float e[2][2][4]; // [j&1][nx][..]
          #pragma unroll
          for(int jj=0;jj<2;jj++){ const int j=2*j2+jj;
          u32 dr[2][2]={},di[2][2]={}; // [rh][mh]
          #pragma unroll
          for(int rh=0;rh<2;rh++){ mma(dr[rh],I1r.r[0],I1r.r[1],I1r.r[2],I1r.r[3],zr[j][rh],zr[j][2+rh]); mma(di[rh],I1i.r[0],I1i.r[1],I1i.r[2],I1i.r[3],zr[j][rh],zr[j][2+rh]); }
          #pragma unroll
          for(int rh=0;rh<2;rh++){ mma(dr[rh],I1n.r[0],I1n.r[1],I1n.r[2],I1n.r[3],zi[j][rh],zi[j][2+rh]); mma(di[rh],I1r.r[0],I1r.r[1],I1r.r[2],I1r.r[3],zi[j][rh],zi[j][2+rh]); }
          #pragma unroll
          for(int q=0;q<4;q++) cm(dr[q>>1][q&1],di[q>>1][q&1],Tr.r[q],Ti.r[q]);
          #pragma unroll
          for(int n=0;n<2;n++){ for(int k=0;k<4;k++) e[jj][n][k]=0.f; mmaf(e[jj][n],dr[0][0],dr[0][1],dr[1][0],dr[1][1],I2r.r[2*n],I2r.r[2*n+1]); }
          #pragma unroll
          for(int n=0;n<2;n++) mmaf(e[jj][n],di[0][0],di[0][1],di[1][0],di[1][1],I2n.r[2*n],I2n.r[2*n+1]);
          }
          #pragma unroll
          for(int mh=0;mh<2;mh++)
          #pragma unroll
          for(int nx=0;nx<2;nx++)
          #pragma unroll
          for(int lo=0;lo<2;lo++){ float f0=e[0][nx][mh*2+lo],f1=e[1][nx][mh*2+lo];
            if(GATED){ u32 z=ov[mh*2+nx][lo][j2]; f0*=blo(z); f1*=bhi(z); }
            ov[mh*2+nx][lo][j2]=pkb(f0,f1); }
        }
      }
      #pragma unroll
      for(int nt=0;nt<2;nt++)
      #pragma unroll
      for(int kb=0;kb<2;kb++){
        const size_t ob=off+(size_t)((16*(2*t+8*kb)+Y0+Ystep*nt)*R);
        stw<C>(y+ob,ov[nt*2+kb][0]); stw<C>(y+ob+16*R,ov[nt*2+kb][1]);
      }
    }
  }
}
template<int S,int C> int go_(const void* u,const void* gi,const void* go,void* y,const void* kf,const void* lc,const void* tw,int B,int Hn,int rows,int gated,int grid,void* st){
  constexpr int R=S*C; size_t smem=(S*14*32+2*R*32+16+(S>1?WARPS/S*S*4*(C/2)*32:0))*16; auto k=gated?conv<S,C,true>:conv<S,C,false>;
  cudaError_t er=cudaFuncSetAttribute(k,cudaFuncAttributeMaxDynamicSharedMemorySize,smem); if(er) return er;
  int nb; cudaOccupancyMaxActiveBlocksPerMultiprocessor(&nb,k,32*WARPS,smem);
  int GR=WARPS/S; int items=Hn*((B+rows*GR-1)/(rows*GR)); int gr=grid*nb; if(gr>items) gr=items;
  k<<<gr,32*WARPS,smem,(cudaStream_t)st>>>((const __nv_bfloat16*)u,(const __nv_bfloat16*)gi,(const __nv_bfloat16*)go,(__nv_bfloat16*)y,(const uint4*)kf,(const uint4*)lc,(const uint4*)tw,B,Hn,rows);
  return (int)cudaGetLastError();
}
extern "C" int launch(const void* u,const void* gi,const void* go,void* y,const void* kf,const void* lc,const void* tw,int B,int Hn,int rows,int gated,int grid,void* st){
  return go_<SS,CC>(u,gi,go,y,kf,lc,tw,B,Hn,rows,gated,grid,st); }
