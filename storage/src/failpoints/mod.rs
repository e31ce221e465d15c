//! Failpoints: named places where a test can end the process, delay the
//! thread or make a step fail. They exist only with the feature
//! `failpoints`; without it `failpoint!` is nothing at all.
//!
//! Names and terms are those of etcd's gofail wherever a step of ours means
//! the same, so that what is known of etcd can be asked of this server. The
//! crate `fail` carries the terms out.

#[cfg(feature = "failpoints")]
mod armed;
#[cfg(any(test, feature = "failpoints"))]
mod terms;

#[cfg(feature = "failpoints")]
pub use armed::{ArmError, arm, disarm, list, number, on_panic, pass, passed};

/// A place where a failpoint acts if it is armed. With a second argument, what
/// makes an error of the text in `return("text")`, the step returns that.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        const POINT: usize = $crate::failpoints::number($name);
        let _ = $crate::failpoints::pass(POINT);
    }};
    ($name:literal, $error:expr) => {{
        const POINT: usize = $crate::failpoints::number($name);
        if let Some(text) = $crate::failpoints::pass(POINT) {
            return Err($error(text));
        }
    }};
}

/// Nothing: this is a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal $(, $error:expr)?) => {};
}
