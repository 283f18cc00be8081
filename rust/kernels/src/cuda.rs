//! The C interface to the CUDA kernels; `cuda/include/streamcore_kernels.h` documents the functions.

use std::ffi::{CStr, c_char, c_int};
use std::fmt;

/// What the compiled kernels were built for.
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

/// The arguments of [`Library::rope_and_store_kv`]; the fields are those of the CPU kernel, addresses of the device.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "documented in the C header")]
pub struct RopeAndStore {
    pub query: usize,
    pub key: usize,
    pub value: usize,
    pub cos_sin: usize,
    pub positions: usize,
    pub slot_mapping: usize,
    pub key_cache: usize,
    pub value_cache: usize,
    pub num_tokens: i64,
    pub num_heads: i64,
    pub num_kv_heads: i64,
    pub head_dim: i64,
    pub rotary_dim: i64,
    pub query_stride: i64,
    pub key_stride: i64,
    pub value_stride: i64,
}

/// A device and a stream of it, as PyTorch names them.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The number of the device.
    pub device: i32,
    /// The `cudaStream_t`.
    pub handle: usize,
}

/// The address of a device tensor, or 0.
type Address = usize;

/// The functions of the CUDA kernels.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// What they were built for.
    pub build: Build,
    abi_version: unsafe extern "C" fn() -> c_int,
    device_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    device_covered: unsafe extern "C" fn(c_int, *mut c_int) -> c_int,
    error_name: unsafe extern "C" fn(c_int) -> *const c_char,
    rms_norm: RmsNormFn,
    silu_mul: SiluMulFn,
    rope_and_store_kv: RopeAndStoreFn,
}

type RmsNormFn = unsafe extern "C" fn(
    c_int,
    Address,
    Address,
    Address,
    Address,
    i64,
    i64,
    i64,
    i64,
    f32,
    c_int,
    Address,
) -> c_int;
type SiluMulFn = unsafe extern "C" fn(c_int, Address, Address, i64, i64, i64, c_int, Address) -> c_int;
type RopeAndStoreFn = unsafe extern "C" fn(c_int, *const RopeAndStore, c_int, Address) -> c_int;

/// The CUDA kernels, if this build has them.
#[cfg(not(cuda_kernels))]
#[must_use]
pub fn library() -> Option<&'static Library> {
    None
}

/// The CUDA kernels, if this build has them.
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
        rms_norm: streamcore_cuda_rms_norm,
        silu_mul: streamcore_cuda_silu_mul,
        rope_and_store_kv: streamcore_cuda_rope_and_store_kv,
    };
    Some(&LIBRARY)
}

#[cfg(cuda_kernels)]
mod linked {
    use super::{Address, RopeAndStore, c_char, c_int};

    unsafe extern "C" {
        pub(super) fn streamcore_cuda_abi_version() -> c_int;
        pub(super) fn streamcore_cuda_device_count(count: *mut c_int) -> c_int;
        pub(super) fn streamcore_cuda_device_covered(device: c_int, covered: *mut c_int) -> c_int;
        pub(super) fn streamcore_cuda_error_name(error: c_int) -> *const c_char;
        pub(super) fn streamcore_cuda_rms_norm(
            device: c_int,
            output: Address,
            x: Address,
            residual: Address,
            weight: Address,
            num_tokens: i64,
            hidden: i64,
            x_stride: i64,
            residual_stride: i64,
            eps: f32,
            dtype: c_int,
            stream: Address,
        ) -> c_int;
        pub(super) fn streamcore_cuda_silu_mul(
            device: c_int,
            output: Address,
            gate_up: Address,
            num_tokens: i64,
            inter: i64,
            gate_up_stride: i64,
            dtype: c_int,
            stream: Address,
        ) -> c_int;
        pub(super) fn streamcore_cuda_rope_and_store_kv(
            device: c_int,
            args: *const RopeAndStore,
            dtype: c_int,
            stream: Address,
        ) -> c_int;
    }
}

impl Library {
    /// The version of the C interface.
    #[must_use]
    pub fn abi_version(&self) -> i32 {
        // SAFETY: the function returns a constant.
        unsafe { (self.abi_version)() }
    }

    /// The number of devices.
    ///
    /// # Errors
    /// Where there is no driver, or one too old for the toolkit, or no device.
    pub fn device_count(&self) -> Result<i32, CudaError> {
        let mut count = 0;
        // SAFETY: the function writes the one number.
        self.check(unsafe { (self.device_count)(&raw mut count) })?;
        Ok(count)
    }

    /// Whether the device can run the kernels.
    ///
    /// # Errors
    /// If the device does not exist or is out of order.
    pub fn device_covered(&self, device: i32) -> Result<bool, CudaError> {
        let mut covered = 0;
        // SAFETY: the function writes the one number.
        self.check(unsafe { (self.device_covered)(device, &raw mut covered) })?;
        Ok(covered != 0)
    }

    /// Normalises on the device; `tensors`: output, x, residual or 0, weight; `sizes`: tokens, hidden; `strides`: x,
    /// residual.
    ///
    /// # Errors
    /// If the launch fails.
    ///
    /// # Safety
    /// The addresses are those of tensors on the stream's device with the sizes and strides given.
    pub unsafe fn rms_norm(
        &self,
        tensors: [usize; 4],
        sizes: [i64; 2],
        strides: [i64; 2],
        eps: f32,
        dtype: i32,
        stream: Stream,
    ) -> Result<(), CudaError> {
        let [output, x, residual, weight] = tensors;
        let ([num_tokens, hidden], [x_stride, residual_stride]) = (sizes, strides);
        // SAFETY: the caller's promise.
        self.check(unsafe {
            (self.rms_norm)(
                stream.device,
                output,
                x,
                residual,
                weight,
                num_tokens,
                hidden,
                x_stride,
                residual_stride,
                eps,
                dtype,
                stream.handle,
            )
        })
    }

    /// Activates on the device; `tensors`: output, gate_up; `sizes`: tokens, inter.
    ///
    /// # Errors
    /// If the launch fails.
    ///
    /// # Safety
    /// As for [`Library::rms_norm`].
    pub unsafe fn silu_mul(
        &self,
        tensors: [usize; 2],
        sizes: [i64; 2],
        gate_up_stride: i64,
        dtype: i32,
        stream: Stream,
    ) -> Result<(), CudaError> {
        let ([output, gate_up], [num_tokens, inter]) = (tensors, sizes);
        // SAFETY: the caller's promise.
        self.check(unsafe {
            (self.silu_mul)(
                stream.device,
                output,
                gate_up,
                num_tokens,
                inter,
                gate_up_stride,
                dtype,
                stream.handle,
            )
        })
    }

    /// Rotates and stores on the device.
    ///
    /// # Errors
    /// If the launch fails.
    ///
    /// # Safety
    /// As for [`Library::rms_norm`]; positions and slots lie inside their tensors.
    pub unsafe fn rope_and_store_kv(
        &self,
        args: &RopeAndStore,
        dtype: i32,
        stream: Stream,
    ) -> Result<(), CudaError> {
        // SAFETY: the caller's promise.
        self.check(unsafe { (self.rope_and_store_kv)(stream.device, args, dtype, stream.handle) })
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
