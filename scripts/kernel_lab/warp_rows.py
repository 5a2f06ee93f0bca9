import ctypes, os, subprocess, sys, tempfile, itertools
import numpy as np, torch
from concurrent.futures import ThreadPoolExecutor
dev='cuda'
lane=np.arange(32); g=lane>>2; t=lane&3
def pack(lo,hi): return (np.float16(lo).view(np.uint16).astype(np.uint32)|(np.float16(hi).view(np.uint16).astype(np.uint32)<<16))
def Af(M): return np.stack([pack(M[g+r,2*t+k],M[g+r,2*t+1+k]) for r,k in ((0,0),(8,0),(0,8),(8,8))],-1)
def Bf(M): return np.stack([pack(M[2*t+8*kk,g+8*nn],M[2*t+1+8*kk,g+8*nn]) for nn in (0,1) for kk in (0,1)],-1)
def Cf(M): return np.stack([pack(M[g+8*r,2*t+8*n],M[g+8*r,2*t+1+8*n]) for n in (0,1) for r in (0,1)],-1)  # q=n*2+r
E=lambda x: np.exp(2j*np.pi*x)
i16=np.arange(16)
def bitrev(i,R):
    b=R.bit_length()-1; return int(format(i,'0%db'%b)[::-1],2) if b else 0

def tables(S,C):
    R=S*C; P=256*R
    Y=np.array([2*(m%8)+m//8 if R<=4 else m for m in range(16)])
    L=[]
    for w in range(S):
        kX=i16^(8*(w&1)); kY=i16^(8*(w>>1))
        F1=E(-np.outer(kX,i16)/16)/4*E(i16/64)[None,:]
        T=E(-np.outer(kX,Y)/256)*E(Y/1024)[None,:]
        G=E(-np.outer(Y,kY)/16)/4
        I1=E(np.outer(Y,kY)/16)/4
        T2=E(np.outer(Y,kX)/256)*E(-Y/1024)[:,None]
        I2=E(np.outer(kX,i16)/16)/4*E(-i16/64)[None,:]
        L.append(np.stack([Af(F1.real),Af(F1.imag),Cf(T.real),Cf(T.imag),Bf(G.real),Bf(G.imag),Bf(-G.imag),Af(I1.real),Af(I1.imag),Af(-I1.imag),Cf(T2.real),Cf(T2.imag),Bf(I2.real),Bf(-I2.imag)]))
    lc=np.stack(L)
    tw=np.zeros((4,S,2,C,32),np.uint32)
    k1=lambda q,lo:(g+8*(q&1))+16*(2*t+lo+8*(q>>1))
    for q in range(4):
        w={1:0,2:q&1,4:q}[S]
        for e in range(S):
            for j in range(C):
                jj=C*(e^w)+j
                v=[E(-k1(q,lo)*jj/P)*E(jj/(4*P)) for lo in (0,1)]
                tw[q,e,0,j]=pack(v[0].real,v[1].real); tw[q,e,1,j]=pack(v[0].imag,v[1].imag)
    tw=tw.reshape(4,R//2,4,32).transpose(0,1,3,2).reshape(-1)
    rt=np.zeros((2,R//8,2,4),np.uint32)
    if S==4:
        for w0 in (0,1):
            for m in range(16):
                e0,j=divmod(m,8); v=E(-(8*(e0^w0)+j)/32); rt[w0,m//4,0,m%4]=pack(v.real,v.real); rt[w0,m//4,1,m%4]=pack(v.imag,v.imag)
    return lc.astype(np.uint32),np.concatenate([tw.astype(np.uint32),rt.reshape(-1)])
def spectrum(k,R,S=1):
    P=256*R; Hn=k.shape[0]
    n=torch.arange(P,device=dev,dtype=torch.float64)
    K=torch.fft.fft(k.double()*torch.exp(1j*torch.pi*n/(2*P)))/R
    out=torch.empty(Hn,4,max(R//4,1),2,min(R,4),32,2,dtype=torch.float16,device=dev)
    for q in range(4):
        for i in range(R):
            for lo in (0,1):
                idx=torch.from_numpy((g+8*(q&1))+16*(2*t+lo+8*(q>>1))+256*bitrev(i,R)).to(dev)
                v=K[:,idx]; out[:,q,i//4,0,i%4,:,lo]=v.real.half(); out[:,q,i//4,1,i%4,:,lo]=v.imag.half()
    return out.reshape(Hn,4,R//2,4,32,2).permute(0,1,2,4,3,5).contiguous()
def vp(x): return ctypes.c_void_p(x.data_ptr())
sms=torch.cuda.get_device_properties(0).multi_processor_count
def build(src,defs):
    so=os.path.join(tempfile.mkdtemp(),'x.so')
    r=subprocess.run(['nvcc','-arch=sm_90','-O3','--use_fast_math','--expt-relaxed-constexpr','-lineinfo',*['-D'+d for d in defs],'-Xptxas','-v','-shared','-Xcompiler','-fPIC','-o',so,src],capture_output=True,text=True)
    if r.returncode: print(r.stderr[:2000])
    info=' '.join(l.split(',')[0].replace('ptxas info    : ','') if 'Used' in l else ('SP'+l.split(',')[1].split()[0]) for l in r.stderr.splitlines() if 'Used' in l or 'spill' in l)
    return so,info
def ref(u,gi,go,k,gated):
    P=u.shape[-1]; u=u.double(); v=u*gi.double() if gated else u
    y=torch.fft.irfft(torch.fft.rfft(v,2*P)*torch.fft.rfft(k.double(),2*P),2*P)[...,:P]
    return y*go.double() if gated else y
def data(B,H,P):
    mk=lambda: torch.randn(B,H,P,device=dev,dtype=torch.float32).bfloat16()
    k=torch.randn(H,P,device=dev)*torch.exp(-torch.arange(P,device=dev)/P*6)/P**.5
    return mk(),mk(),mk(),k
def bench(f,n=20):
    for _ in range(3): f()
    ev=[torch.cuda.Event(enable_timing=True) for _ in range(n+1)]
    ev[0].record()
    for i in range(n): f(); ev[i+1].record()
    torch.cuda.synchronize()
    return sorted(ev[i].elapsed_time(ev[i+1]) for i in range(n))[n//2]
if __name__=='__main__':
    here=os.path.dirname(os.path.abspath(__file__))
    cfgs=[(1,2,4,5),(1,4,4,4),(1,8,4,4),(1,8,16,1),(2,8,16,1),(2,8,8,2),(2,8,4,4),(4,8,16,1),(4,8,8,2)]
    if len(sys.argv)>1: cfgs=[tuple(int(x) for x in s.split(',')) for s in sys.argv[1:]]
    with ThreadPoolExecutor(12) as ex: sos=list(ex.map(lambda c: build(here+'/warp_rows.cu',['SS=%d'%c[0],'CC=%d'%c[1],'WARPS=%d'%c[2],'OCC=%d'%c[3]]),cfgs))
    torch.manual_seed(0)
    lastR=None
    for c,(so,info) in zip(cfgs,sos):
        S,C=c[:2]; R=S*C; P=256*R; lib=ctypes.CDLL(so)
        if R!=lastR:
            lastR=R; lc,tw=tables(S,C); lcd=torch.from_numpy(lc.view(np.int32)).to(dev); twd=torch.from_numpy(tw.view(np.int32)).to(dev)
            big=data(64,768,P); bk=spectrum(big[3],R); by=torch.empty_like(big[0]); small=data(5,7,P); skf=spectrum(small[3],R)
            cp=bench(lambda: by.copy_(big[0])); print('P',P,'copy %.3f ms %.2f TB/s'%(cp,4*big[0].numel()/cp/1e9))
        def conv(u,gi,go,y,kf,gated,rows):
            B,H,_=u.shape
            e=lib.launch(vp(u),vp(gi),vp(go),vp(y),vp(kf),vp(lcd),vp(twd),B,H,rows,int(gated),sms,ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)); assert e==0,e
        line='S%d C%d warps%d occ%d [%s] '%(*c,info)
        for gated in (False,True):
            u,gi,go,k=small; y=torch.full_like(u,float('nan')); conv(u,gi,go,y,skf,gated,2); torch.cuda.synchronize()
            r=ref(u,gi,go,k,gated); line+=' err %.2e'%((y.double()-r).norm()/r.norm()).item()
            for rows in (2,4,8,16):
                if rows*c[2]//S>64: continue
                u,gi,go,k=big; m=bench(lambda: conv(u,gi,go,by,bk,gated,rows)); nb=(4 if gated else 2)*u.numel()*2
                line+=' r%d:%.3f(%.0f%%)'%(rows,m,100*nb/m/1e9/4.2)
        print(line,flush=True)
