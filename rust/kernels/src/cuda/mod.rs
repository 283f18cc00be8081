//! The C interface to the CUDA kernels; `cuda/include/streamcore_kernels.h` documents the
//! functions.

mod operations;

use std::ffi::{CStr, c_char, c_int};
use std::fmt;

pub use operations::{
    Experts, GroupedLinear, Linear, OPERATIONS, PagedAttention, Primitives, RmsNorm, RopeAndStore, WidenFp8,
    WidenGroups,
};

/// The toolkit and targets of the compiled kernels.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Version of the compiler.
    pub toolkit: &'static str,
    /// Targets with machine code, such as `sm_90`, separated by blanks.
    pub targets: &'static str,
}

/// An error of the CUDA runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaError {
    /// The `cudaError_t`.
    pub code: i32,
    /// Its name, such as `cudaErrorInsufficientDriver`.
    pub name: &'static str,
}

impl fmt::Display for CudaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name, self.code)
    }
}

impl std::error::Error for CudaError {}

/// A stream of a device.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The number of the device.
    pub device: i32,
    /// The `cudaStream_t`.
    pub handle: usize,
}

/// Launches an operation: device, address of its struct, stream.
type Launch = unsafe extern "C" fn(c_int, *const u8, usize) -> c_int;

/// The functions of the CUDA kernels.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// The toolkit and targets.
    pub build: Build,
    abi_version: unsafe extern "C" fn() -> c_int,
    device_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    device_covered: unsafe extern "C" fn(c_int, *mut c_int) -> c_int,
    error_name: unsafe extern "C" fn(c_int) -> *const c_char,
    /// Of [`OPERATIONS`], in their order.
    launches: &'static [Launch],
}

/// Returns the CUDA kernels, if this build has them.
#[cfg(not(cuda_kernels))]
#[must_use]
pub fn library() -> Option<&'static Library> {
    None
}

/// Returns the CUDA kernels, if this build has them.
#[cfg(cuda_kernels)]
#[must_use]
pub fn library() -> Option<&'static Library> {
    use linked::*;
    static LIBRARY: Library = Library {
        build: Build { toolkit: env!("STREAMCORE_CUDA_TOOLKIT"), targets: env!("STREAMCORE_CUDA_TARGETS") },
        abi_version: streamcore_cuda_abi_version,
        device_count: streamcore_cuda_device_count,
        device_covered: streamcore_cuda_device_covered,
        error_name: streamcore_cuda_error_name,
        launches: operations::LAUNCHES,
    };
    Some(&LIBRARY)
}

#[cfg(cuda_kernels)]
mod linked {
    use super::{c_char, c_int};

    unsafe extern "C" {
        pub(super) fn streamcore_cuda_abi_version() -> c_int;
        pub(super) fn streamcore_cuda_device_count(count: *mut c_int) -> c_int;
        pub(super) fn streamcore_cuda_device_covered(device: c_int, covered: *mut c_int) -> c_int;
        pub(super) fn streamcore_cuda_error_name(error: c_int) -> *const c_char;
    }
}

impl Library {
    /// Returns the version of the C interface.
    #[must_use]
    pub fn abi_version(&self) -> i32 {
        // SAFETY: the function returns a constant.
        unsafe { (self.abi_version)() }
    }

    /// Returns the number of devices.
    ///
    /// # Errors
    /// Where there is no driver, or one too old for the toolkit, or no device.
    pub fn device_count(&self) -> Result<i32, CudaError> {
        let mut count = 0;
        // SAFETY: the function writes the one number.
        self.check(unsafe { (self.device_count)(&raw mut count) })?;
        Ok(count)
    }

    /// Returns whether the device can run the kernels.
    ///
    /// # Errors
    /// If the device does not exist or is out of order.
    pub fn device_covered(&self, device: i32) -> Result<bool, CudaError> {
        let mut covered = 0;
        // SAFETY: the function writes the one number.
        self.check(unsafe { (self.device_covered)(device, &raw mut covered) })?;
        Ok(covered != 0)
    }

    /// Launches the operation of a number on a stream.
    ///
    /// # Errors
    /// If the launch fails, or no operation has the number (`cudaErrorInvalidValue`).
    ///
    /// # Safety
    /// `arguments` points to an aligned struct of this operation, whose addresses are those of
    /// tensors on the stream's device with the shapes, strides and dtypes that it says; rows,
    /// positions and slots lie inside their tensors.
    pub unsafe fn launch(&self, op: u32, arguments: *const u8, stream: Stream) -> Result<(), CudaError> {
        let Some(launch) = self.launches.get(op as usize) else {
            return self.check(INVALID_VALUE);
        };
        // SAFETY: the caller's promise.
        self.check(unsafe { launch(stream.device, arguments, stream.handle) })
    }

    fn check(&self, code: c_int) -> Result<(), CudaError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the runtime returns the address of a constant for any number.
        let name = unsafe { CStr::from_ptr((self.error_name)(code)) };
        Err(CudaError { code, name: name.to_str().unwrap_or("unknown CUDA error") })
    }
}

/// `cudaErrorInvalidValue`.
const INVALID_VALUE: c_int = 1;
