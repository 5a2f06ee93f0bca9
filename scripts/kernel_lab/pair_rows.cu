// Experiment: block_rows.cu with one row on a cluster of two blocks (A = 16, P = 4096 R), bf16.
//
// Each block owns 8 of the 16 rows kX of the exchange and half of the columns m (8 of the 16 X'). A group is R warps of
// each block; a block holds 16 / R groups, each with its own row and in its own phase.
// Exchange of one group in one block, three regions of [X' 8][kX 8][c 2][j 8 R/8][Y'] (64 R bytes an (X', kX)):
//   LOC own X', own kX; OUT own X', the peer's kX: staging, sent to the peer's IN by cp.async.bulk, one 4 KB chunk a
//   warp; IN the peer's X', own kX: transformed in place, sent back to the peer's OUT.
// Two mbarriers a group (`fb` forth, `bb` back) count the local warps and the bytes from the peer: no other
// synchronisation. With two groups a block, they take turns in the row pass (TAKE, GIVE).
// In the inverse X pass a warp takes all of its matrices to registers, then has the next row's samples and gates copied
// (cp.async) to where they were: its own chunks of OUT and LOC. They come back as operands, with no shuffle.
// Outputs and the out gate are read and written as whole lines of 128 bytes, and shuffled.
// Matrices lie in shared memory once, as 8x8 blocks: ldmatrix reads them as A operands, ldmatrix.trans as B operands
// of the inverse (its conjugate: signs are folded into the products). Left products are three real ones.
//
// nvcc -arch=sm_90 -O3 --use_fast_math --expt-relaxed-constexpr -DRR=8
#include "packed_half.cuh"

union V4 { uint4 v; u32 r[4]; };
DI void ldw8(u32* w,const __nv_bfloat16* p){ V4 x; x.v=__ldcs((const uint4*)p); for(int k=0;k<4;k++) w[k]=x.r[k]; }
DI void stw8(__nv_bfloat16* p,const u32* w){ V4 x; for(int k=0;k<4;k++) x.r[k]=w[k]; __stcs((uint4*)p,x.v); }
DI u32 saddr(const void* p){ return (u32)__cvta_generic_to_shared(p); }
DI void ldmt(u32* r,u32 a){ asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];":"=r"(r[0]),"=r"(r[1]),"=r"(r[2]),"=r"(r[3]):"r"(a):"memory"); }
DI void stm(u32 a,const u32* r){ asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0],{%1,%2,%3,%4};"::"r"(a),"r"(r[0]),"r"(r[1]),"r"(r[2]),"r"(r[3]):"memory"); }
DI void stmt(u32 a,const u32* r){ asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0],{%1,%2,%3,%4};"::"r"(a),"r"(r[0]),"r"(r[1]),"r"(r[2]),"r"(r[3]):"memory"); }
// constant matrices: not volatile, so that the compiler may move them
DI void cldm(u32* r,u32 a){ asm("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];":"=r"(r[0]),"=r"(r[1]),"=r"(r[2]),"=r"(r[3]):"r"(a)); }
DI void cldmt(u32* r,u32 a){ asm("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];":"=r"(r[0]),"=r"(r[1]),"=r"(r[2]),"=r"(r[3]):"r"(a)); }
// d = c + a b
DI void mmac(u32 (&d)[2],const u32 (&c)[2],u32 a0,u32 a1,u32 a2,u32 a3,u32 b0,u32 b1){ asm("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1},{%2,%3,%4,%5},{%6,%7},{%8,%9};":"=r"(d[0]),"=r"(d[1]):"r"(a0),"r"(a1),"r"(a2),"r"(a3),"r"(b0),"r"(b1),"r"(c[0]),"r"(c[1])); }
// complex products by three real ones: (re, im) = (Fr + i Fi)(a + i c) with D = Fi - Fr, S = -(Fi + Fr)
struct M3x { u32 r[4],d[4],s[4]; DI M3x(const u32* re,const u32* im){ for(int i=0;i<4;i++){ r[i]=re[i]; d[i]=hsub(im[i],re[i]); s[i]=hneg(hadd(im[i],re[i])); } } };
DI void left3(u32 (&re)[2],u32 (&im)[2],const M3x& F,u32 a0,u32 a1,u32 c0,u32 c1){ u32 k[2]={}; mma(k,F.r[0],F.r[1],F.r[2],F.r[3],hadd(a0,c0),hadd(a1,c1)); mmac(im,k,F.d[0],F.d[1],F.d[2],F.d[3],a0,a1); mmac(re,k,F.s[0],F.s[1],F.s[2],F.s[3],c0,c1); }
DI void slds4(u32* r,u32 a){ asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3},[%4];":"=r"(r[0]),"=r"(r[1]),"=r"(r[2]),"=r"(r[3]):"r"(a):"memory"); }
DI void copy_async(u32 s,const void* g){ asm volatile("cp.async.cg.shared.global [%0],[%1],16;"::"r"(s),"l"(g):"memory"); }
DI void copy_wait(){ asm volatile("cp.async.wait_all;":::"memory"); }
DI u32 neg(u32 x){ return x^0x80008000u; }
DI void lds4(u32* r,const uint4* p){ V4 v; v.v=*p; r[0]=v.r[0];r[1]=v.r[1];r[2]=v.r[2];r[3]=v.r[3]; }
DI u32 mapa(u32 a,u32 rank){ u32 r; asm("mapa.shared::cluster.u32 %0,%1,%2;":"=r"(r):"r"(a),"r"(rank)); return r; }
DI void send(u32 dst,u32 src,u32 bytes,u32 bar){ asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0],[%1],%2,[%3];"::"r"(dst),"r"(src),"r"(bytes),"r"(bar):"memory"); }
DI void arrive_expect(u32 bar,u32 bytes){ asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _,[%0],%1;"::"r"(bar),"r"(bytes):"memory"); }
DI void wait(u32 bar,u32 parity){ asm volatile("{\n.reg .pred p;\nW: mbarrier.try_wait.parity.shared::cta.b64 p,[%0],%1;\n@p bra D;\nbra W;\nD:\n}"::"r"(bar),"r"(parity):"memory"); }
DI void cluster_sync(){ asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;":::"memory"); }

extern __shared__ __align__(1024) uint4 sm[];
constexpr int WARPS=16;
// bytes: ex [group][3][32 R * ...] | p1 [R][re,im][512] | px [8 kX][F re,im, G re,im][512] | T [re,im][512] | tw [4][R/2][32] uint4 | mbarriers [group][2] | zero
template<int R> struct L { static constexpr int M=256*R,P=16*M,NW=R,GR=WARPS/NW,BLK=64*R,REG=64*BLK,EX=3*REG,P1=R*2*512,PX=8*4*512,TT=2*512,TW=4*(R/2)*512,TAB=P1+PX+TT+TW; static constexpr size_t bytes=(size_t)GR*EX+TAB+GR*16+16; };
template<int R,bool GATED>
__global__ void __cluster_dims__(2,1,1) __launch_bounds__(32*WARPS,1) conv(const __nv_bfloat16* __restrict__ u,const __nv_bfloat16* __restrict__ gi,const __nv_bfloat16* __restrict__ go,
   __nv_bfloat16* __restrict__ y,const uint4* __restrict__ kf,const uint4* __restrict__ tab,int B_,int Hn){
  using T_=L<R>; constexpr int M=T_::M,P=T_::P,NW=T_::NW,GR=T_::GR,TL=8/NW,BLK=T_::BLK,REG=T_::REG;
  const int lane0=threadIdx.x&31, warp=threadIdx.x>>5, w0=warp%NW, grp=warp/NW;
  const u32 rank=blockIdx.x&1; // cluster dims 2
  constexpr int T0=GR*T_::EX/16; // tables, in uint4
  {
    // global table: p1 | px of 16 kX | T | tw
    constexpr int a=T_::P1/16, b=T_::PX/16, c=(T_::TT+T_::TW)/16;
    for(int i=threadIdx.x;i<a;i+=32*WARPS) sm[T0+i]=tab[i];
    for(int i=threadIdx.x;i<b;i+=32*WARPS) sm[T0+a+i]=tab[a+rank*b+i];
    for(int i=threadIdx.x;i<c;i+=32*WARPS) sm[T0+a+b+i]=tab[a+2*b+i];
  }
  const u32 base=saddr(sm), bars=base+GR*T_::EX+T_::TAB;
  volatile int* zero=(volatile int*)(sm+T0+T_::TAB/16+GR);
  if(threadIdx.x==0){ *zero=0;
    for(int i=0;i<2*GR;i++) asm volatile("mbarrier.init.shared::cta.b64 [%0],%1;"::"r"(bars+8*i),"r"(NW):"memory");
    asm volatile("fence.mbarrier_init.release.cluster;":::"memory"); }
  __syncthreads(); cluster_sync();
  // per-phase recomputation of addresses through an opaque zero, so that the compiler does not keep them alive (and spill them) over the whole row
  #define LANE int lane=lane0,w=w0; { const int z=*zero; lane+=z; w+=z; } const int g=lane>>2,t=lane&3; (void)g;(void)t; \
    const u32 ex=base+grp*T_::EX, p1=base+GR*T_::EX+lane*16, px=p1+T_::P1, tt=px+T_::PX; const uint4* tw=sm+T0+(T_::P1+T_::PX+T_::TT)/16+lane; \
    (void)ex;(void)p1;(void)px;(void)tt;(void)tw;
  #define XL ((R==8)?w:2*w+(lane>>4))
  #define NT1 ((R==8)?(lane>>4):0)
  // LOC at ex, OUT at ex+REG, IN at ex+2 REG; X pass: matrices [nt][kX half]
  #define A1 (ex+((((lane>>3)&1)==(int)rank)?0:REG)+(XL*8+(lane&7))*BLK+((NT1^((XL^lane)&7))<<4))
  #define OQ(q) ((2*(lane>>3)+8*((q)&1))*M+(int)rank*(M/2)+(16*w+(lane&7)+8*((q)>>1))*8)
  #define XLI ((R==8)?w:2*w+((lane>>3)&1))
  #define NT1I ((R==8)?((lane>>3)&1):0)
  #define A1I (ex+((((lane>>4)&1)==(int)rank)?0:REG)+(XLI*8+(lane&7))*BLK+((NT1I^((XLI^lane)&7))<<4)) // matrices [kX half][nt]
  #define UNIT1(jj) ((R==8)?(jj)<<5:(jj)<<4)
  const u32 fb=bars+grp*16, bb=fb+8;
  const long long total=(long long)Hn*B_; const int nc=gridDim.x>>1, cl=blockIdx.x>>1;
  u32 parity=0;
  #define TAKE if(GR==2) asm volatile("bar.sync %0, 512;"::"r"(grp+1):"memory");
  #define GIVE if(GR==2) asm volatile("bar.arrive %0, 512;"::"r"(2-grp):"memory");
  if(grp==1) { GIVE }
  #define FETCH(row) { const int h_=(row)/B_,b_=(row)-h_*B_; const size_t o_=((size_t)b_*Hn+h_)*P+(size_t)(lane>>4)*M+(int)rank*(M/2)+128*w+(lane&15)*8; \
    const u32 s_=ex+w*4096+(lane>>4)*256; _Pragma("unroll") for(int i=0;i<8;i++){ const u32 d_=s_+i*512+(((lane&15)^((2*i)&6))<<4); copy_async(d_+REG,u+o_+(size_t)(2*i)*M); if(GATED) copy_async(d_,gi+o_+(size_t)(2*i)*M); } }
  int r=cl*GR+grp; const int rend=(int)total;
  if(r<rend){ LANE FETCH(r) }
  for(;r<rend;parity^=1){
      const int h=r/B_, b=r-h*B_;
      const size_t off=((size_t)b*Hn+h)*P;
      {
        LANE const u32 a1=A1;
        const u32 raw_at=ex+REG+w*4096+t*512+((g^(2*t))<<4); copy_wait(); __syncwarp();
        u32 x[8][4]; // [jj][nt*2+kb]
        #pragma unroll
        for(int q=0;q<4;q++){
          u32 a[4],c[4]; slds4(a,raw_at+(q&1)*2048+(q>>1)*128); slds4(c,raw_at+(q&1)*2048+256+(q>>1)*128);
          if(GATED){ u32 ga[4],gc[4]; slds4(ga,raw_at-REG+(q&1)*2048+(q>>1)*128); slds4(gc,raw_at-REG+(q&1)*2048+256+(q>>1)*128);
            #pragma unroll
            for(int j=0;j<4;j++){ x[2*j][q]=pk(blo(a[j])*blo(ga[j]),blo(c[j])*blo(gc[j])); x[2*j+1][q]=pk(bhi(a[j])*bhi(ga[j]),bhi(c[j])*bhi(gc[j])); }
          } else {
            #pragma unroll
            for(int j=0;j<4;j++){ x[2*j][q]=pk(blo(a[j]),blo(c[j])); x[2*j+1][q]=pk(bhi(a[j]),bhi(c[j])); }
          }
        }
        __syncwarp();
        u32 F[2][2][4]; cldm(F[0][0],p1); cldm(F[0][1],p1+512);
        #pragma unroll
        for(int jp=0;jp<R;jp++){
          if(jp+1<R){ cldm(F[(jp+1)&1][0],p1+(2*jp+2)*512); cldm(F[(jp+1)&1][1],p1+(2*jp+3)*512); }
          const u32 *Fr=F[jp&1][0],*Fi=F[jp&1][1];
          #pragma unroll
          for(int jj=jp;jj<8;jj+=R){
            u32 dr[4]={},di[4]={};
            #pragma unroll
            for(int nt=0;nt<2;nt++){ mma(*(u32(*)[2])&dr[2*nt],Fr[0],Fr[1],Fr[2],Fr[3],x[jj][nt*2],x[jj][nt*2+1]); mma(*(u32(*)[2])&di[2*nt],Fi[0],Fi[1],Fi[2],Fi[3],x[jj][nt*2],x[jj][nt*2+1]); }
            stm(a1^UNIT1(jj),dr); stm((a1^UNIT1(jj))+BLK/2,di);
          }
        }
        asm volatile("fence.proxy.async.shared::cta;":::"memory");
        __syncwarp();
        if(lane0==0){ send(mapa(ex+2*REG+w*4096,rank^1),ex+REG+w*4096,4096,mapa(fb,rank^1)); arrive_expect(fb,4096); }
      }
      wait(fb,parity);
      TAKE
      {
      LANE
      #pragma unroll 1
      for(int tl=0;tl<TL;tl++){
        const int kX=w*TL+tl; const u32 pk_=px+kX*4*512;
        const uint4* kh=kf+((size_t)h*16+rank*8+kX)*(2*R*32)+lane;
        // matrices (kb,nt): kb = X' half, nt = Y' half (R=8) or parity (R=4)
        const u32 s=(u32)(((lane^kX)&7)^((R==8)?(lane>>4):4*(lane>>4)));
        const u32 a2=ex+((((lane>>3)&1)==(int)rank)?0:2*REG)+((lane&7)*8+kX)*BLK+(s<<4);
        u32 zr[R][4],zi[R][4];
        {
          u32 Fr[4],Fi[4],Gr[4],Gi[4],Tr[4],Ti[4];
          cldm(Fr,pk_); cldm(Fi,pk_+512); cldmt(Gr,pk_+1024); cldmt(Gi,pk_+1536); cldm(Tr,tt); cldm(Ti,tt+512); const M3x F3(Fr,Fi);
          #pragma unroll
          for(int j=0;j<R;j++){
            u32 a[4],c[4]; ldmt(a,a2^UNIT1(j)); ldmt(c,(a2^UNIT1(j))+BLK/2); // [nt*2+kb]
            u32 cr[2][2]={},ci[2][2]={};
            #pragma unroll
            for(int nt=0;nt<2;nt++) left3(cr[nt],ci[nt],F3,a[nt*2],a[nt*2+1],c[nt*2],c[nt*2+1]);
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
          const u32 s3=(u32)(((lane^kX)&7)^((R==8)?((lane>>3)&1):4*((lane>>3)&1))); // matrices [X' half][Y' half]
          const u32 a3=ex+(((lane>>4)==(int)rank)?0:2*REG)+((lane&7)*8+kX)*BLK+(s3<<4);
          // inverse: conjugates of G (as A operand) and F (as B operand)
          u32 Gr[4],Gi[4],Fr[4],Fi[4],Tr[4],Ti[4];
          cldm(Gr,pk_+1024); cldm(Gi,pk_+1536); cldmt(Fr,pk_); cldmt(Fi,pk_+512); cldmt(Tr,tt); cldmt(Ti,tt+512); const M3x G3(Gr,Gi);
          #pragma unroll
          for(int j=0;j<R;j++){
            u32 dr[2][2]={},di[2][2]={}; // [rh][mh]
            #pragma unroll
            for(int rh=0;rh<2;rh++) left3(di[rh],dr[rh],G3,zi[j][rh],zi[j][2+rh],zr[j][rh],zr[j][2+rh]);
            #pragma unroll
            for(int q=0;q<4;q++){ const int p=(q>>1)|(q&1)<<1; cmc(dr[q>>1][q&1],di[q>>1][q&1],Tr[p],Ti[p]); }
            u32 er[4]={},ei[4]={};
            u32 fr[2][2]={},fi[2][2]={};
            const u32 n0=neg(dr[0][0]),n1=neg(dr[0][1]),n2=neg(dr[1][0]),n3=neg(dr[1][1]);
            #pragma unroll
            for(int n=0;n<2;n++){ mma(fr[n],dr[0][0],dr[0][1],dr[1][0],dr[1][1],Fr[2*n],Fr[2*n+1]); mma(fi[n],n0,n1,n2,n3,Fi[2*n],Fi[2*n+1]); }
            #pragma unroll
            for(int n=0;n<2;n++){ mma(fr[n],di[0][0],di[0][1],di[1][0],di[1][1],Fi[2*n],Fi[2*n+1]); mma(fi[n],di[0][0],di[0][1],di[1][0],di[1][1],Fr[2*n],Fr[2*n+1]); }
            #pragma unroll
            for(int q=0;q<4;q++){ er[q]=fr[q>>1][q&1]; ei[q]=fi[q>>1][q&1]; }
            stmt(a3^UNIT1(j),er); stmt((a3^UNIT1(j))+BLK/2,ei);
          }
        }
      }
      GIVE
      asm volatile("fence.proxy.async.shared::cta;":::"memory");
      __syncwarp();
      if(lane0<8){ const u32 o=(lane0*8+w*TL)*BLK; send(mapa(ex+REG+o,rank^1),ex+2*REG+o,TL*BLK,mapa(bb,rank^1)); }
      if(lane0==0) arrive_expect(bb,4096);
      }
      LANE const u32 a1=A1I; const __nv_bfloat16 *gr=go+off; __nv_bfloat16* yr=y+off;
      u32 ov[4][2][4]; // gates, then outputs
      if(GATED){
        #pragma unroll
        for(int q=0;q<4;q++){
          const int o=OQ(q);
          ldw8(ov[q][0],gr+o); ldw8(ov[q][1],gr+o+M);
        }
      }
      wait(bb,parity);
      r+=nc*GR;
      u32 xa[8][4],xc[8][4];
      #pragma unroll
      for(int jj=0;jj<8;jj++){ ldmt(xa[jj],a1^UNIT1(jj)); ldmt(xc[jj],(a1^UNIT1(jj))+BLK/2); } // [kX half][nt]
      __syncwarp();
      if(r<rend) FETCH(r)
      #pragma unroll
      for(int j2=0;j2<4;j2++){
        float e[2][4][2]; // [jj][q][lo]
        #pragma unroll
        for(int k=0;k<2;k++){ const int jj=2*j2+k, jp=jj%R;
          u32 Ir[4],In[4]; cldmt(Ir,p1+jp*1024); cldmt(In,p1+jp*1024+512);
          const u32 *a=xa[jj],*c=xc[jj];
          #pragma unroll
          for(int nx=0;nx<2;nx++){ float d[4]={0,0,0,0}; mmaf(d,a[0],a[1],a[2],a[3],Ir[2*nx],Ir[2*nx+1]); mmaf(d,c[0],c[1],c[2],c[3],In[2*nx],In[2*nx+1]);
            e[k][0*2+nx][0]=d[0]; e[k][0*2+nx][1]=d[1]; e[k][2+nx][0]=d[2]; e[k][2+nx][1]=d[3]; }
        }
        #pragma unroll
        for(int q=0;q<4;q++)
        #pragma unroll
        for(int lo=0;lo<2;lo++){ float f0=e[0][q][lo],f1=e[1][q][lo];
          const int src=4*(lane&7)+(lane>>3);
          if(GATED){ const u32 z=__shfl_sync(~0u,ov[q][lo][j2],8*t+g); f0*=blo(z); f1*=bhi(z); }
          ov[q][lo][j2]=__shfl_sync(~0u,pkb(f0,f1),src); }
      }
      #pragma unroll
      for(int q=0;q<4;q++){
        const int o=OQ(q);
        stw8(yr+o,ov[q][0]); stw8(yr+o+M,ov[q][1]);
      }
      __syncwarp();
  }
  cluster_sync();
}
extern "C" int launch(const void* u,const void* gi,const void* go,void* y,const void* kf,const void* tab,int B,int Hn,int gated,int grid,void* st){
  using T_=L<RR>; constexpr size_t smem=T_::bytes; auto k=gated?conv<RR,true>:conv<RR,false>;
  static_assert(smem<=232448,"shared memory");
  cudaError_t er=cudaFuncSetAttribute(k,cudaFuncAttributeMaxDynamicSharedMemorySize,smem); if(er) return er;
  int gr=grid&~1; int mx=2*((Hn*B+T_::GR-1)/T_::GR); if(gr>mx) gr=mx;
  k<<<gr,32*WARPS,smem,(cudaStream_t)st>>>((const __nv_bfloat16*)u,(const __nv_bfloat16*)gi,(const __nv_bfloat16*)go,(__nv_bfloat16*)y,(const uint4*)kf,(const uint4*)tab,B,Hn);
  return (int)cudaGetLastError();
}
