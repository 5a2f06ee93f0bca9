from block_rows import *
# a 16 x 16 matrix as four 8 x 8 blocks
def blk(M): return np.float16(np.stack([M[r:r+8,c:c+8] for r,c in ((0,0),(8,0),(0,8),(8,8))])).reshape(-1).view(np.uint32)
def ptables(R):
    A=16; M=256*R; P=A*M; iA=np.arange(A)
    Yp=np.array([2*(m%8)+m//8 if R==4 else m for m in range(16)])
    fold=lambda kX,m: E(m*(0.25-kX)/P)
    both=lambda F: [blk(F.real),blk(F.imag)]
    L=[]
    for j in range(R): L+=both(E(-np.outer(iA,iA)/A)/4*E(iA/(4*A))[None,:]*fold(iA,j)[:,None])
    for kX in range(A):
        L+=both(E(-np.outer(i16,i16)/16)/4*fold(kX,16*R*i16)[None,:])
        L+=both(E(-np.outer(Yp,i16)/16)/4*fold(kX,R*Yp)[:,None])
    L+=both(E(-np.outer(i16,Yp)/256))
    z=ztables(A,R); tw=z[len(z)-4*2*R*32:]
    return np.concatenate(L+[tw])
if __name__=='__main__':
    here=os.path.dirname(os.path.abspath(__file__))
    with ThreadPoolExecutor(2) as ex: sos=list(ex.map(lambda R: build(here+'/pair_rows.cu',['RR=%d'%R]),(4,8)))
    torch.manual_seed(0)
    for R,(so,info) in zip((4,8),sos):
        P=4096*R; lib=ctypes.CDLL(so); tab=torch.from_numpy(ptables(R).view(np.int32)).to(dev)
        big=data(64,768,P); bk=zspectrum(big[3],16,R); by=torch.empty_like(big[0]); small=data(5,7,P); skf=zspectrum(small[3],16,R)
        cp=bench(lambda: by.copy_(big[0])); print('P',P,'copy %.3f ms %.2f TB/s'%(cp,4*big[0].numel()/cp/1e9))
        def conv(u,gi,go,y,kf,gated):
            B,H,_=u.shape
            e=lib.launch(vp(u),vp(gi),vp(go),vp(y),vp(kf),vp(tab),B,H,int(gated),sms,ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)); assert e==0,e
        line='R%d [%s] '%(R,info)
        for gated in (False,True):
            u,gi,go,k=small; y=torch.full_like(u,float('nan')); conv(u,gi,go,y,skf,gated); torch.cuda.synchronize()
            r=ref(u,gi,go,k,gated); line+=' err %.2e'%((y.double()-r).norm()/r.norm()).item()
            u,gi,go,k=big; m=bench(lambda: conv(u,gi,go,by,bk,gated),10); nb=(4 if gated else 2)*u.numel()*2
            line+=' %.3f(%.0f%%)'%(m,100*nb/m/1e9/4.2)
        print(line,flush=True)
