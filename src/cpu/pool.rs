//! Scratch memory that outlives a call, so that calls neither allocate nor fault pages in.

use super::element::Compute;
use rustfft::num_complex::Complex;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers beyond this many complex values are freed after use (32 MiB in f32).
const LARGEST_KEPT: usize = 1 << 22;

/// Buffers waiting for their next user: at most one for each thread that ran at once.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<Vec<Complex<T>>>>,
}

impl<T: Compute> Pool<T> {
    pub(crate) const fn new() -> Self {
        Pool {
            idle: Mutex::new(Vec::new()),
        }
    }

    /// A buffer of `length` values of unspecified content.
    pub(crate) fn take(&'static self, length: usize) -> Scratch<T> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = idle.pop().unwrap_or_default();
        drop(idle);
        if buffer.len() < length {
            // Growing in place would copy values that nobody reads.
            buffer = vec![Complex::new(T::zero(), T::zero()); length];
        }
        Scratch {
            buffer,
            length,
            pool: self,
        }
    }
}

/// A buffer on loan from a [`Pool`].
pub(crate) struct Scratch<T: Compute> {
    buffer: Vec<Complex<T>>,
    length: usize,
    pool: &'static Pool<T>,
}

impl<T: Compute> Deref for Scratch<T> {
    type Target = [Complex<T>];
    fn deref(&self) -> &Self::Target {
        &self.buffer[..self.length]
    }
}

impl<T: Compute> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.buffer[..self.length]
    }
}

impl<T: Compute> Drop for Scratch<T> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.len() > LARGEST_KEPT {
            return;
        }
        let mut idle = self
            .pool
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if idle.len() < rayon::current_num_threads() {
            idle.push(buffer);
        }
    }
}
