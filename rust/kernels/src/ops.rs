//! Operations for callers without Rust types: a number, and a struct of addresses, sizes and
//! strides.
//!
//! Each struct is declared once, with `arguments!`; the list of its fields goes to Python, which
//! builds the same struct from it. Addresses are those of a tensor's first element, or 0 for none;
//! sizes and strides are in elements.

use std::fmt;

use crate::cpu;

/// A field of a struct of arguments: its name, offset and type.
pub type Field = (&'static str, usize, &'static str);

/// A struct of arguments that a foreign caller fills.
pub trait Arguments: Copy {
    /// The fields, in their order in memory.
    const FIELDS: &'static [Field];
    /// Offset and name of the number of rows, which a recorded program sets anew.
    const ROWS: (usize, &'static str);
}

/// Declares a struct of arguments; the field after `rows` counts the rows. Without one it is a
/// struct that others point to.
macro_rules! arguments {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* $field:ident: $type:ident,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            /// The fields, in their order in memory.
            pub const FIELDS: &'static [$crate::ops::Field] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($type)),)*];
        }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident, rows $rows:ident {
            $($(#[$doc:meta])* $field:ident: $type:ident,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $crate::ops::Arguments for $name {
            const FIELDS: &'static [$crate::ops::Field] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field), stringify!($type)),)*];
            const ROWS: (usize, &'static str) = (std::mem::offset_of!($name, $rows), stringify!($rows));
        }
    };
}
pub(crate) use arguments;

/// Why an operation was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpError {
    /// No kernel is compiled for these dtype codes.
    Dtype(u32, u32),
    /// No operation has this number.
    Unknown(u32),
    /// A token, position or slot lies outside of its tensor.
    OutOfRange {
        /// The quantity out of range.
        what: &'static str,
        /// Its value.
        value: i64,
        /// The bound that it must be below.
        limit: usize,
    },
}

impl fmt::Display for OpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dtype(dtype, other) => write!(formatter, "no kernel for dtype codes {dtype} and {other}"),
            Self::Unknown(op) => write!(formatter, "no operation has the number {op}"),
            Self::OutOfRange { what, value, limit } => {
                write!(formatter, "{what} is {value}, it must be below {limit}")
            }
        }
    }
}

impl std::error::Error for OpError {}

/// The layout of an operation's arguments, for a foreign caller.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Its name, which is that of its struct.
    pub name: &'static str,
    /// The fields of its struct.
    pub fields: &'static [Field],
    /// Bytes of its struct.
    pub size: usize,
    /// Offset and name of its number of rows.
    pub rows: (usize, &'static str),
}

impl Layout {
    /// That of a struct.
    #[must_use]
    pub const fn of<A: Arguments>(name: &'static str) -> Self {
        Self { name, fields: A::FIELDS, size: size_of::<A>(), rows: A::ROWS }
    }
}

/// An operation of the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name and its struct.
    pub layout: Layout,
    run: unsafe fn(*const u8) -> Result<(), OpError>,
}

/// The operation of a struct of arguments and the function that takes it.
macro_rules! operation {
    ($name:ident, $function:path) => {{
        unsafe fn run(arguments: *const u8) -> Result<(), $crate::ops::OpError> {
            // SAFETY: the caller of `Operation::run` vouches for the struct and for what it points
            // to.
            unsafe { $function(&*arguments.cast::<$name>()) }
        }
        $crate::ops::Operation::new::<$name>(stringify!($name), run)
    }};
}
pub(crate) use operation;

impl Operation {
    /// Returns the operation of the arguments `A`, which `run` reads at the address that it is
    /// given.
    pub(crate) const fn new<A: Arguments>(
        name: &'static str,
        run: unsafe fn(*const u8) -> Result<(), OpError>,
    ) -> Self {
        Self { layout: Layout::of::<A>(name), run }
    }

    /// Returns the operation of a number.
    ///
    /// # Errors
    /// [`OpError::Unknown`].
    pub fn of(number: u32) -> Result<&'static Self, OpError> {
        cpu::OPERATIONS.get(number as usize).ok_or(OpError::Unknown(number))
    }

    /// Carries it out.
    ///
    /// # Errors
    /// The operation's argument error; nothing was written.
    ///
    /// # Safety
    /// `arguments` points to an aligned struct of this operation, whose addresses are those of live
    /// tensors with the shapes, strides and dtypes that it says, which nothing else writes.
    pub unsafe fn run(&self, arguments: *const u8) -> Result<(), OpError> {
        // SAFETY: the caller's promise.
        unsafe { (self.run)(arguments) }
    }
}
