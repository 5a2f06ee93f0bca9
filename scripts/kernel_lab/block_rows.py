
from warp_rows import *
def ztables(A,R):
    M=256*R; P=A*M; iA=np.arange(A)
    Yp=np.array([2*(m%8)+m//8 if R==4 else m for m in range(16)])
    fold=lambda kX,m: E(m*(0.25-kX)/P)
    p1=np.zeros((R,4,32,4),np.uint32)
    for j in range(R):
        F=E(-np.outer(iA,iA)/A)/np.sqrt(A)*E(iA/(4*A))[None,:]*fold(iA,j)[:,None]   # [kX][X]
        I=F.conj().T                                                              # [X][kX]
        if A==16:
            p1[j,0]=Af(F.real); p1[j,1]=Af(F.imag)
            p1[j,2]=Bf(I.T.real); p1[j,3]=Bf(-I.T.imag)
        else:
            S=np.zeros((16,16)); S[:8,:8]=F.real; S[8:,:8]=F.imag; a=Af(S); p1[j,0,:,0]=a[:,0]; p1[j,0,:,1]=a[:,1]
            S=np.zeros((16,16)); S[:8,:8]=I.T.real; S[8:,:8]=-I.T.imag; b=Bf(S); p1[j,2,:,0]=b[:,0]; p1[j,2,:,1]=b[:,1]
    px=np.zeros((A,8,32,4),np.uint32)
    for kX in range(A):
        F=E(-np.outer(i16,i16)/16)/4*fold(kX,16*R*i16)[None,:]     # [kX'][X']
        G=E(-np.outer(Yp,i16)/16)/4*fold(kX,R*Yp)[:,None]          # [Y' slot][kY']
        I1=G.conj(); I2=F.conj()                                    # I1 [Y' slot][kY'] , I2 [kX'][X']
        px[kX]=np.stack([Af(F.real),Af(F.imag),Bf(G.real),Bf(G.imag),Af(I1.real),Af(I1.imag),Bf(I2.real),Bf(I2.imag)])
    T=E(-np.outer(i16,Yp)/256); T2=T.conj().T
    tt=np.stack([Cf(T.real),Cf(T.imag),Cf(T2.real),Cf(T2.imag)])
    tw=np.zeros((4,2,R,32),np.uint32)
    k1=lambda q,lo:(g+8*(q&1))+16*(2*t+lo+8*(q>>1))
    for q in range(4):
        for j in range(R):
            v=[E(-k1(q,lo)*j/M) for lo in (0,1)]
            tw[q,0,j]=pack(v[0].real,v[1].real); tw[q,1,j]=pack(v[0].imag,v[1].imag)
    tw=tw.reshape(4,R//2,4,32).transpose(0,1,3,2)
    return np.concatenate([np.ascontiguousarray(x).astype(np.uint32).reshape(-1) for x in (p1,px,tt,tw)])
def zspectrum(k,A,R):
    M=256*R; P=A*M; Hn=k.shape[0]
    n=torch.arange(P,device=dev,dtype=torch.float64)
    out=torch.empty(Hn,A,4,R//4,2,32,4,2,dtype=torch.float16,device=dev) # h,kX,q,i,c,lane,k,lo
    for h0 in range(0,Hn,96):
        K=torch.fft.fft(k[h0:h0+96].double()*torch.exp(1j*torch.pi*n/(2*P)))/R
        o=out[h0:h0+96]
        for q in range(4):
            for i in range(R//4):
                for kk in range(4):
                    for lo in (0,1):
                        kp=(g+8*(q&1))+16*(2*t+lo+8*(q>>1))+256*bitrev(4*i+kk,R)
                        idx=torch.from_numpy(np.arange(A)[:,None]+A*kp[None,:]).to(dev)
                        v=K[:,idx]; o[:,:,q,i,0,:,kk,lo]=v.real.half(); o[:,:,q,i,1,:,kk,lo]=v.imag.half()
    return out
if __name__=='__main__':
    here=os.path.dirname(os.path.abspath(__file__))
    cfgs=[(8,4,16,1),(16,4,16,1),(16,8,16,1)]
    with ThreadPoolExecutor(12) as ex: sos=list(ex.map(lambda c: build(here+'/block_rows.cu',['AA=%d'%c[0],'RR=%d'%c[1],'WARPS=%d'%c[2],'OCC=%d'%c[3]]),cfgs))
    torch.manual_seed(0)
    for c,(so,info) in zip(cfgs,sos):
        A,R=c[:2]; P=A*R*256; lib=ctypes.CDLL(so)
        tab=torch.from_numpy(ztables(A,R).view(np.int32)).to(dev)
        big=data(64,768,P); bk=zspectrum(big[3],A,R); by=torch.empty_like(big[0]); small=data(5,7,P); skf=zspectrum(small[3],A,R)
        cp=bench(lambda: by.copy_(big[0])); print('P',P,'copy %.3f ms %.2f TB/s'%(cp,4*big[0].numel()/cp/1e9))
        def conv(u,gi,go,y,kf,gated):
            B,H,_=u.shape
            e=lib.launch(vp(u),vp(gi),vp(go),vp(y),vp(kf),vp(tab),B,H,int(gated),sms,ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)); assert e==0,e
        line='A%d R%d warps%d occ%d [%s] '%(*c,info)
        for gated in (False,True):
            u,gi,go,k=small; y=torch.full_like(u,float('nan')); conv(u,gi,go,y,skf,gated); torch.cuda.synchronize()
            r=ref(u,gi,go,k,gated); line+=' err %.2e'%((y.double()-r).norm()/r.norm()).item()
            u,gi,go,k=big; m=bench(lambda: conv(u,gi,go,by,bk,gated),10); nb=(4 if gated else 2)*u.numel()*2
            line+=' %.3f(%.0f%%)'%(m,100*nb/m/1e9/4.2)
        print(line,flush=True)
