//! Products of matrices, in column-major order.

use crate::driver::new_handle;
use half::{bf16, f16};
use std::ffi::{c_int, c_void};

type Library = *mut c_void;

/// `CUBLAS_STATUS_NOT_SUPPORTED`.
const NOT_SUPPORTED: c_int = 15;

/// Kinds of number, as `cudaDataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Float32,
    Float64,
    Float16,
    BFloat16,
}

impl Number {
    fn from_code(code: c_int) -> Option<Self> {
        Some(match code {
            0 => Number::Float32,
            1 => Number::Float64,
            2 => Number::Float16,
            14 => Number::BFloat16,
            _ => return None,
        })
    }

    /// # Safety
    /// There must be such a number at the place.
    unsafe fn read(self, start: *const c_void, index: i64) -> f64 {
        let index = index as isize;
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Number::Float32 => f64::from(*start.cast::<f32>().offset(index)),
                Number::Float64 => *start.cast::<f64>().offset(index),
                Number::Float16 => f64::from(*start.cast::<f16>().offset(index)),
                Number::BFloat16 => f64::from(*start.cast::<bf16>().offset(index)),
            }
        }
    }

    /// # Safety
    /// There must be a place for such a number.
    unsafe fn write(self, start: *mut c_void, index: i64, value: f64) {
        let index = index as isize;
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Number::Float32 => *start.cast::<f32>().offset(index) = value as f32,
                Number::Float64 => *start.cast::<f64>().offset(index) = value,
                Number::Float16 => *start.cast::<f16>().offset(index) = f16::from_f64(value),
                Number::BFloat16 => *start.cast::<bf16>().offset(index) = bf16::from_f64(value),
            }
        }
    }
}

/// One operand of a batch of matrices.
#[derive(Clone, Copy)]
struct Operand {
    start: *const c_void,
    number: Number,
    transposed: bool,
    leading: i64,
    stride: i64,
}

impl Operand {
    /// # Safety
    /// The matrix must be there.
    unsafe fn at(&self, matrix: i64, row: i64, column: i64) -> f64 {
        let (row, column) = if self.transposed {
            (column, row)
        } else {
            (row, column)
        };
        // SAFETY: the caller's promise.
        unsafe {
            self.number.read(
                self.start,
                matrix * self.stride + row + column * self.leading,
            )
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn cublasCreate_v2(library: *mut Library) -> c_int {
    // SAFETY: the library's contract.
    unsafe { new_handle(library) }
}

#[no_mangle]
pub extern "C" fn cublasDestroy_v2(_: Library) -> c_int {
    0
}

#[no_mangle]
pub extern "C" fn cublasSetStream_v2(_: Library, _: *mut c_void) -> c_int {
    0
}

/// `c = alpha op(a) op(b) + beta c` for a batch of matrices; sums in f32, or in f64 for f64.
#[no_mangle]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cublasGemmStridedBatchedEx(
    _: Library,
    transpose_a: c_int,
    transpose_b: c_int,
    rows: c_int,
    columns: c_int,
    terms: c_int,
    alpha: *const c_void,
    a: *const c_void,
    a_kind: c_int,
    a_leading: c_int,
    a_stride: i64,
    b: *const c_void,
    b_kind: c_int,
    b_leading: c_int,
    b_stride: i64,
    beta: *const c_void,
    c: *mut c_void,
    c_kind: c_int,
    c_leading: c_int,
    c_stride: i64,
    count: c_int,
    compute: c_int,
    _: c_int,
) -> c_int {
    let kinds = [a_kind, b_kind, c_kind].map(Number::from_code);
    let [Some(a_number), Some(b_number), Some(c_number)] = kinds else {
        return NOT_SUPPORTED;
    };
    // Of `cublasComputeType_t`: in which numbers alpha and beta are.
    let scalar = match compute {
        64 | 65 => Number::Float16,
        70 | 71 => Number::Float64,
        _ => Number::Float32,
    };
    let a = Operand {
        start: a,
        number: a_number,
        transposed: transpose_a != 0,
        leading: a_leading.into(),
        stride: a_stride,
    };
    let b = Operand {
        start: b,
        number: b_number,
        transposed: transpose_b != 0,
        leading: b_leading.into(),
        stride: b_stride,
    };
    // SAFETY: the library's contract: the scalars and matrices are there.
    unsafe {
        let (alpha, beta) = (scalar.read(alpha, 0), scalar.read(beta, 0));
        for matrix in 0..i64::from(count) {
            for column in 0..i64::from(columns) {
                let b_column: Vec<f64> = (0..i64::from(terms))
                    .map(|term| b.at(matrix, term, column))
                    .collect();
                for row in 0..i64::from(rows) {
                    let factors = (0i64..)
                        .zip(&b_column)
                        .map(|(term, &b)| (a.at(matrix, row, term), b));
                    let sum = if a_number == Number::Float64 {
                        factors.fold(0.0, |sum, (a, b)| a.mul_add(b, sum))
                    } else {
                        f64::from(
                            factors.fold(0f32, |sum, (a, b)| (a as f32).mul_add(b as f32, sum)),
                        )
                    };
                    let index = matrix * c_stride + row + column * i64::from(c_leading);
                    // What was there counts for nothing when beta is 0, NaN or not.
                    let before = match beta {
                        0.0 => 0.0,
                        _ => beta * c_number.read(c, index),
                    };
                    c_number.write(c, index, alpha * sum + before);
                }
            }
        }
    }
    0
}

#[no_mangle]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn cublasDgemmStridedBatched(
    library: Library,
    transpose_a: c_int,
    transpose_b: c_int,
    rows: c_int,
    columns: c_int,
    terms: c_int,
    alpha: *const f64,
    a: *const f64,
    a_leading: c_int,
    a_stride: i64,
    b: *const f64,
    b_leading: c_int,
    b_stride: i64,
    beta: *const f64,
    c: *mut f64,
    c_leading: c_int,
    c_stride: i64,
    count: c_int,
) -> c_int {
    // SAFETY: the library's contract.
    unsafe {
        cublasGemmStridedBatchedEx(
            library,
            transpose_a,
            transpose_b,
            rows,
            columns,
            terms,
            alpha.cast(),
            a.cast(),
            1,
            a_leading,
            a_stride,
            b.cast(),
            1,
            b_leading,
            b_stride,
            beta.cast(),
            c.cast(),
            1,
            c_leading,
            c_stride,
            count,
            70,
            0,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_with_a_transposed_operand() {
        // Column-major: a is 2 x 3, b is stored 2 x 3 and read 3 x 2.
        let a = [1f32, 4.0, 2.0, 5.0, 3.0, 6.0];
        let b = [7f32, 8.0, 9.0, 10.0, 11.0, 12.0];
        let mut c = [f32::NAN; 4];
        let (alpha, beta) = (1f32, 0f32);
        // SAFETY: the matrices have these sizes.
        let status = unsafe {
            cublasGemmStridedBatchedEx(
                std::ptr::null_mut(),
                0,
                1,
                2,
                2,
                3,
                (&raw const alpha).cast(),
                a.as_ptr().cast(),
                0,
                2,
                0,
                b.as_ptr().cast(),
                0,
                2,
                0,
                (&raw const beta).cast(),
                c.as_mut_ptr().cast(),
                0,
                2,
                0,
                1,
                68,
                0,
            )
        };
        assert_eq!(status, 0);
        assert_eq!(c, [58.0, 139.0, 64.0, 154.0]);
    }
}
