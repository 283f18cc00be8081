//! Which cores a thread may run on.
//!
//! Linux wakes a thread near the one that wakes it: after a pause on the same core, often, although
//! another one is idle, and it takes milliseconds to find out. Until then two threads of a loop
//! would share one core.

/// What the system calls a thread.
pub(crate) type ThreadId = i32;

/// Returns what the system calls this thread.
pub(crate) fn this_thread() -> ThreadId {
    #[cfg(target_os = "linux")]
    // SAFETY: the function has no conditions.
    return unsafe { libc::gettid() };
    #[cfg(not(target_os = "linux"))]
    0
}

/// Returns the number of the core that this thread runs on, where the system says it.
pub(crate) fn current_core() -> Option<usize> {
    #[cfg(target_os = "linux")]
    // SAFETY: the function has no conditions.
    return usize::try_from(unsafe { libc::sched_getcpu() }).ok();
    #[cfg(not(target_os = "linux"))]
    None
}

/// Lets some threads of this process run wherever this one may, but not on a core; where there is
/// no other, or the system refuses, they run where they did.
pub(crate) fn keep_off(core: usize, threads: &[ThreadId]) {
    #[cfg(target_os = "linux")]
    if core < libc::CPU_SETSIZE as usize {
        // SAFETY: a set of zeros is an empty one, and the functions read and write one of its size.
        unsafe {
            let mut cores: libc::cpu_set_t = std::mem::zeroed();
            let size = size_of_val(&cores);
            if libc::sched_getaffinity(0, size, &raw mut cores) != 0 {
                return;
            }
            libc::CPU_CLR(core, &mut cores);
            if libc::CPU_COUNT(&cores) > 0 {
                for thread in threads {
                    libc::sched_setaffinity(*thread, size, &raw const cores);
                }
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (core, threads);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The cores that this thread may run on.
    fn allowed() -> Vec<usize> {
        // SAFETY: as in `keep_off`; each number is one of the set's.
        unsafe {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            assert_eq!(libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed), 0);
            (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &allowed)).collect()
        }
    }

    #[test]
    fn a_thread_is_kept_off_a_core_and_has_one_left() {
        // A pool on the caller's core makes a step twice as long; one without a core would end it.
        let check = || {
            let before = allowed();
            keep_off(usize::MAX, &[this_thread()]);
            assert_eq!(allowed(), before);
            let core = current_core().expect("Linux says it");
            keep_off(core, &[this_thread()]);
            let others: Vec<_> = before.iter().copied().filter(|other| *other != core).collect();
            assert_eq!(allowed(), if others.is_empty() { before } else { others });
        };
        std::thread::spawn(check).join().expect("nothing panics there");
    }
}
