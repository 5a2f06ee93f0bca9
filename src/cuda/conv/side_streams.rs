//! Streams beside a stream, so that independent launches of one call overlap.

use candle_core::cuda_backend::cudarc::driver::{
    result, sys, CudaFunction, CudaStream, DeviceRepr,
};
use candle_core::cuda_backend::WrapErr;
use candle_core::Result;
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// How many launches a call has under way.
pub(super) const SIDE_STREAMS: usize = 2;

/// A stream and the event that tells when its work is done.
#[derive(Clone, Copy)]
struct Side {
    stream: sys::CUstream,
    event: sys::CUevent,
}

// SAFETY: handles of the driver, which may be used by any thread whose context is theirs.
unsafe impl Send for Side {}

/// By device number and main stream: work that is being captured into a graph stays with its own
/// streams. They live as long as the process, and are few.
type Sides = HashMap<(usize, usize), Arc<Mutex<Option<[Side; SIDE_STREAMS]>>>>;
static SIDES: LazyLock<Mutex<Sides>> = LazyLock::new(Mutex::default);

/// One of the streams of a call.
#[derive(Clone, Copy)]
pub(super) struct SideStream(sys::CUstream);

impl SideStream {
    /// # Safety
    /// The arguments are those that the kernel declares, and what they point to lives until the main
    /// stream has done what is queued on it.
    pub(super) unsafe fn launch<A: DeviceRepr>(
        self,
        kernel: &CudaFunction,
        (blocks, threads, shared_bytes): (usize, usize, usize),
        first: &A,
        second: &i32,
    ) -> Result<()> {
        let mut arguments = [
            std::ptr::from_ref(first).cast_mut().cast::<c_void>(),
            std::ptr::from_ref(second).cast_mut().cast(),
        ];
        // SAFETY: the kernel and the stream are alive; the driver copies the arguments before it
        // returns.
        unsafe {
            result::launch_kernel(
                kernel.cu_function(),
                (blocks as u32, 1, 1),
                (threads as u32, 1, 1),
                shared_bytes as u32,
                self.0,
                &mut arguments,
            )
        }
        .w()
    }
}

/// Calls `body` with streams that begin after what is queued on `main`, which then goes on after them.
pub(super) fn beside<T>(
    main: &CudaStream,
    body: impl FnOnce(&[SideStream; SIDE_STREAMS]) -> Result<T>,
) -> Result<T> {
    main.context().bind_to_thread().w()?;
    let key = (main.context().ordinal(), main.cu_stream() as usize);
    let slot = lock(&SIDES).entry(key).or_default().clone();
    // Locked throughout: two calls on one stream take turns.
    let mut sides = lock(&slot);
    let sides = match *sides {
        Some(sides) => sides,
        None => *sides.insert([create()?, create()?]),
    };
    let no_wait_flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
    let wait = |waits: sys::CUstream, for_it: Side, stream: sys::CUstream| {
        // SAFETY: streams and events are never destroyed, but for the main stream, which is borrowed.
        unsafe {
            result::event::record(for_it.event, stream)?;
            result::stream::wait_event(waits, for_it.event, no_wait_flags)
        }
    };
    for side in sides {
        wait(side.stream, side, main.cu_stream()).w()?;
    }
    let outcome = body(&sides.map(|side| SideStream(side.stream)));
    // After an error too: what was launched uses memory that the main stream frees.
    for side in sides {
        wait(main.cu_stream(), side, side.stream).w()?;
    }
    outcome
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create() -> Result<Side> {
    Ok(Side {
        stream: result::stream::create(result::stream::StreamKind::NonBlocking).w()?,
        event: result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).w()?,
    })
}
