//! What a process asks its machine for, in a process that simulates: random
//! bytes and the time. The standard library and the crates that draw random
//! numbers (the order of hashed maps, tokio's choice among branches that are
//! ready, openraft's election timeouts) come here, because a symbol of the
//! executable goes before that of the C library.

use std::{
    cell::Cell,
    ffi::{c_int, c_uint, c_void},
};

/// Set to the seed in a process that simulates.
pub const SEED: &str = "STERNPOST_SIMULATE";

thread_local! {
    /// What random bytes follow from on this thread.
    static ENTROPY: Cell<u64> = const { Cell::new(0) };
    /// The time on this thread, if it is simulated: nanoseconds.
    static NOW: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Whether this process simulates: looked up without allocating.
fn simulates() -> bool {
    // SAFETY: the name ends with a zero, and nobody changes the environment.
    !unsafe { libc::getenv(c"STERNPOST_SIMULATE".as_ptr()) }.is_null()
}

/// Sets what the standard library and the runtimes take for the time.
pub fn set_time(micros: u64) {
    NOW.set(Some(1_000_000_000 + micros * 1000));
}

/// As the C library's.
///
/// # Safety
/// `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if !simulates() {
        // SAFETY: the caller's promise is what the system call asks for.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize };
    }
    for at in 0..length {
        let state = ENTROPY.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        ENTROPY.set(state);
        let mixed = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        // SAFETY: `at` is below `length`.
        unsafe { buffer.cast::<u8>().add(at).write((mixed >> 32) as u8) };
    }
    length as isize
}

/// Lets random bytes on this thread follow from `seed` from now on.
pub fn seed_thread(seed: u64) {
    ENTROPY.set(seed);
}

/// As the C library's.
///
/// # Safety
/// `time` points to where the time goes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let Some(now) = NOW.get() else {
        // SAFETY: the caller's promise is what the system call asks for.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int };
    };
    let now = libc::timespec {
        tv_sec: (now / 1_000_000_000) as libc::time_t,
        tv_nsec: (now % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: the caller promises that it may be written.
    unsafe { time.write(now) };
    0
}
