//! The element types of tensors: stored as they are, computed with as `f32`.

use crate::ops::OpError;
use crate::simd::{MAX_LANES, Vector};

/// The element type of a tensor, under the number that the C interface uses too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// `float32`
    F32 = 0,
    /// `bfloat16`
    Bf16 = 1,
    /// `float16`
    F16 = 2,
}

impl Dtype {
    /// Returns the dtype of a number.
    ///
    /// # Errors
    /// [`OpError::Dtype`].
    pub fn from_code(code: u32) -> Result<Self, OpError> {
        let known = [Self::F32, Self::Bf16, Self::F16];
        known.into_iter().find(|dtype| *dtype as u32 == code).ok_or(OpError::Dtype(code, code))
    }

    /// Returns the bytes of an element.
    #[must_use]
    pub fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// The number of `float8_e4m3fn`, in which a KV cache may be and no other tensor.
const E4M3_CODE: u32 = 3;

/// The element types of a step's tensors and of its KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDtypes {
    /// Both the same.
    Same(Dtype),
    /// `float32` tensors over a `bfloat16` cache, which is half the bytes to read.
    F32OverBf16,
    /// `float32` tensors over a `float8_e4m3fn` cache, which is a quarter.
    F32OverE4m3,
}

impl KvDtypes {
    /// Returns the dtypes of two numbers.
    ///
    /// # Errors
    /// [`OpError::Dtype`] for a pair that no kernel was compiled for.
    pub fn from_codes(dtype: u32, cache_dtype: u32) -> Result<Self, OpError> {
        if (dtype, cache_dtype) == (Dtype::F32 as u32, E4M3_CODE) {
            return Ok(Self::F32OverE4m3);
        }
        match (Dtype::from_code(dtype)?, Dtype::from_code(cache_dtype)?) {
            (dtype, cache_dtype) if dtype == cache_dtype => Ok(Self::Same(dtype)),
            (Dtype::F32, Dtype::Bf16) => Ok(Self::F32OverBf16),
            _ => Err(OpError::Dtype(dtype, cache_dtype)),
        }
    }
}

/// A floating-point type that tensors are stored in.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Reads one vector of elements.
    ///
    /// # Safety
    /// `V::LANES` elements are readable at `source`, and the processor has the features of `V`.
    unsafe fn load<V: Vector>(source: *const Self) -> V;

    /// Writes one vector of elements, rounded to nearest even.
    ///
    /// # Safety
    /// `V::LANES` elements are writable at `target`.
    unsafe fn store<V: Vector>(vector: V, target: *mut Self);

    /// Reads one vector, or the `len` elements that are left of a row, and zero in the other lanes.
    ///
    /// # Safety
    /// As `load`, with the lesser of `len` and `V::LANES` readable elements.
    #[inline(always)]
    unsafe fn load_up_to<V: Vector>(source: *const Self, len: usize) -> V {
        // SAFETY: the caller vouches for the elements, and `lanes` holds `MAX_LANES`.
        unsafe {
            if len >= V::LANES {
                return Self::load(source);
            }
            let mut lanes = [Self::default(); MAX_LANES];
            std::ptr::copy_nonoverlapping(source, lanes.as_mut_ptr(), len);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes one vector, or as many lanes as `len` elements are left of a row.
    ///
    /// # Safety
    /// As `store`, with the lesser of `len` and `V::LANES` writable elements.
    #[inline(always)]
    unsafe fn store_up_to<V: Vector>(vector: V, target: *mut Self, len: usize) {
        // SAFETY: the caller vouches for the elements, and `lanes` holds `MAX_LANES`.
        unsafe {
            if len >= V::LANES {
                return Self::store(vector, target);
            }
            let mut lanes = [Self::default(); MAX_LANES];
            Self::store(vector, lanes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), target, len);
        }
    }
}

/// A `bfloat16`: the upper half of an `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(u16);

/// An IEEE half-precision number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct F16(u16);

macro_rules! element {
    ($type:ty, $pointer:ty, $load:ident, $store:ident) => {
        impl Element for $type {
            #[inline(always)]
            unsafe fn load<V: Vector>(source: *const Self) -> V {
                // SAFETY: the caller's promise; the type is a transparent wrapper of what is read.
                unsafe { V::$load(source.cast::<$pointer>()) }
            }

            #[inline(always)]
            unsafe fn store<V: Vector>(vector: V, target: *mut Self) {
                // SAFETY: the caller's promise; the type is a transparent wrapper of what is
                // written.
                unsafe { vector.$store(target.cast::<$pointer>()) }
            }
        }
    };
}

element!(f32, f32, load, store);
element!(Bf16, u16, load_bf16, store_bf16);
element!(F16, u16, load_f16, store_f16);
