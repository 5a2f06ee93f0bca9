// Experiment: causal convolution of rows of P = A * 256 R samples, bf16, one row on A*R/8 warps.
//
// Right-angle form: y = Re(w^-n IFFT_P(FFT_P(v w^n) K)). n = X M + m with M = 256 R, and m = (16 X' + Y') R + j'.
// 1. X pass: contract X (mma, real input), lanes hold 8 neighbouring samples: global accesses are 128-byte runs.
// 2. exchange through shared memory (ldmatrix/stmatrix, XOR swizzle), one barrier.
// 3. row pass: a warp transforms rows kX of M points in registers: X', Y' by mma, j' by a butterfly; spectrum; back.
// 4. exchange, one barrier, inverse X pass, gate, store.
// The twiddle w_P^(kX m) costs nothing: its digits are folded into the DFT matrices (of X per j', of X' and Y' per kX).
//
// nvcc -arch=sm_90 -O3 --use_fast_math --expt-relaxed-constexpr -DAA=16 -DRR=8 -DWARPS=16 -DOCC=1
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


#define FENCE asm volatile("":::"memory");
DI u32 saddr(const void* p){ return (u32)__cvta_generic_to_shared(p); }
DI void ldm(u32* r,u32 a){ asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];":"=r"(r[0]),"=r"(r[1]),"=r"(r[2]),"=r"(r[3]):"r"(a):"memory"); }
DI void ldmt(u32* r,u32 a){ asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];":"=r"(r[0]),"=r"(r[1]),"=r"(r[2]),"=r"(r[3]):"r"(a):"memory"); }
DI void stm(u32 a,const u32* r){ asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0],{%1,%2,%3,%4};"::"r"(a),"r"(r[0]),"r"(r[1]),"r"(r[2]),"r"(r[3]):"memory"); }
DI void stmt(u32 a,const u32* r){ asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0],{%1,%2,%3,%4};"::"r"(a),"r"(r[0]),"r"(r[1]),"r"(r[2]),"r"(r[3]):"memory"); }
DI u32 neg(u32 x){ return x^0x80008000u; }
DI void lds4(u32* r,const uint4* p){ V4 v; v.v=*p; r[0]=v.r[0];r[1]=v.r[1];r[2]=v.r[2];r[3]=v.r[3]; }

#ifndef WARPS
#define WARPS 16
#endif
extern __shared__ __align__(1024) uint4 sm[];
// P = A * 256 R. Row kX of M = 256R points per (A values). NW = A*R/8 warps a row, 64 packed registers each.
// shared: p1 [R][4 units][32] (A=16: F1 re,im, I re,-im ; A=8: F1 stacked (2 words used), -, I stacked, -)
//         px [A][8 units][32] (F' re,im; G' re,im; I1' re,im; I2' re,im) | T [4][32] | tw [4][R/2][32] | ex [groups][P/4]
template<int A,int R> struct L { static constexpr int M=256*R,P=A*M,NW=A*R/8,GR=WARPS/NW,P1=R*4*32,PX=A*8*32,TT=4*32,TW=2*R*32,EX=P/4; static constexpr size_t bytes=(size_t)(P1+PX+TT+TW+GR*EX+1)*16; };
template<int A,int R,bool GATED>
__global__ void __launch_bounds__(32*WARPS, OCC) conv(const __nv_bfloat16* __restrict__ u,const __nv_bfloat16* __restrict__ gi,const __nv_bfloat16* __restrict__ go,
   __nv_bfloat16* __restrict__ y,const uint4* __restrict__ kf,const uint4* __restrict__ tab,int B_,int Hn){
  using T_=L<A,R>; constexpr int M=T_::M,P=T_::P,NW=T_::NW,GR=T_::GR, TL=A/NW, GT=(A==16)?2:4; // GT group tiles of 8 a warp
  const int lane0=threadIdx.x&31, warp=threadIdx.x>>5, w0=warp%NW, grp=warp/NW;
  constexpr int TABS=T_::P1+T_::PX+T_::TT+T_::TW;
  for(int i=threadIdx.x;i<TABS;i+=32*WARPS) sm[i]=tab[i];
  __syncthreads();
  volatile int* zero=(volatile int*)(sm+TABS+GR*T_::EX); if(threadIdx.x==0) *zero=0;
  __syncthreads();
  // per-phase recomputation of addresses through an opaque zero, so that the compiler does not keep them alive (and spill them) over the whole row
  #define LANE int lane=lane0,w=w0; { const int z=*zero; lane+=z; w+=z; } const int g=lane>>2,t=lane&3; (void)g;(void)t; \
    const uint4* p1=sm+lane; const uint4* px=sm+T_::P1+lane; const uint4* tt=px+T_::PX; const uint4* tw=tt+T_::TT; (void)p1;(void)px;(void)tt;(void)tw;
  #define KX1 ((A==16)?(lane&7)+8*((lane>>3)&1):(lane&7))
  #define U1 ((A==16)?2*w+(lane>>4):4*w+(lane>>3))
  #define A1 (exb+KX1*(4*M)+((U1^(KX1&7)^((U1>>3)&1))<<4))
  #define OQ(q) (A==16? (2*t+8*((q)&1))*M+(16*w+g+8*((q)>>1))*8 : (2*t)*M+(32*w+g+8*(q))*8)
  const u32 exb=saddr(sm+TABS+grp*T_::EX);
  #define BAR asm volatile("bar.sync %0, %1;"::"r"(grp+1),"n"(32*NW):"memory");
  // address of (kX, c, jj, unit u): kX*4M + c*2M + jj*64R + ((u ^ (kX&7) ^ ((u>>3)&1))<<4)
  const long long total=(long long)Hn*B_; const int nb=gridDim.x;
  const int r0=(int)(total*blockIdx.x/nb), r1=(int)(total*(blockIdx.x+1)/nb);
  for(int r=r0+grp;r<r1;r+=GR){
      const int h=r/B_, b=r-h*B_;
      const size_t off=((size_t)b*Hn+h)*P;
      {
        LANE const u32 a1=A1; const __nv_bfloat16 *ur=u+off,*gr=gi+off;
        u32 x[8][4]; // A=16: [jj][nt*2+kb] ; A=8: [jj][nt]
        #pragma unroll
        for(int q=0;q<4;q++){
          const int o=OQ(q);
          u32 a[4],c[4]; ldw<8>(a,ur+o); ldw<8>(c,ur+o+M);
          if(GATED){ u32 ga[4],gc[4]; ldw<8>(ga,gr+o); ldw<8>(gc,gr+o+M);
            #pragma unroll
            for(int j=0;j<4;j++){ x[2*j][q]=pk(blo(a[j])*blo(ga[j]),blo(c[j])*blo(gc[j])); x[2*j+1][q]=pk(bhi(a[j])*bhi(ga[j]),bhi(c[j])*bhi(gc[j])); }
          } else {
            #pragma unroll
            for(int j=0;j<4;j++){ x[2*j][q]=pk(blo(a[j]),blo(c[j])); x[2*j+1][q]=pk(bhi(a[j]),bhi(c[j])); }
          }
        }
        #pragma unroll
        for(int jp=0;jp<R;jp++){
          u32 Fr[4],Fi[4]; lds4(Fr,p1+(jp*4)*32); if(A==16) lds4(Fi,p1+(jp*4+1)*32);
          #pragma unroll
          for(int jj=jp;jj<8;jj+=R){
            u32 dr[4]={},di[4]={};
            if constexpr(A==16){
              #pragma unroll
              for(int nt=0;nt<2;nt++){ mma(*(u32(*)[2])&dr[2*nt],Fr[0],Fr[1],Fr[2],Fr[3],x[jj][nt*2],x[jj][nt*2+1]); mma(*(u32(*)[2])&di[2*nt],Fi[0],Fi[1],Fi[2],Fi[3],x[jj][nt*2],x[jj][nt*2+1]); }
            } else {
              #pragma unroll
              for(int nt=0;nt<4;nt++){ u32 d[2]={}; mma8(d,Fr[0],Fr[1],x[jj][nt]); dr[nt]=d[0]; di[nt]=d[1]; }
            }
            stm(a1+jj*(64*R),dr); stm(a1+2*M+jj*(64*R),di);
          }
        }
      }
      BAR
      {
      LANE
      #pragma unroll 1
      for(int tl=0;tl<TL;tl++){
        const int kX=w*TL+tl; const uint4* pk_=px+kX*8*32;
        const uint4* kh=kf+((size_t)h*A+kX)*(2*R*32)+lane;
        // matrices (kb,nt): lane l: m=l>>3: kb=m&1, nt=m>>1 ; X'=(l&7)+8kb ; R=8: u=2X'+nt, jj=j' ; R=4: u=X', jj=nt*4+j'
        const int Xp=(lane&7)+8*((lane>>3)&1), nt_=lane>>4; const int uu=(R==8)?2*Xp+nt_:Xp;
        const u32 a2=exb+kX*(4*M)+((uu^(kX&7)^((uu>>3)&1))<<4)+((R==4)?nt_*(4*64*R):0);
        u32 zr[R][4],zi[R][4];
        {
          u32 Fr[4],Fi[4],Gr[4],Gi[4],Tr[4],Ti[4];
          lds4(Fr,pk_); lds4(Fi,pk_+32); lds4(Gr,pk_+64); lds4(Gi,pk_+96); lds4(Tr,tt); lds4(Ti,tt+32);
          #pragma unroll
          for(int j=0;j<R;j++){
            u32 a[4],c[4]; ldmt(a,a2+j*(64*R)); ldmt(c,a2+2*M+j*(64*R)); // [nt*2+kb]
            u32 cr[2][2]={},ci[2][2]={};
            #pragma unroll
            for(int nt=0;nt<2;nt++){ mma(cr[nt],Fr[0],Fr[1],Fr[2],Fr[3],a[nt*2],a[nt*2+1]); mma(ci[nt],Fi[0],Fi[1],Fi[2],Fi[3],a[nt*2],a[nt*2+1]); }
            #pragma unroll
            for(int nt=0;nt<2;nt++){ mma(cr[nt],Fi[0],Fi[1],Fi[2],Fi[3],neg(c[nt*2]),neg(c[nt*2+1])); mma(ci[nt],Fr[0],Fr[1],Fr[2],Fr[3],c[nt*2],c[nt*2+1]); }
            #pragma unroll
            for(int q=0;q<4;q++) cm(cr[q>>1][q&1],ci[q>>1][q&1],Tr[q],Ti[q]);
            u32 dr[2][2]={},di[2][2]={};
            #pragma unroll
            for(int n=0;n<2;n++){ mma(dr[n],cr[0][0],cr[0][1],cr[1][0],cr[1][1],Gr[2*n],Gr[2*n+1]); mma(di[n],cr[0][0],cr[0][1],cr[1][0],cr[1][1],Gi[2*n],Gi[2*n+1]); }
            const u32 n0=neg(ci[0][0]),n1=neg(ci[0][1]),n2=neg(ci[1][0]),n3=neg(ci[1][1]);
            #pragma unroll
            for(int n=0;n<2;n++){ mma(dr[n],n0,n1,n2,n3,Gi[2*n],Gi[2*n+1]); mma(di[n],ci[0][0],ci[0][1],ci[1][0],ci[1][1],Gr[2*n],Gr[2*n+1]); }
            #pragma unroll
            for(int q=0;q<4;q++){ zr[j][q]=dr[q>>1][q&1]; zi[j][q]=di[q>>1][q&1]; }
          }
        }
        #pragma unroll
        for(int q=0;q<4;q++){
          u32 xr[R],xi[R];
          #pragma unroll
          for(int i=0;i<R/4;i++){ u32 a[4],c[4]; lds4(a,tw+(q*(R/2)+i)*32); lds4(c,tw+(q*(R/2)+R/4+i)*32);
            #pragma unroll
            for(int k=0;k<4;k++){ xr[4*i+k]=zr[4*i+k][q]; xi[4*i+k]=zi[4*i+k][q]; if(i||k) cm(xr[4*i+k],xi[4*i+k],a[k],c[k]); } }
          dif<R,0>(xr,xi);
          #pragma unroll
          for(int i=0;i<R/4;i++){ V4 a,c; a.v=__ldg(kh+(q*(R/2)+2*i)*32); c.v=__ldg(kh+(q*(R/2)+2*i+1)*32);
            #pragma unroll
            for(int k=0;k<4;k++) cm(xr[4*i+k],xi[4*i+k],a.r[k],c.r[k]); }
          dit<R,0>(xr,xi);
          #pragma unroll
          for(int i=0;i<R/4;i++){ u32 a[4],c[4]; lds4(a,tw+(q*(R/2)+i)*32); lds4(c,tw+(q*(R/2)+R/4+i)*32);
            #pragma unroll
            for(int k=0;k<4;k++){ if(i||k) cmc(xr[4*i+k],xi[4*i+k],a[k],c[k]); zr[4*i+k][q]=xr[4*i+k]; zi[4*i+k][q]=xi[4*i+k]; } }
        }
        {
          u32 Ir[4],Ii[4],Jr[4],Ji[4],Tr[4],Ti[4];
          lds4(Ir,pk_+128); lds4(Ii,pk_+160); lds4(Jr,pk_+192); lds4(Ji,pk_+224); lds4(Tr,tt+64); lds4(Ti,tt+96);
          #pragma unroll
          for(int j=0;j<R;j++){
            u32 dr[2][2]={},di[2][2]={}; // [rh][mh]
            #pragma unroll
            for(int rh=0;rh<2;rh++){ mma(dr[rh],Ir[0],Ir[1],Ir[2],Ir[3],zr[j][rh],zr[j][2+rh]); mma(di[rh],Ii[0],Ii[1],Ii[2],Ii[3],zr[j][rh],zr[j][2+rh]); }
            #pragma unroll
            for(int rh=0;rh<2;rh++){ mma(dr[rh],Ii[0],Ii[1],Ii[2],Ii[3],neg(zi[j][rh]),neg(zi[j][2+rh])); mma(di[rh],Ir[0],Ir[1],Ir[2],Ir[3],zi[j][rh],zi[j][2+rh]); }
            #pragma unroll
            for(int q=0;q<4;q++) cm(dr[q>>1][q&1],di[q>>1][q&1],Tr[q],Ti[q]);
            u32 er[4]={},ei[4]={}; // [mh*2+nx] wanted for the store; mma gives [nx][mh]
            u32 fr[2][2]={},fi[2][2]={};
            #pragma unroll
            for(int n=0;n<2;n++){ mma(fr[n],dr[0][0],dr[0][1],dr[1][0],dr[1][1],Jr[2*n],Jr[2*n+1]); mma(fi[n],dr[0][0],dr[0][1],dr[1][0],dr[1][1],Ji[2*n],Ji[2*n+1]); }
            const u32 n0=neg(di[0][0]),n1=neg(di[0][1]),n2=neg(di[1][0]),n3=neg(di[1][1]);
            #pragma unroll
            for(int n=0;n<2;n++){ mma(fr[n],n0,n1,n2,n3,Ji[2*n],Ji[2*n+1]); mma(fi[n],di[0][0],di[0][1],di[1][0],di[1][1],Jr[2*n],Jr[2*n+1]); }
            #pragma unroll
            for(int q=0;q<4;q++){ er[q]=fr[q&1][q>>1]; ei[q]=fi[q&1][q>>1]; }
            stmt(a2+j*(64*R),er); stmt(a2+2*M+j*(64*R),ei);
          }
        }
      }
      }
      LANE const u32 a1=A1; const __nv_bfloat16 *gr=go+off; __nv_bfloat16* yr=y+off;
      u32 ov[4][2][4];
      if(GATED){
        #pragma unroll
        for(int q=0;q<4;q++){
          const int o=OQ(q);
          ldw<8>(ov[q][0],gr+o); ldw<8>(ov[q][1],gr+o+M);
        }
      }
      BAR
      #pragma unroll
      for(int j2=0;j2<4;j2++){
        float e[2][4][2]; // [jj][q][lo]
        #pragma unroll
        for(int k=0;k<2;k++){ const int jj=2*j2+k, jp=jj%R;
          u32 Ir[4],In[4]; lds4(Ir,p1+(jp*4+2)*32); if(A==16) lds4(In,p1+(jp*4+3)*32);
          u32 a[4],c[4]; ldmt(a,a1+jj*(64*R)); ldmt(c,a1+2*M+jj*(64*R)); // A=16: [nt*2+rh] : K half rh, group half nt ; A=8: [nt]
          if constexpr(A==16){
            #pragma unroll
            for(int nx=0;nx<2;nx++){ float d[4]={0,0,0,0}; mmaf(d,a[0],a[2],a[1],a[3],Ir[2*nx],Ir[2*nx+1]); mmaf(d,c[0],c[2],c[1],c[3],In[2*nx],In[2*nx+1]);
              e[k][0*2+nx][0]=d[0]; e[k][0*2+nx][1]=d[1]; e[k][2+nx][0]=d[2]; e[k][2+nx][1]=d[3]; }
          } else {
            #pragma unroll
            for(int n2=0;n2<2;n2++){ float d[4]={0,0,0,0}; mmaf(d,a[2*n2],a[2*n2+1],c[2*n2],c[2*n2+1],Ir[0],Ir[1]);
              e[k][2*n2][0]=d[0]; e[k][2*n2][1]=d[1]; e[k][2*n2+1][0]=d[2]; e[k][2*n2+1][1]=d[3]; }
          }
        }
        #pragma unroll
        for(int q=0;q<4;q++)
        #pragma unroll
        for(int lo=0;lo<2;lo++){ float f0=e[0][q][lo],f1=e[1][q][lo];
          if(GATED){ u32 z=ov[q][lo][j2]; f0*=blo(z); f1*=bhi(z); }
          ov[q][lo][j2]=pkb(f0,f1); }
      }
      #pragma unroll
      for(int q=0;q<4;q++){
        const int o=OQ(q);
        stw<8>(yr+o,ov[q][0]); stw<8>(yr+o+M,ov[q][1]);
      }
  }
}
extern "C" int launch(const void* u,const void* gi,const void* go,void* y,const void* kf,const void* tab,int B,int Hn,int gated,int grid,void* st){
  using T_=L<AA,RR>; constexpr size_t smem=T_::bytes; auto k=gated?conv<AA,RR,true>:conv<AA,RR,false>;
  cudaError_t er=cudaFuncSetAttribute(k,cudaFuncAttributeMaxDynamicSharedMemorySize,smem); if(er) return er;
  int nb; cudaOccupancyMaxActiveBlocksPerMultiprocessor(&nb,k,32*WARPS,smem);
  int gr=grid*nb; int mx=(Hn*B+T_::GR-1)/T_::GR; if(gr>mx) gr=mx;
  k<<<gr,32*WARPS,smem,(cudaStream_t)st>>>((const __nv_bfloat16*)u,(const __nv_bfloat16*)gi,(const __nv_bfloat16*)go,(__nv_bfloat16*)y,(const uint4*)kf,(const uint4*)tab,B,Hn);
  return (int)cudaGetLastError();
}
